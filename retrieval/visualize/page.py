"""The look and the hands of the map: style and script, both inline."""

from __future__ import annotations

__all__ = ["MAP_SCRIPT", "MAP_STYLE"]

MAP_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #ffffffe8; --ink: #1d1d1f;
  --soft: #6b6a66; --line: #dedbd3; --k0: #0072b2; --k1: #d55e00; --k2: #009e73; --k3: #cc79a7; }
@media (prefers-color-scheme: dark) { :root { --page: #141416; --card: #1e1e21e8; --ink: #f0efec;
  --soft: #a09e98; --line: #3a3a40; --k0: #56b4e9; --k1: #f0a04b; --k2: #3fd0a0; --k3: #e6a5cb; } }
* { box-sizing: border-box; margin: 0; }
html, body { height: 100%; overflow: hidden; background: var(--page); color: var(--ink);
  font: 14px/1.45 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  sans-serif; }
canvas { position: fixed; inset: 0; width: 100%; height: 100%; touch-action: none; cursor: grab; }
canvas:active { cursor: grabbing; } canvas:focus { outline: none; }
header { position: fixed; left: 16px; top: 16px; width: 270px; max-width: calc(100% - 32px);
  background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 14px 16px; }
h1 { font-size: 17px; letter-spacing: -0.01em; }
header p { color: var(--soft); font-size: 12px; margin: 4px 0 10px; }
input { width: 100%; padding: 6px 10px; border: 1px solid var(--line); border-radius: 8px;
  font: inherit; color: inherit; background: transparent; }
#kinds { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 10px; }
#kinds button { font: inherit; font-size: 12px; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 99px; padding: 2px 10px 2px 8px; }
#kinds button[aria-pressed=false] { opacity: 0.4; }
#kinds i { display: inline-block; width: 9px; height: 9px; border-radius: 50%;
  margin-right: 6px; }
#tip { position: fixed; max-width: 260px; padding: 10px 12px; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; pointer-events: none;
  overflow-wrap: anywhere; box-shadow: 0 6px 24px #0003; }
#tip[hidden] { display: none; }
#tip img { display: block; width: 96px; height: 96px; border-radius: 8px; margin-bottom: 8px; }
#tip span { color: var(--soft); font-size: 12px; margin-left: 6px; }
#tip p { font: 13px/1.4 Georgia, "Noto Serif", serif; } #tip small { color: var(--soft); }
footer { position: fixed; right: 16px; bottom: 12px; color: var(--soft); font-size: 12px; }
@media (max-width: 600px) { footer { display: none; } header { width: auto; right: 16px; }
  header p { display: none; } }
"""

MAP_SCRIPT = r"""
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
  const tip = document.getElementById("tip"), find = document.getElementById("find");
  const part = name => document.getElementById("tip-" + name);
  const shown = data.kinds.map(() => true);
  let colours = [], line = "", scale = 1, left = 0, top = 0, width = 0, height = 0, wanted = "";
  let hot = null, pending = false;
  for (const dot of data.dots) {
    dot.low = dot.p.toLowerCase();
    if (dot.s) { dot.image = new Image(); dot.image.onload = later; dot.image.src = dot.s; }
  }
  function later() { if (!pending) { pending = true; requestAnimationFrame(draw); } }
  function paint() {
    const style = getComputedStyle(document.documentElement);
    colours = data.kinds.map((_, k) => style.getPropertyValue("--k" + k).trim());
    line = style.getPropertyValue("--line").trim();
    later();
  }
  function fit() {
    const side = width > 700 ? 300 : 0, above = width > 700 ? 0 : 130;
    const room = Math.min(width - side - 90, height - above - 90);
    scale = Math.max(40, room / 2);
    left = side + (width - side) / 2; top = above + (height - above) / 2; later();
  }
  function size() {
    const ratio = window.devicePixelRatio || 1;
    width = window.innerWidth; height = window.innerHeight;
    canvas.width = width * ratio; canvas.height = height * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  }
  const place = dot => [left + dot.x * scale, top - dot.y * scale];
  const alive = dot => shown[dot.m] && (!wanted || dot.low.includes(wanted));
  const big = () => Math.max(16, Math.min(72, 26 * Math.sqrt(scale / 320)));
  function draw() {
    pending = false;
    pen.clearRect(0, 0, width, height);
    const side = big();
    for (const dot of data.dots) if (dot !== hot) one(dot, side);
    if (hot) one(hot, side * 1.4);
  }
  function one(dot, side) {
    if (!shown[dot.m]) return;
    const [x, y] = place(dot);
    if (x < -side || y < -side || x > width + side || y > height + side) return;
    pen.globalAlpha = alive(dot) ? 1 : 0.12;
    pen.fillStyle = pen.strokeStyle = colours[dot.m];
    if (dot.image && dot.image.complete && dot.image.naturalWidth) {
      pen.lineWidth = 2;
      pen.drawImage(dot.image, x - side / 2, y - side / 2, side, side);
      pen.strokeRect(x - side / 2, y - side / 2, side, side);
    } else {
      pen.beginPath();
      pen.arc(x, y, dot === hot ? 9 : 6, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }
  function under(x, y) {
    let best = null, near = 1e9;
    const side = big();
    for (const dot of data.dots) {
      if (!alive(dot)) continue;
      const [u, v] = place(dot), far = Math.max(Math.abs(u - x), Math.abs(v - y));
      if (far < (dot.image ? side / 2 : 9) && far <= near) { near = far; best = dot; }
    }
    return best;
  }
  function tell(dot, x, y) {
    if (dot !== hot) { hot = dot; later(); }
    tip.hidden = !dot;
    if (!dot) return;
    part("image").hidden = !dot.s;
    if (dot.s) part("image").src = dot.s; else part("image").removeAttribute("src");
    part("name").textContent = dot.n;
    part("kind").textContent = data.kinds[dot.m] + " #" + dot.i;
    part("text").textContent = dot.t;
    part("path").textContent = dot.p;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 16, width - box.width - 8)) + "px";
    tip.style.top = Math.max(8, Math.min(y + 16, height - box.height - 8)) + "px";
  }
  function zoom(by, x, y) {
    const next = Math.max(40, Math.min(60000, scale * by)), real = next / scale;
    left = x - (x - left) * real; top = y - (y - top) * real; scale = next; later();
  }
  const held = new Map();
  let apart = 0;
  canvas.addEventListener("pointerdown", e => {
    held.set(e.pointerId, e); canvas.setPointerCapture(e.pointerId); apart = 0;
  });
  canvas.addEventListener("pointermove", e => {
    const before = held.get(e.pointerId);
    if (!before) { tell(under(e.clientX, e.clientY), e.clientX, e.clientY); return; }
    held.set(e.pointerId, e);
    if (held.size === 1) {
      left += e.clientX - before.clientX; top += e.clientY - before.clientY; later();
    } else {
      const [a, b] = [...held.values()];
      const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (apart) zoom(now / apart, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
      apart = now;
    }
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, e => { held.delete(e.pointerId); apart = 0; });
  canvas.addEventListener("pointerleave", () => tell(null));
  canvas.addEventListener("wheel", e => {
    e.preventDefault(); zoom(Math.exp(-e.deltaY / 400), e.clientX, e.clientY);
  }, { passive: false });
  document.addEventListener("keydown", e => {
    if (e.target === find) return;
    if (e.key === "+" || e.key === "=") zoom(1.25, width / 2, height / 2);
    if (e.key === "-") zoom(0.8, width / 2, height / 2);
    if (e.key === "0") fit();
  });
  find.addEventListener("input", () => { wanted = find.value.toLowerCase(); later(); });
  data.kinds.forEach((kind, k) => {
    if (!data.counts[k]) return;
    const button = document.createElement("button"), mark = document.createElement("i");
    mark.style.background = "var(--k" + k + ")";
    button.append(mark, kind + " " + data.counts[k]);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      shown[k] = !shown[k]; button.setAttribute("aria-pressed", String(shown[k])); later();
    });
    document.getElementById("kinds").append(button);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  window.addEventListener("resize", () => { size(); fit(); });
  size(); paint(); fit();
})();
"""
