// The page: one query, the answer to it, and everything that changes the query.

import * as api from "/web/api.js";
import { card } from "/web/cards.js";
import { $, h } from "/web/dom.js";
import { Grid } from "/web/grid.js";
import { openItem } from "/web/item.js";
import { StoreMap } from "/web/map.js";
import { showParts } from "/web/parts.js";
import { Query } from "/web/query.js";
import { recorder } from "/web/record.js";
import { why } from "/web/why.js";

const PAGE = 50; // 200 pages are the 10,000 hits that a list goes deep
const UNSURE = 0.5; // half of all unrelated queries find something as good
const KINDS = { image: "Pictures", audio: "Sounds", video: "Videos", text: "Texts" };

let query = Query.fromAddress(location.search);
let next = null; // cursor of the next page
let running = null; // AbortController of the search under way
let readOnly = false;

const end = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) more(); }, { rootMargin: "800px" });
const hits = new Grid($("grid"));
const storeMap = new StoreMap({ onOpen: open, onLike: likeAll });

function note(...content) {
  $("note").replaceChildren(...content);
}

async function search({ push = true } = {}) {
  running?.abort();
  running = new AbortController();
  next = null;
  if (push) history.pushState(null, "", query.address());
  showQuery();
  if (query.isEmpty) return welcome();
  view("grid");
  $("grid").setAttribute("aria-busy", "true");
  try {
    const { signal } = running;
    const answer = await api.search(query.body({ k: PAGE }), query.files(), signal);
    hits.clear();
    take(answer);
    say(answer);
    window.scrollTo({ top: 0 });
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    $("grid").removeAttribute("aria-busy");
  }
}

function take(answer) {
  const { words } = query;
  const hooks = { words, onOpen: open, onLike: like, onWhy: (hit, element) => why(query, hit, element) };
  hits.append(answer.hits.map((hit) => card(hit, hooks)));
  next = answer.next_cursor;
  end.unobserve($("more")); // it tells anew whether the end is in sight: on a wide screen it still is
  end.observe($("more"));
}

function say(answer) {
  const best = Math.max(0, ...answer.hits.map((hit) => hit.confidence ?? 1));
  const warnings = answer.warnings.map((text) => h("span", { class: "problem" }, ` ${text}`));
  if (!answer.hits.length)
    note(h("strong", {}, "Nothing matches. "), "No item fits the filters, or none is as sure as you ask. Loosen them, or try other words.", ...warnings);
  else if (best < UNSURE)
    note(h("strong", {}, "Nothing clearly matches. "), `The best hit is ${(100 * best).toFixed(0)} % sure; these are the nearest.`, ...warnings);
  else note(`${answer.took_ms.toFixed(0)} ms`, ...warnings);
}

async function more() {
  if (!next || running?.signal.aborted) return;
  const cursor = next;
  next = null; // one page at a time
  try {
    const answer = await api.search(query.body({ k: PAGE, cursor }), query.files(), running.signal);
    take(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    next = cursor; // what is there stays
    note(problem(error.message), retry(more));
  }
}

const problem = (text) => h("span", { class: "problem" }, text);
const retry = (again) => h("button", { type: "button", onclick: again }, "Try again");

function fail(error) {
  hits.clear();
  note(problem(error.message), error.code === "unreachable" ? retry(() => search({ push: false })) : "");
}

async function welcome() {
  hits.clear();
  try {
    const { n_items: counts, spaces } = await api.status();
    const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
    if (!total)
      return note(h("strong", {}, "The store is empty. "), "Fill it from a terminal: ", h("code", {}, "crossfind index build ~/Pictures ~/Sounds"));
    const listed = Object.entries(counts).filter(([, n]) => n).map(([kind, n]) => `${n.toLocaleString()} ${(KINDS[kind] ?? kind).toLowerCase()}`);
    note(`${listed.join(", ")} · model ${spaces.map((space) => space.id).join(", ")} · press `, h("kbd", {}, "?"), " for the keyboard");
  } catch (error) {
    fail(error);
  }
}

function showQuery() {
  showParts(query, { onChange: search });
  $("text").value = query.text ?? "";
  $("where").value = query.where;
  $("sure").value = String(query.minConfidence);
  $("sure-value").textContent = `${Math.round(100 * query.minConfidence)} %`;
  for (const tab of $("tabs").children) tab.setAttribute("aria-selected", (tab.dataset.kind || null) === query.modality);
}

async function showTabs() {
  const counts = await api.facets(query.where).catch(() => null);
  const tab = (kind, label, n) =>
    h("button", { type: "button", role: "tab", dataset: { kind }, "aria-selected": String((kind || null) === query.modality), onclick: () => { query.modality = kind || null; search(); } }, label, n === undefined ? "" : h("small", {}, ` ${n.toLocaleString()}`));
  const kinds = Object.entries(KINDS).filter(([kind]) => counts?.modality[kind]);
  $("tabs").replaceChildren(tab("", "All", counts?.total), ...kinds.map(([kind, label]) => tab(kind, label, counts.modality[kind])));
}

function like(hit, weight) {
  if (query.parts.some((part) => part.kind === "item" && part.id === hit.id)) query.parts = query.parts.filter((part) => part.id !== hit.id);
  query.add({ kind: "item", id: hit.id, name: hit.name, thumbnail: hit.thumbnail, weight });
  if (weight < 0 && query.parts.length === 1) return note("Less like this: but than what? Type some words first.");
  search();
}

function likeAll(hits) {
  query = new Query();
  for (const hit of hits) query.add({ kind: "item", id: hit.id, name: hit.name, thumbnail: hit.thumbnail });
  search();
}

function open(hit) {
  openItem(hit, { query, readOnly, onLike: like, onRemoved: () => { storeMap.forget(); showTabs(); search({ push: false }); } });
}

function takeFiles(files) {
  const usable = [...files].filter((file) => /^(image|audio|video)\//.test(file.type));
  if (!usable.length) return note(problem("That is neither a picture nor a sound nor a video."));
  for (const file of usable) query.add({ kind: "file", file, name: file.name || "pasted picture" });
  search();
}

// Words replace the words that are there; a picture or an item beside them stays.
function takeText(weight) {
  const text = $("text").value.trim();
  if (weight > 0) query.parts = query.parts.filter((part) => part.kind !== "text" || part.weight < 0);
  if (text) query.add({ kind: "text", text, weight });
  search();
}

function view(name) {
  const isMap = name === "map";
  $("map").hidden = !isMap;
  $("grid").hidden = isMap;
  $("view-map").setAttribute("aria-pressed", String(isMap));
  $("view-grid").setAttribute("aria-pressed", String(!isMap));
  if (isMap) note("Drawing the map …");
  if (isMap) storeMap.show().then((n) => note(`${n.toLocaleString()} items: what lies near is alike`)).catch(fail);
}

function moveFocus(key) {
  const cards = [...$("grid").children];
  const here = cards.indexOf(document.activeElement.closest(".card"));
  if (here < 0) return cards[0]?.focus();
  const { top } = cards[here].getBoundingClientRect();
  const perRow = cards.filter((one) => Math.abs(one.getBoundingClientRect().top - top) < 2).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow, ArrowDown: perRow }[key];
  cards[here + step]?.focus();
}

function onKey(event) {
  if (event.target.matches("input, textarea, audio, video") || event.ctrlKey || event.metaKey) return;
  const focused = document.activeElement.closest(".card");
  const press = (place) => focused?.querySelectorAll(".acts button")[place].click();
  const keys = {
    "/": () => $("text").focus(),
    "?": () => $("keys").showModal(),
    m: () => press(0),
    l: () => press(1),
    e: () => press(2),
    Enter: () => event.target === focused && focused.click(),
  };
  const act = event.key.startsWith("Arrow") && !$("grid").hidden ? () => moveFocus(event.key) : keys[event.key];
  if (!act || document.querySelector("dialog[open]")) return;
  // Otherwise the same Enter would press the first button of the dialog that it opens.
  if (event.key !== "Enter" || event.target === focused) event.preventDefault();
  act();
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

function start() {
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); takeText(1); });
  $("text").addEventListener("keydown", (event) => { if (event.key === "Enter" && event.altKey) { event.preventDefault(); takeText(-0.5); } });
  $("minus").addEventListener("click", () => takeText(-0.5));
  $("pick").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { takeFiles($("file").files); $("file").value = ""; });
  recorder($("record"), { onSound: (file) => takeFiles([file]), onProblem: (text) => note(problem(text)) });
  $("where").addEventListener("change", () => { query.where = $("where").value.trim(); showTabs(); search(); });
  $("sure").addEventListener("input", () => { $("sure-value").textContent = `${Math.round(100 * $("sure").value)} %`; });
  $("sure").addEventListener("change", () => { query.minConfidence = Number($("sure").value); search(); });
  $("view-map").addEventListener("click", () => view("map"));
  $("view-grid").addEventListener("click", () => { view("grid"); search({ push: false }); });
  $("theme").addEventListener("click", () => {
    const isDark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    localStorage.setItem("theme", isDark ? "light" : "dark");
    setTheme(localStorage.getItem("theme"));
  });
  document.addEventListener("keydown", onKey);
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) takeFiles(event.clipboardData.files); });
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").hidden = false; });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
  document.addEventListener("drop", (event) => { event.preventDefault(); $("drop").hidden = true; takeFiles(event.dataTransfer.files); });
  window.addEventListener("popstate", () => { query = Query.fromAddress(location.search); search({ push: false }); });
  setTheme(localStorage.getItem("theme"));
  showTabs();
  api.status().then((known) => { readOnly = known.read_only; }).catch(fail);
  search({ push: false });
  $("text").focus();
}

start();
