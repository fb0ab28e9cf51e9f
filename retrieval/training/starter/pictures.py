"""The recipe's second stage: drawings, what the trunk sees in them, and the words for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_colour import COLOURS, colour_shares
from retrieval.encoders.starter_files import session
from retrieval.training.starter import image, vocabulary
from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.drawings import Drawings, set_of
from retrieval.training.starter.sources import Picture, icon_set, openclipart, rendered_emoji
from retrieval.training.starter.table import Table
from retrieval.training.starter.words import cldr_names

SIDE_PX = 240
# How often the drawings of a set are shown, beside 1 for the others: outlines say less.
CHANCES = {
    "openclipart": 1.5,
    "game-icons": 0.5,
    "icon-park": 0.4,
    "streamline-freehand-color": 0.6,
    "streamline-ultimate-color": 0.6,
}
# Themes of icons, named after programs; and titles without a noun that WordNet knows.
_ICONS, _ICON_CHANCE = "openclipart/computer/icons/", 0.3
_OTHER_CHANCE = 0.5
# Pictures of one title together are shown as often as this many.
_MOST_OF_A_TITLE = 12
_SEEN = ("features", "colours", "middle")
_BATCH = 16
_FLAGS = "twemoji"  # one set of flags is enough


@dataclass(frozen=True, slots=True)
class PictureSources:
    """Where drawings are installed.

    Attributes:
        openclipart: Debian openclipart-svg, /usr/share/openclipart/svg.
        icon_sets: name -> unpacked npm package of Iconify.
        rendered: name -> unpacked npm package of emoji as WebP.
        cldr: Debian unicode-cldr-core, /usr/share/unicode/cldr/common.
        wordnet: Debian wordnet-base, /usr/share/wordnet.
        photos: folders of photos (.jpg), which keep their classes; their labels are not read.
    """

    openclipart: Path
    icon_sets: Mapping[str, Path]
    rendered: Mapping[str, Path]
    cldr: Path
    wordnet: Path
    photos: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures that could be drawn.

    Attributes:
        pictures: [N].
        features: float32 [N, 1280], of the trunk.
        colours: float32 [N, 12], shares.
        middle: float32 [N, M], of earlier stages of the trunk.
    """

    pictures: list[Picture]
    features: Vectors
    colours: Vectors
    middle: Vectors


def list_pictures(sources: PictureSources) -> list[Picture]:
    """List the drawings to train on, without those of demo (0), validation (1) and test (2)."""
    names = cldr_names(sources.cldr, language="en")
    found = [p for p in openclipart(sources.openclipart) if part_of(p) not in "12"]
    for name, folder in sorted(sources.icon_sets.items()):
        found += icon_set(folder, name=name, names=names)
    for name, folder in sorted(sources.rendered.items()):
        found += rendered_emoji(folder, name=name, names=names)
    return [
        p
        for p in found
        if len(p.title) > 1
        and "keycap" not in p.title
        and ("flag:" not in p.title or p.key.startswith(f"{_FLAGS}/"))
    ]


def part_of(picture: Picture) -> str:
    """First hex digit of the md5 of the file name: 0 demo, 1 validation, 2 test, else training."""
    return hashlib.md5(Path(picture.key).name.encode(), usedforsecurity=False).hexdigest()[0]


def features_of(pictures: Sequence[Picture], *, trunk: Path, work: Path) -> Drawn:
    """Draw pictures and run the trunk on each, once.

    Args:
        pictures: what to draw.
        trunk: the int8 ONNX file.
        work: for the caches of drawings and features, files for each set of pictures.

    Returns:
        Those that could be drawn.
    """
    by_set: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_set.setdefault(set_of(picture), []).append(picture)
    network = hashlib.sha256(trunk.read_bytes()).hexdigest()[:8]
    kept: list[Picture] = []
    parts: dict[str, list[Vectors]] = {name: [] for name in _SEEN}
    for name, members in sorted(by_set.items()):
        path = work / f"pictures-{name}-{network}.npz"
        if not path.is_file():
            _see(members, trunk=trunk, drawings=Drawings(work, side_px=SIDE_PX), target=path)
        at = {p.key: p for p in members}
        with np.load(path) as stored:
            here = [n for n, key in enumerate(stored["keys"]) if str(key) in at]
            kept += [at[str(stored["keys"][n])] for n in here]
            for part, found in parts.items():
                found.append(stored[part][here].astype(np.float32))
    return Drawn(kept, **{name: np.concatenate(found) for name, found in parts.items()})


def _see(pictures: Sequence[Picture], *, trunk: Path, drawings: Drawings, target: Path) -> None:
    """Draw the pictures of one set and write their keys, features and colours."""
    run = session(trunk.read_bytes(), threads=2)
    keys: list[str] = []
    parts: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in _SEEN}
    drawn = drawings.of(pictures)
    while block := list(islice(drawn, _BATCH)):
        pixels = [p for _, p in block]
        feature, middle = run.run(["feature", "middle"], {"image": np.stack(pixels)})
        keys += [picture.key for picture, _ in block]
        parts["features"].append(feature.astype(np.float16))
        parts["colours"].append(colour_shares(pixels))
        parts["middle"].append(middle.astype(np.float16))
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    np.savez(target, keys=np.array(keys), **whole)  # type: ignore[arg-type]  # names are no options


def titles_of(pictures: Sequence[Picture]) -> list[str]:
    """List titles and keywords, each once, longer than one letter."""
    texts = [t for p in pictures for t in (p.title, *p.words)]
    return [t for t in dict.fromkeys(texts) if len(t) > 1]


def pairs_of(drawn: Drawn, *, table: Table, kinds: vocabulary.Kinds, seed: int = 0) -> image.Pairs:
    """Word the pictures and encode the wordings; pictures whose title is unknown are left out.

    Args:
        drawn: the pictures.
        table: the text table.
        kinds: synonyms and hypernyms of words.
        seed: of the wordings.

    Returns:
        What `image.train_head` learns from.
    """
    known = np.flatnonzero(table.encode([p.title for p in drawn.pictures]).any(axis=1))
    pictures, colours = [drawn.pictures[i] for i in known], drawn.colours[known]
    rng = np.random.default_rng(seed)
    mains = [image.main_colours(c) for c in colours]
    titles = [p.title for p in pictures]
    known_kinds = [kinds.of(title) for title in titles]
    worded = [
        image.wordings(p.title, words=p.words, kinds=above, rng=rng)
        for p, above in zip(pictures, known_kinds, strict=True)
    ]
    flat = table.encode([text for texts in worded for text in texts])
    others = [str(rng.choice([c for c in COLOURS[:11] if c not in m])) for m in mains]
    group_of = {t: n for n, t in enumerate(sorted({vocabulary.plain(t) for t in titles}))}
    groups = np.array([group_of[vocabulary.plain(t)] for t in titles])
    worth = [_chance(p, is_thing=bool(k)) for p, k in zip(pictures, known_kinds, strict=True)]
    chances = np.array(worth)
    chances *= np.minimum(1.0, _MOST_OF_A_TITLE / np.bincount(groups)[groups])
    first = [f"{m[0]} {t}" if m else t for m, t in zip(mains, titles, strict=True)]
    return image.Pairs(
        features=drawn.features[known],
        colours=colours,
        middle=drawn.middle[known],
        texts=flat.reshape(len(pictures), image.N_VARIANTS, -1),
        tinted=table.encode(first),
        mistinted=table.encode([f"{c} {t}" for c, t in zip(others, titles, strict=True)]),
        coloured=np.array([bool(m) for m in mains]),
        groups=groups,
        chances=chances / chances.sum(),
        places=known,
    )


def _chance(picture: Picture, *, is_thing: bool) -> float:
    """How often a picture is shown, for what its set, its folder and its title are worth."""
    usual = CHANCES.get(set_of(picture), 1.0)
    icon = _ICON_CHANCE if picture.key.startswith(_ICONS) else 1.0
    return usual * icon * (1.0 if is_thing else _OTHER_CHANCE)
