"""Build the demo set that ships in `retrieval/demo/`: media, demo.json and NOTICE.

Run it again when a source changes; what it writes depends on nothing else:

    python benchmarks/demo_set/build.py --grocery DIR --clothing DIR --esc10 DIR \\
        --openclipart DIR --twemoji DIR --skimage DIR --scipy DIR --sklearn DIR --sonicpi DIR \\
        --soundfont FluidR3_GM.sf2

Each DIR is the folder that the locators of recipe.csv start from: the data sets as published, the
Debian packages openclipart-svg, sonic-pi-samples and fluid-soundfont-gm, the npm package
@twemoji/svg 15.0.0, and the picture folders of the wheels of scikit-image 0.17.2, scipy 1.9.3 and
scikit-learn 1.5.2. Needs rsvg-convert and fluidsynth.

The texts are written by hand in retrieval/demo/media/texts, and the searches by hand in demo.json:
both are kept; some pictures were drawn by hand in drawings/. None of the files may be used to train
the starter model. Of openclipart, Sonic Pi and Twemoji only files whose md5(name) begins with 0 are
taken, because the others are training data (for an emoji: md5 of `1f415.svg`, `1f415.png`,
`emoji_u1f415.svg` or `emoji_u1f415.png`).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from notice import write_notice
from pictures import open_picture, save_picture
from sounds import play_phrase, read_sound, save_sound
from sources import Credit, credit

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "retrieval" / "demo"
PICTURES = ["grocery", "clothing", "openclipart", "twemoji", "skimage", "scipy", "sklearn"]
SOUNDS = ["esc10", "sonicpi"]
MODALITIES = {"images": "image", "sounds": "audio", "texts": "text"}
OWN = Credit("written for crossfind", "the crossfind authors", "CC0-1.0")


def main() -> None:
    """Write every file of the recipe, then demo.json and NOTICE."""
    options = _options()
    items = []
    with (HERE / "recipe.csv").open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            owed = _write_media(row, options=options)
            items.append(_item(row, owed=owed))
    demo_file = options.out / "demo.json"
    old = json.loads(demo_file.read_text(encoding="utf-8")) if demo_file.exists() else {}
    demo = {"version": 1, "items": items, "searches": old.get("searches", [])}
    demo_file.write_text(json.dumps(demo, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_notice(options.out / "NOTICE", items=items)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the demo set that ships in retrieval/demo.")
    for kind in (*PICTURES, *SOUNDS):
        parser.add_argument(f"--{kind}", type=Path, required=True)
    parser.add_argument("--soundfont", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=DEMO)
    parser.add_argument("--only", default="", help="write only the media whose path contains this")
    return parser.parse_args()


def _item(row: dict[str, str], *, owed: Credit) -> dict[str, str]:
    return {
        "path": row["path"],
        "modality": MODALITIES[row["path"].split("/")[0]],
        "concept": row["concept"],
        "source": owed.source,
        "licence": owed.licence,
        "author": owed.author,
    }


def _write_media(row: dict[str, str], *, options: argparse.Namespace) -> Credit:
    kind, locator = row["source"], row["locator"]
    target = options.out / "media" / row["path"]
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == "written":
        return OWN
    wanted = options.only in row["path"]
    if kind == "fluidsynth":
        if wanted:
            save_sound(_play(locator, soundfont=options.soundfont), target)
        return credit(kind, locator, options.soundfont)
    folder = HERE / "drawings" if kind == "drawn" else getattr(options, kind)
    source = _find(folder, kind=kind, locator=locator)
    if wanted and target.suffix == ".ogg":
        save_sound(read_sound(source), target)
    elif wanted:
        save_picture(open_picture(source), target)
    return credit(kind, locator, source)


def _play(locator: str, *, soundfont: Path) -> object:
    how = dict(part.split("=") for part in locator.split())
    return play_phrase(
        program=how["program"], tune=how["tune"], octave=int(how["octave"]), soundfont=soundfont
    )


def _find(folder: Path, *, kind: str, locator: str) -> Path:
    """Return the one source file; clothing is named by the beginning of its name."""
    if kind == "twemoji":
        return folder / f"{locator}.svg"
    if kind == "clothing":
        (found,) = folder.glob(f"{locator}*")
        return found
    return folder / locator


if __name__ == "__main__":
    main()
