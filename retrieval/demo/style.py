"""The look of the contact sheet: light and dark, from a phone to a wide screen."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #ffffff; --ink: #1d1d1f; --soft: #6b6a66;
  --line: #e4e2dc; --accent: #b4541a; --good: #1f7a4a; --bad: #b3261e; --tile: #faf9f6;
  --frame: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --page: #141416; --card: #1e1e21; --ink: #f0efec;
  --soft: #a09e98; --line: #313135; --accent: #f0a06a; --good: #6fcf97; --bad: #ff8a80;
  --tile: #27272b; --frame: #27272b; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--page); color: var(--ink); padding: 0 20px 48px;
  font: 16px/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  sans-serif; }
header, main, footer { max-width: 1120px; margin: 0 auto; }
header { padding: 44px 4px 24px; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); letter-spacing: -0.02em; line-height: 1.15; }
header p { color: var(--soft); margin-top: 6px; }
footer { color: var(--soft); font-size: 13px; padding: 24px 4px 0; }
section { display: grid; grid-template-columns: 220px minmax(0, 1fr); gap: 28px;
  background: var(--card); border: 1px solid var(--line); border-radius: 16px; padding: 22px;
  margin-bottom: 16px; }
.way { color: var(--accent); font-size: 12px; font-weight: 600; letter-spacing: 0.06em;
  text-transform: uppercase; margin-bottom: 10px; }
.words { font: 600 1.35rem/1.25 Georgia, "Noto Serif", "Times New Roman", serif;
  overflow-wrap: anywhere; }
.words::before { content: "\\201C"; color: var(--soft); }
.words::after { content: "\\201D"; color: var(--soft); }
.verdict { display: inline-block; margin-top: 12px; padding: 1px 10px; border-radius: 99px;
  border: 1px solid currentColor; font-size: 12px; font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .none { color: var(--soft); }
.hits { list-style: none; padding: 0; display: grid; gap: 16px; align-content: start;
  grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
.tile { position: relative; display: flex; flex-direction: column; justify-content: center;
  align-items: center; aspect-ratio: 1; overflow: hidden; border-radius: 12px;
  background: var(--tile); border: 1px solid var(--line); }
.query .tile { max-width: 180px; }
.expected .tile { border-color: var(--good); box-shadow: 0 0 0 1px var(--good); }
img { max-width: 100%; max-height: 100%; background: #ffffff; }
svg { width: 56%; max-height: 50%; color: var(--accent); opacity: 0.75; }
audio { width: calc(100% - 12px); height: 34px; margin-top: 12px; }
li.text .tile, .query .tile:has(blockquote) { aspect-ratio: auto; justify-content: flex-start; }
.texts li { display: flex; flex-direction: column; } .texts .tile { flex: 1; }
blockquote { align-self: stretch; padding: 12px 13px; overflow-wrap: anywhere;
  font: 13px/1.45 Georgia, "Noto Serif", serif; }
.tile:has(img) { background: var(--frame); }
.plain { color: var(--soft); }
.name { margin-top: 8px; font-size: 13px; line-height: 1.3; overflow-wrap: anywhere; }
.score { color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.mark { color: var(--good); font-weight: 700; }
@media (max-width: 700px) {
  body { padding: 0 12px 32px; } header { padding: 28px 4px 16px; }
  section { grid-template-columns: minmax(0, 1fr); gap: 16px; padding: 16px; border-radius: 14px; }
  .query .tile { max-width: 140px; }
  .hits { grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 12px; }
  .hits.audios { grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); }
  .audios .tile { aspect-ratio: 3 / 2; }
  .hits.texts { grid-template-columns: minmax(0, 1fr); gap: 18px; }
  blockquote { font-size: 15px; }
}
@media print { body { background: #ffffff; } section { break-inside: avoid; }
  audio { display: none; } }
"""
