// What is asked: parts with weights, files, filters. It can be written as JSON and as an address.

let counter = 0;

export class Query {
  constructor() {
    this.parts = []; // {key, kind: "text"|"file"|"item", weight, text, file, id, name, thumbnail}
    this.modality = null;
    this.where = "";
    this.minConfidence = 0;
  }

  get isEmpty() {
    return this.parts.length === 0;
  }

  get words() {
    const texts = this.parts.filter((part) => part.kind === "text" && part.weight > 0);
    return texts.flatMap((part) => part.text.split(/[^\p{L}\p{N}]+/u));
  }

  // The plain text, where the query is nothing else.
  get text() {
    const only = this.parts.length === 1 ? this.parts[0] : null;
    return only?.kind === "text" && only.weight === 1 ? only.text : null;
  }

  add(part) {
    this.parts.push({ key: `f${++counter}`, weight: 1, ...part });
  }

  drop(key) {
    this.parts = this.parts.filter((part) => part.key !== key);
  }

  body({ k, cursor }) {
    const body = {
      query: this.#expression(),
      k,
      cursor,
      for: this.modality,
      where: this.where,
      min_confidence: this.minConfidence,
      details: true,
    };
    // Words typed into the box are words: only the command line gives quotes and signs a meaning.
    return this.text === null ? body : { ...body, query: this.text, syntax: "text" };
  }

  #expression() {
    const nodes = this.parts.map((part) => [part.weight, node(part)]);
    return nodes.length === 1 && nodes[0][0] === 1 ? nodes[0][1] : { sum: nodes };
  }

  files() {
    return new Map(this.parts.filter((p) => p.kind === "file").map((p) => [p.key, p.file]));
  }

  // Files cannot be in an address; all else can.
  address() {
    const kept = new URLSearchParams();
    for (const part of this.parts) {
      if (part.kind === "text") kept.append("q", `${part.weight}:${part.text}`);
      if (part.kind === "item") kept.append("item", `${part.weight}:${part.id}`);
    }
    if (this.modality) kept.set("for", this.modality);
    if (this.where) kept.set("where", this.where);
    if (this.minConfidence) kept.set("sure", this.minConfidence);
    const written = kept.toString();
    return written ? `/?${written}` : "/";
  }

  static fromAddress(address) {
    const query = new Query();
    const kept = new URLSearchParams(address);
    for (const [name, value] of kept) {
      const [, weight, rest] = /^(-?[\d.]+):(.*)$/s.exec(value) ?? [null, "1", value];
      if (name === "q" && rest.trim()) query.add({ kind: "text", text: rest, weight: Number(weight) });
      if (name === "item" && /^\d+$/.test(rest))
        query.add({ kind: "item", id: Number(rest), name: `item ${rest}`, weight: Number(weight) });
    }
    query.modality = kept.get("for");
    query.where = kept.get("where") ?? "";
    query.minConfidence = Number(kept.get("sure") ?? 0);
    return query;
  }
}

function node(part) {
  if (part.kind === "text") return { text: part.text };
  return part.kind === "file" ? { file: part.key } : { item: part.id };
}
