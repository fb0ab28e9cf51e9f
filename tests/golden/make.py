"""Make the golden store of a version: run it in a checkout of that version.

    git worktree add /tmp/old COMMIT && cd /tmp/old
    PYTHONPATH=. python .../tests/golden/make.py 0004 COMMIT .../tests/golden

It writes REVISION.zip (the store) and REVISION.json (the commit, and what that version answered).
It uses only what every version has had, and always the same media at the same place.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from PIL import Image

from index.types import Plan
from retrieval.engine import Engine

PLACE = Path("/tmp/crossfind-golden")  # the catalog keeps absolute paths
COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}
WORDS = ("parrot", "meadow", "ocean", "école", "night")


def write_media(media: Path) -> None:
    """Write texts, pictures, a caption, a table and a broken file."""
    media.mkdir(parents=True)
    for number, word in enumerate(WORDS):
        for colour in COLOURS:
            (media / f"{colour} {word}.txt").write_text(f"{colour} {word} {number}")
    for name, rgb in COLOURS.items():
        Image.new("RGB", (24, 24), rgb).save(media / f"{name}.png")
    (media / "red.txt").write_text("a red square")  # the caption of red.png
    (media / "rows.csv").write_text("text\nfirst green row\nsecond blue row\n")
    (media / "broken.jpg").write_bytes(b"no picture")


def answers(engine: Any) -> dict[str, list[str]]:
    """Ask for words and stored items by their vectors; write id, modality, score and path."""
    queries: list[str | int] = ["red", "green meadow", "blue ocean", "a dark night", "école"]
    vectors_only = {"hybrid": False} if "hybrid" in signature(engine.search).parameters else {}
    found = {}
    for query in [*queries, 1, 5, 9]:
        hits = engine.search(query, k=8, **vectors_only)
        found[str(query)] = [f"{h.id} {h.modality} {h.score:.4f} {h.path}" for h in hits]
    return found


def small_index(*_: object, **__: object) -> Plan:
    """Plan an index file, which so small a store would not get."""
    return Plan(kind="flat", factory="Flat", parameters={}, reason="golden")


def main() -> None:
    """Live a short life and keep what it left."""
    revision, commit, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    shutil.rmtree(PLACE, ignore_errors=True)
    media, store = PLACE / "media", PLACE / "store"
    write_media(media)
    plans = import_module(f"retrieval.{'build' if revision < '0006' else 'build_wishes'}")
    assert hasattr(plans, "choose")
    plans.choose = small_index  # type: ignore[attr-defined]
    with Engine.open(store, create=True, model="fake") as engine:
        engine.add(media)
        engine.build()
        engine.remove(media / "green parrot.txt")
        (media / "blue night.txt").write_text("black night now")
        (media / "late.txt").write_text("violet after the build")
        engine.add(media / "blue night.txt", media / "late.txt")
        told = {
            "commit": commit,
            "answers": answers(engine),
            "n_items": engine.status().n_items,
            "failures": [f"{f.code} {f.path}" for f in engine.failures()],
        }
    with zipfile.ZipFile(out / f"{revision}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(store.rglob("*")):
            if path.is_file() and path.name != "LOCK":
                stamp = zipfile.ZipInfo(str(path.relative_to(store)), (2026, 11, 21, 0, 0, 0))
                stamp.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(stamp, path.read_bytes())
    text = json.dumps(told, indent=1, ensure_ascii=False)
    (out / f"{revision}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
