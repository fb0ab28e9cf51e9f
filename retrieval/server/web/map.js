// The store in two dimensions: move, zoom, look at single items, or choose many with a lasso.

import * as api from "/web/api.js";
import { $, h } from "/web/dom.js";

const COLOURS = { image: "#3b82f6", audio: "#f59e0b", text: "#10b981", video: "#a855f7" };
const REACH_PX = 9;

export class StoreMap {
  #dots = null;
  #view = { x: 0, y: 0, zoom: 1 };
  #loop = [];
  #isLasso = false;
  #last = null;

  constructor({ onOpen, onLike }) {
    this.onOpen = onOpen;
    this.onLike = onLike;
    this.canvas = $("dots");
    this.tip = h("div", { class: "tip", hidden: true });
    $("map").append(this.tip);
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    this.canvas.addEventListener("pointerup", (event) => this.#up(event));
    this.canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#draw()).observe($("map"));
    $("lasso").addEventListener("click", () => {
      this.#isLasso = !this.#isLasso;
      $("lasso").setAttribute("aria-pressed", this.#isLasso);
      this.canvas.classList.toggle("lasso", this.#isLasso);
    });
  }

  async show() {
    if (!this.#dots) this.#dots = fitted((await api.map()).dots);
    this.#draw();
    return this.#dots.length;
  }

  forget() {
    this.#dots = null;
  }

  #place(dot) {
    const { width, height } = this.canvas.getBoundingClientRect();
    const { x, y, zoom } = this.#view;
    return [width / 2 + (dot.x * 0.46 * width + x) * zoom, height / 2 + (dot.y * 0.46 * height + y) * zoom];
  }

  #draw() {
    if (!this.#dots || $("map").hidden) return;
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const radius = Math.min(7, 3.2 * Math.sqrt(this.#view.zoom));
    context.globalAlpha = 0.8;
    for (const dot of this.#dots) {
      const [x, y] = this.#place(dot);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      context.fillStyle = COLOURS[dot.modality] ?? "#888";
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    }
    if (this.#loop.length > 1) {
      context.globalAlpha = 1;
      context.strokeStyle = "#e11d48";
      context.lineWidth = 2;
      context.beginPath();
      this.#loop.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#last = { x: event.offsetX, y: event.offsetY, moved: 0 };
    this.#loop = this.#isLasso || event.shiftKey ? [[event.offsetX, event.offsetY]] : [];
  }

  #move(event) {
    if (!this.#last) return this.#hover(event);
    this.#last.moved += Math.abs(event.movementX) + Math.abs(event.movementY);
    if (this.#loop.length) this.#loop.push([event.offsetX, event.offsetY]);
    else {
      this.#view.x += (event.offsetX - this.#last.x) / this.#view.zoom;
      this.#view.y += (event.offsetY - this.#last.y) / this.#view.zoom;
      Object.assign(this.#last, { x: event.offsetX, y: event.offsetY });
    }
    this.#draw();
  }

  #up(event) {
    const clicked = this.#last && this.#last.moved < 4 ? this.#nearest(event) : null;
    this.#last = null;
    if (clicked) this.onOpen(asHit(clicked));
    if (this.#loop.length > 2) this.#choose(this.#dots.filter((dot) => isInside(this.#place(dot), this.#loop)));
    this.#loop = [];
    this.#draw();
  }

  #wheel(event) {
    event.preventDefault();
    const { width, height } = this.canvas.getBoundingClientRect();
    const before = this.#view.zoom;
    this.#view.zoom = Math.min(60, Math.max(0.5, before * Math.exp(-event.deltaY / 400)));
    const shift = 1 / this.#view.zoom - 1 / before;
    this.#view.x += (event.offsetX - width / 2) * shift;
    this.#view.y += (event.offsetY - height / 2) * shift;
    this.#draw();
  }

  #nearest(event) {
    let best = null;
    let least = REACH_PX;
    for (const dot of this.#dots) {
      const [x, y] = this.#place(dot);
      const away = Math.hypot(x - event.offsetX, y - event.offsetY);
      if (away < least) [best, least] = [dot, away];
    }
    return best;
  }

  #hover(event) {
    if (!this.#dots) return;
    const dot = this.#nearest(event);
    this.tip.hidden = !dot;
    if (!dot) return;
    const [x, y] = this.#place(dot);
    this.tip.style.left = `${x}px`;
    this.tip.style.top = `${y}px`;
    if (this.tip.dataset.id === String(dot.id)) return;
    this.tip.dataset.id = dot.id;
    const hit = asHit(dot);
    this.tip.replaceChildren(hit.thumbnail ? h("img", { src: hit.thumbnail, alt: "" }) : "", h("span", {}, dot.name), dot.text ? h("q", { dir: "auto" }, dot.text.slice(0, 120)) : "");
  }

  #choose(dots) {
    const panel = $("chosen");
    panel.hidden = dots.length === 0;
    panel.replaceChildren(
      h("h2", {}, `${dots.length} ${dots.length === 1 ? "item" : "items"}`),
      h("p", {},
        h("button", { type: "button", onclick: () => this.onLike(spread(dots, 8).map(asHit)) }, "More like these"),
        h("button", { type: "button", onclick: () => { panel.hidden = true; } }, "Close")),
      h("ul", {}, ...dots.slice(0, 200).map((dot) =>
        h("li", {}, h("button", { type: "button", onclick: () => this.onOpen(asHit(dot)) }, dot.name)))),
    );
  }
}

// A query of hundreds of parts says no more than one of a few of them, evenly taken.
function spread(dots, n) {
  const step = Math.max(1, dots.length / n);
  return Array.from({ length: Math.min(n, dots.length) }, (_, place) => dots[Math.floor(place * step)]);
}

function asHit(dot) {
  const isSeen = dot.modality === "image" || dot.modality === "video";
  return { ...dot, score: 1, media: `/v1/items/${dot.id}/media`, thumbnail: isSeen ? `/v1/items/${dot.id}/thumbnail` : null };
}

function fitted(dots) {
  const size = Math.max(1e-9, ...dots.map((dot) => Math.max(Math.abs(dot.x), Math.abs(dot.y))));
  return dots.map((dot) => ({ ...dot, x: dot.x / size, y: -dot.y / size }));
}

// Even-odd rule.
function isInside([x, y], loop) {
  let inside = false;
  for (let a = 0, b = loop.length - 1; a < loop.length; b = a++) {
    const [[ax, ay], [bx, by]] = [loop[a], loop[b]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
