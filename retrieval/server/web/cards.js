// Hits as cards: pictures, players that start at the moment, texts with the words marked.

import { clock, h, marked } from "/web/dom.js";

export function card(hit, { words, onOpen, onLike, onWhy }) {
  const element = h(
    "article",
    { class: `card ${hit.modality}`, tabIndex: 0, dataset: { id: hit.id }, "aria-label": hit.name, onclick: (event) => event.target.closest("button, audio, video") ?? onOpen(hit) },
    face(hit, words),
    h(
      "footer",
      {},
      h("span", { class: "name", title: hit.path }, hit.name),
      time(hit),
      sureness(hit),
      h(
        "span",
        { class: "acts" },
        act("＋", "More like this (m)", () => onLike(hit, 1)),
        act("−", "Less like this (l)", () => onLike(hit, -0.5)),
        act("?", "Why this hit (e)", () => onWhy(hit, element)),
      ),
    ),
  );
  return element;
}

const act = (sign, title, onclick) => h("button", { type: "button", title, "aria-label": title, onclick }, sign);

function face(hit, words) {
  if (hit.modality === "image" || hit.modality === "video") {
    const shown = h("img", { loading: "lazy", decoding: "async", alt: hit.caption ?? hit.name, src: hit.thumbnail });
    shown.addEventListener("error", () => shown.replaceWith(h("span", { class: "gone" }, "no picture: the file may be gone")), { once: true });
    const play = hit.modality === "video" ? h("button", { type: "button", class: "play", "aria-label": "Play", onclick: (event) => { event.currentTarget.closest(".face").replaceChildren(player(hit, true)); } }, "▶") : null;
    return h("div", { class: "face" }, shown, play);
  }
  if (hit.modality === "audio") return h("div", { class: "face sound" }, h("span", { class: "wave" }, "♪"), player(hit, false));
  return h("div", { class: "face text" }, h("p", { dir: "auto" }, marked(hit.text ?? hit.caption ?? "", words)));
}

export function player(hit, playNow) {
  const range = hit.start_s === null || hit.start_s === undefined ? "" : `#t=${hit.start_s}`;
  return h(hit.modality === "video" ? "video" : "audio", { controls: true, preload: "none", autoplay: playNow, src: hit.media + range });
}

function time(hit) {
  if (hit.start_s === null || hit.start_s === undefined || hit.end_s === null) return null;
  return h("span", { class: "time" }, `${clock(hit.start_s)}–${clock(hit.end_s)}`);
}

function sureness(hit) {
  const sure = hit.confidence;
  const title = `cosine ${hit.score.toFixed(3)}${sure === undefined || sure === null ? "" : `, ${(100 * sure).toFixed(0)} % sure`}`;
  if (sure === undefined || sure === null) return h("span", { class: "score", title }, hit.score.toFixed(2));
  return h("meter", { min: 0, max: 1, low: 0.5, high: 0.9, optimum: 1, value: sure, title, "aria-label": title });
}
