// Every request to the server; errors become ApiError with the server's own one-line message.

export class ApiError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("unreachable", "The server does not answer; is “crossfind serve” still running?", 0);
  }
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new ApiError(said.code ?? "error", said.message ?? `The server said ${answer.status}.`, answer.status);
}

const json = (body, signal) => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "Content-Type": "application/json" },
  signal,
});

// files: Map of field name -> Blob; where there are some, the body travels beside them.
export function search(body, files, signal) {
  if (!files.size) return ask("/v1/search", json(body, signal));
  const form = new FormData();
  form.set("body", JSON.stringify(body));
  for (const [field, blob] of files) form.set(field, blob, blob.name ?? field);
  return ask("/v1/search", { method: "POST", body: form, signal });
}

export const facets = (where) => ask(`/v1/facets?where=${encodeURIComponent(where)}`);
export const status = () => ask("/v1/status");
export const item = (id) => ask(`/v1/items/${id}`);
export const remove = (id) => ask(`/v1/items/${id}`, { method: "DELETE" });
export const explain = (query, id, signal) => ask("/v1/explain", json({ query, id }, signal));
export const moments = (query, id) => ask("/v1/moments", json({ query, id, n: 5 }));
export const map = () => ask("/v1/map?limit=5000");
