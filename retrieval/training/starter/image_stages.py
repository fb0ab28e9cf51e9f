"""The recipe's third stage: the image trunk, the heads, and the last blocks tuned with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.training.starter import audio_pack, efficientnet, image, looks, pictures, tail
from retrieval.training.starter.classes import Classes
from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.drawings import Drawings
from retrieval.training.starter.pictures import Drawn
from retrieval.training.starter.sources import Picture
from retrieval.types import MediaSpec

if TYPE_CHECKING:
    import torch

_VARIANT = 2
_N_CALIBRATION = 160
# Taken off the log-odds of shops; chosen on grocery train photos.
_SHOP_PENALTY = 4.0


def published_trunk(weights: Path, *, work: Path, found: Sequence[Picture]) -> Path:
    """Export the published trunk and bring it to int8 on some of the pictures.

    Args:
        weights: its state dict, a safetensors file.
        work: gets the file.
        found: pictures it will see.

    Returns:
        The int8 ONNX file.
    """
    target = work / "image.onnx"
    if not target.is_file():
        _export(efficientnet.read(weights), target=target, found=found)
    return target


def _export(
    folded: dict[str, torch.Tensor], *, target: Path, found: Sequence[Picture], whole: bool = True
) -> None:
    """Write the trunk, or its first blocks, as an int8 ONNX file."""
    plain = target.with_suffix(".float32.onnx")
    efficientnet.export(
        folded, variant=_VARIANT, target=plain, side_px=pictures.SIDE_PX, whole=whole
    )
    some = found[:: max(1, len(found) // _N_CALIBRATION)][:_N_CALIBRATION]
    drawings = Drawings(target.parent, side_px=pictures.SIDE_PX)
    seen = np.stack([pixels for _, pixels in drawings.of(some)])
    # Pooling stays in float: one scale for means and maxima would round the means away.
    audio_pack.quantise_static(
        plain, target=target, mels=seen, name="image", only=("Conv", "Clip", "Add", "Pad")
    )
    plain.unlink()


def joined_head(
    pairs: image.Pairs, *, classes: image.Prototypes, work: Path, plans: Sequence[image.HeadPlan]
) -> image.TrainedHead:
    """Train the heads that are not in `work` yet, and join them.

    Args:
        pairs: drawings and texts.
        classes: stand-ins of the trunk's classes.
        work: keeps the heads.
        plans: one for each.

    Returns:
        One head as wide as all of them.
    """
    heads = []
    for number, plan in enumerate(plans):
        path = work / f"head-{number}.npz"
        if not path.is_file():
            trained = image.train_head(pairs, classes=classes, plan=plan)
            np.savez(path, **trained.tensors)  # type: ignore[arg-type]  # names are no options
        heads.append(_read_head(path))
    return image.join_heads(heads, pairs=pairs)


def _read_head(path: Path) -> image.TrainedHead:
    with np.load(path) as stored:
        return image.TrainedHead(dict(stored))


@dataclass(frozen=True, slots=True)
class Tuned:
    """What the last blocks and the head became.

    Attributes:
        head: the joined head, tuned.
        trunk: the int8 ONNX file.
        features: float32 [N, 1280] of the drawings that have pairs.
    """

    head: image.TrainedHead
    trunk: Path
    features: Vectors


def tune_tail(
    drawn: Drawn,
    pairs: image.Pairs,
    head: image.TrainedHead,
    *,
    classes: image.Prototypes,
    weights: Path,
    photos: Sequence[Path],
    work: Path,
    plan: tail.TailPlan | None,
    tell: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Tune the last blocks and the joined head, unless that was done.

    Args:
        drawn: the pictures.
        pairs: those of them that have texts.
        head: where to start.
        classes: stand-ins of the trunk's classes.
        weights: the published state dict, a safetensors file.
        photos: folders of photos whose classes are kept.
        work: keeps what the first blocks saw, and the result.
        plan: how; None leaves everything as it is.
        tell: told how it goes.

    Returns:
        The result.
    """
    if plan is None:
        return Tuned(head, work / "image.onnx", pairs.features)
    stored, trunk, seen_as = (
        work / name for name in ("head-tuned.npz", "image.tuned.onnx", "features-tuned.npy")
    )
    if not seen_as.is_file():
        published = efficientnet.read(weights)
        seen = _seen(drawn, pairs, folded=published, photos=photos, work=work)
        folded, better = tail.tune(
            pairs,
            seen=seen,
            classes=classes,
            head=head,
            folded=published,
            classifier=efficientnet.classifier(weights),
            variant=_VARIANT,
            plan=plan,
            tell=tell,
        )
        _export(folded, target=trunk, found=drawn.pictures)
        np.savez(stored, **better.tensors)  # type: ignore[arg-type]  # names are no options
        np.save(seen_as, tail.features(seen.plain, folded=folded, variant=_VARIANT))
    return Tuned(_read_head(stored), trunk, np.load(seen_as))


def _seen(
    drawn: Drawn,
    pairs: image.Pairs,
    *,
    folded: dict[str, torch.Tensor],
    photos: Sequence[Path],
    work: Path,
) -> tail.Seen:
    """Run the first blocks on the drawings, as they are and moved, and on photos."""
    early = work / "early.onnx"
    if not early.is_file():
        _export(folded, target=early, found=drawn.pictures, whole=False)
    known = [drawn.pictures[place] for place in pairs.places]
    side_px = pictures.SIDE_PX
    spec = MediaSpec(image_size_px=side_px, image_fit="squash", crop_fraction=1.0)
    plain, moved = (
        looks.looks_of(known, early=early, work=work, side_px=side_px, seed=seed)
        for seed in (None, 1)
    )
    others = looks.photo_looks(photos, early=early, work=work, spec=spec) if photos else None
    return tail.Seen(plain, moved, others)


def without_shops(weights: Path, *, classes: Classes) -> tuple[Vectors, Vectors]:
    """Read the trunk's classifier, shops made less likely: float32 [C, 1280] and [C]."""
    weight, bias = efficientnet.classifier(weights)
    return weight, np.where(classes.shops(), bias - np.float32(_SHOP_PENALTY), bias)
