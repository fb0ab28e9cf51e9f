// One item, opened: its media at full size, what is known about it, and what can be done with it.

import * as api from "/web/api.js";
import { player } from "/web/cards.js";
import { $, bytes, clock, h } from "/web/dom.js";

export async function openItem(hit, { query, readOnly, onLike, onRemoved }) {
  const dialog = $("item");
  const facts = h("dl", {});
  const moments = h("div", { class: "moments" });
  const actions = h(
    "p",
    { class: "actions" },
    button("More like this", () => { dialog.close(); onLike(hit, 1); }),
    button("Less like this", () => { dialog.close(); onLike(hit, -0.5); }),
    h("a", { href: hit.media, target: "_blank", rel: "noopener" }, "Open the file"),
    readOnly ? null : button("Forget it", () => forget(hit, dialog, onRemoved), "danger"),
  );
  dialog.replaceChildren(
    h("form", { method: "dialog" }, h("h2", {}, hit.name), h("button", { class: "close", "aria-label": "Close" }, "×")),
    h("div", { class: "stage" }, stage(hit)),
    moments,
    facts,
    actions,
  );
  dialog.showModal();
  const known = await api.item(hit.id).catch((error) => ({ error: error.message }));
  facts.append(...rows({ ...hit, ...known }));
  if ((hit.modality === "audio" || hit.modality === "video") && query.text !== null && known.duration_s > 6)
    showMoments(await api.moments(query.text, hit.id).catch(() => ({ moments: [] })), moments, dialog);
}

const button = (text, onclick, kind) => h("button", { type: "button", class: kind ?? "", onclick }, text);

function stage(hit) {
  if (hit.modality === "image") return h("img", { src: hit.media, alt: hit.caption ?? hit.name });
  if (hit.modality === "text") return h("blockquote", { dir: "auto" }, hit.text ?? "");
  return player(hit, false);
}

function* rows(known) {
  const facts = {
    Path: known.path,
    Kind: [known.modality, known.format].filter(Boolean).join(", "),
    Size: [known.width_px ? `${known.width_px} × ${known.height_px} px` : "", known.size_bytes ? bytes(known.size_bytes) : ""].filter(Boolean).join(", "),
    Length: known.duration_s ? clock(known.duration_s) : "",
    Caption: known.caption,
    Notes: [known.flags].flat().filter(Boolean).join(", "),
    Copies: [known.copies].flat().filter(Boolean).join("\n"),
    Score: `cosine ${known.score.toFixed(3)}${known.confidence === undefined || known.confidence === null ? "" : `, ${(100 * known.confidence).toFixed(0)} % sure`}`,
    Problem: known.error,
  };
  for (const [name, value] of Object.entries(facts)) if (value) yield* [h("dt", {}, name), h("dd", {}, String(value))];
}

function showMoments(found, place, dialog) {
  if (!found.moments.length) return;
  place.append(h("span", {}, "Moments: "), ...found.moments.map((moment) =>
    button(`${clock(moment.start_s)}–${clock(moment.end_s)}`, () => {
      const media = dialog.querySelector("audio, video");
      media.currentTime = moment.start_s;
      media.play();
    })));
}

async function forget(hit, dialog, onRemoved) {
  if (!window.confirm(`Forget ${hit.name}? The file itself stays.`)) return;
  try {
    await api.remove(hit.id);
    dialog.close();
    onRemoved(hit);
  } catch (error) {
    dialog.querySelector(".actions").append(h("span", { class: "problem" }, error.message));
  }
}
