// The explanation of a hit, laid over its card: where, when, and which words.

import { explain } from "/web/api.js";
import { clock, h } from "/web/dom.js";

export async function why(query, hit, element) {
  const before = element.querySelector(".why");
  if (before) return before.remove();
  const overlay = h("div", { class: "why" }, h("p", {}, "looking for the reason …"));
  element.querySelector(".face").append(overlay);
  const asked = query.text ?? (query.parts.length === 1 && query.parts[0].kind === "item" ? { item: query.parts[0].id } : null);
  if (asked === null) return overlay.replaceChildren(h("p", {}, "explained for a text or one stored item only"));
  try {
    show(await explain(asked, hit.id), overlay);
  } catch (error) {
    overlay.replaceChildren(h("p", {}, error.message));
  }
}

function show(found, overlay) {
  const lines = [];
  if (found.query_words?.length > 1) {
    const most = Math.max(...found.query_words.map((word) => Math.abs(word.share)), 1e-9);
    lines.push(h("p", { class: "words" }, ...found.query_words.map((word) => {
      const shown = h("span", { title: `share ${(100 * word.share).toFixed(0)} %` }, word.word);
      shown.style.opacity = String(0.35 + (0.65 * Math.max(word.share, 0)) / most);
      return shown;
    })));
  }
  if (found.peak?.start_s !== undefined)
    lines.push(h("p", {}, `most at ${clock(found.peak.start_s)}–${clock(found.peak.end_s)}`));
  if (found.sound?.length) lines.push(bars(found.sound));
  overlay.replaceChildren(...(found.heat?.length ? [heat(found.heat)] : []), ...lines);
  if (!overlay.childNodes.length) overlay.append(h("p", {}, `cosine ${found.score.toFixed(3)}`));
}

// Red where covering the place costs most; clear where it costs nothing.
function heat(rows) {
  const canvas = h("canvas", { width: rows[0].length, height: rows.length, class: "heat" });
  const context = canvas.getContext("2d");
  const most = Math.max(...rows.flat(), 1e-9);
  rows.forEach((row, y) => row.forEach((value, x) => {
    const strength = Math.max(value, 0) / most;
    context.fillStyle = `rgb(255 ${Math.round(170 * (1 - strength))} 0 / ${0.75 * strength ** 1.5})`;
    context.fillRect(x, y, 1, 1);
  }));
  return canvas;
}

function bars(values) {
  const canvas = h("canvas", { width: Math.max(values.length * 4, 4), height: 32, class: "bars" });
  const context = canvas.getContext("2d");
  const most = Math.max(...values.map(Number), 1e-9);
  context.fillStyle = "rgb(255 120 0)";
  values.forEach((value, x) => {
    const height = (32 * Math.max(Number(value), 0)) / most;
    context.fillRect(4 * x, 32 - height, 3, height);
  });
  return canvas;
}
