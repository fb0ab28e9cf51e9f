"""What the trunk's first stages see in pictures, kept, so that its last can be trained quickly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import session
from retrieval.media.image import load_image
from retrieval.training.starter.drawings import Drawings, Pixels
from retrieval.training.starter.sources import Picture
from retrieval.types import MediaSpec

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Looks:
    """What `efficientnet.early` gives.

    Attributes:
        late: float16 [N, S, S, C], what the last stages read; on disk.
        middle: float16 [N, M].
    """

    late: npt.NDArray[np.float16]
    middle: npt.NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.late)


def looks_of(
    pictures: Sequence[Picture], *, early: Path, work: Path, side_px: int, seed: int | None = None
) -> Looks:
    """See pictures, those that `pictures.features_of` drew; kept in `work`.

    Args:
        pictures: what to see.
        early: the int8 ONNX file of the first stages.
        work: for the result, and for the drawings if they are not there.
        side_px: of the pictures.
        seed: of how each is moved; None leaves them as they are.
    """
    drawn = (pixels for _, pixels in Drawings(work, side_px=side_px).of(pictures))
    rng = np.random.default_rng(seed)
    shown = drawn if seed is None else (moved(pixels, rng=rng) for pixels in drawn)
    which = hashlib.sha256("\n".join(p.key for p in pictures).encode()).hexdigest()[:8]
    return _kept(f"drawings-{which}-{seed}", shown, n=len(pictures), early=early, work=work)


def photo_looks(folders: Sequence[Path], *, early: Path, work: Path, spec: MediaSpec) -> Looks:
    """See the photos (.jpg) in folders, in the order of their paths; kept in `work`."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*.jpg"))]
    shown = (_photo(path, spec=spec) for path in paths)
    return _kept("photos", shown, n=len(paths), early=early, work=work)


def _photo(path: Path, *, spec: MediaSpec) -> Pixels:
    return np.asarray(
        load_image(path.read_bytes(), format="jpeg", spec=spec).parts[0].payload, dtype=np.uint8
    )


def _kept(name: str, shown: Iterable[Pixels], *, n: int, early: Path, work: Path) -> Looks:
    """Read what was seen, or see it."""
    network = hashlib.sha256(early.read_bytes()).hexdigest()[:8]
    late, middle = (work / f"looks-{name}-{network}.{part}.npy" for part in ("late", "middle"))
    if not middle.is_file():
        _see(iter(shown), n=n, early=early, late=late, middle=middle)
    return Looks(np.load(late, mmap_mode="r"), np.load(middle))


def _see(shown: Iterator[Pixels], *, n: int, early: Path, late: Path, middle: Path) -> None:
    run = session(early.read_bytes(), threads=2)
    whole: np.memmap[Any, np.dtype[np.float16]] | None = None
    parts: list[npt.NDArray[np.float16]] = []
    at = 0
    while block := list(islice(shown, _BATCH)):
        seen, means = run.run(["early", "middle"], {"image": np.stack(block)})
        rows = np.moveaxis(seen, 1, 3).astype(np.float16)
        if whole is None:
            shape = (n, *rows.shape[1:])
            whole = np.lib.format.open_memmap(late, mode="w+", dtype=np.float16, shape=shape)
        whole[at : at + len(rows)] = rows
        at += len(rows)
        parts.append(means.astype(np.float16))
    if whole is None or at != n:
        raise AssertionError(f"{at} of {n} pictures were seen")  # `pictures` are drawn ones
    whole.flush()
    np.save(middle, np.concatenate(parts))


def moved(pixels: Pixels, *, rng: np.random.Generator) -> Pixels:
    """Turn, scale, shift and mirror a drawing a little, and change its brightness.

    Args:
        pixels: uint8 [S, S, 3]; what comes in at the sides has the edge's median colour.
        rng: of the change.

    Returns:
        uint8 [S, S, 3].
    """
    from PIL import Image

    side = len(pixels)
    scale, angle = rng.uniform(0.7, 1.15), np.deg2rad(rng.uniform(-12, 12))
    across, up = rng.uniform(-0.1, 0.1, 2) * side
    wide = np.exp(rng.uniform(-0.15, 0.15)) * rng.choice([-1, 1])
    cos, sin, half = np.cos(angle) / scale, np.sin(angle) / scale, side / 2
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(edge, axis=0)
    x_of = (wide * cos, -sin, half - wide * cos * (half + across) + sin * (half + up))
    y_of = (wide * sin, cos, half - wide * sin * (half + across) - cos * (half + up))
    changed = Image.fromarray(pixels).transform(
        (side, side),
        Image.Transform.AFFINE,
        (*x_of, *y_of),
        Image.Resampling.BILINEAR,
        fillcolor=tuple(int(v) for v in ground),
    )
    table = _brightness(rng, bright=bool(ground.min() >= 240))
    return np.asarray(table[np.asarray(changed)], dtype=np.uint8)


def _brightness(rng: np.random.Generator, *, bright: bool) -> Pixels:
    """A table of 256 values: darker on a white ground, else more or less contrast and light."""
    values = np.arange(256)
    if bright:
        changed = values * rng.uniform(0.92, 1.0)
    else:
        changed = (values - 128) * rng.uniform(0.85, 1.1) + 128 + rng.uniform(-12, 12)
    return np.asarray(np.clip(changed, 0, 255), dtype=np.uint8)
