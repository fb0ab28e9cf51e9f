// The chips below the box: one a part, with a weight; parts that are subtracted look different.

import { $, h } from "/web/dom.js";

const pictures = new Map(); // key -> object URL, made once and freed with the part

export function showParts(query, { onChange }) {
  for (const [key, url] of pictures) {
    if (query.parts.some((part) => part.key === key)) continue;
    URL.revokeObjectURL(url);
    pictures.delete(key);
  }
  const plain = query.parts.length === 1 && query.text !== null;
  $("parts").replaceChildren(...(plain ? [] : query.parts.map((part) => chip(part, query, onChange))));
}

function chip(part, query, onChange) {
  const value = h("output", {}, weight(part.weight));
  const slider = h("input", {
    type: "range",
    min: "-1",
    max: "2",
    step: "0.1",
    value: String(part.weight),
    "aria-label": `Weight of ${label(part)}`,
    oninput: () => {
      value.textContent = weight(Number(slider.value));
      element.classList.toggle("less", Number(slider.value) < 0);
    },
    onchange: () => {
      part.weight = Number(slider.value);
      onChange();
    },
  });
  const close = h(
    "button",
    { type: "button", title: "Leave it out", "aria-label": `Leave out ${label(part)}`, onclick: () => { query.drop(part.key); onChange(); } },
    "×",
  );
  const element = h("li", { class: part.weight < 0 ? "part less" : "part" }, picture(part), h("span", {}, label(part)), slider, value, close);
  return element;
}

const weight = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;
const label = (part) => (part.kind === "text" ? `“${part.text}”` : part.name);

function picture(part) {
  if (part.kind === "item" && part.thumbnail) return h("img", { src: part.thumbnail, alt: "" });
  if (part.kind !== "file" || !part.file.type.startsWith("image/")) return null;
  if (!pictures.has(part.key)) pictures.set(part.key, URL.createObjectURL(part.file));
  return h("img", { src: pictures.get(part.key), alt: "" });
}
