// Building elements: text goes in as text nodes only, so no file name or caption is ever markup.

export const $ = (id) => document.getElementById(id);

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

export function bytes(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  return `${count} B`;
}

// Mark the words of the query in a text.
export function marked(text, words) {
  const wanted = words.filter((word) => word.length > 2).map((word) => word.toLowerCase());
  const out = document.createDocumentFragment();
  for (const piece of text.split(/(\p{L}+)/u)) {
    const word = piece.toLowerCase();
    const hit = wanted.some((w) => word === w || word === `${w}s` || w === `${word}s`);
    out.append(hit ? h("mark", {}, piece) : piece);
  }
  return out;
}
