"""Pictures of about one colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def shades(
    folder: Path, *, name: str, colour: tuple[int, int, int], n: int, seed: int
) -> list[Path]:
    """Write pictures of about one colour; their paths."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(n):
        shade = np.clip(np.array(colour) + rng.integers(-20, 21, 3), 0, 255)
        path = folder / f"{name}{number}.png"
        Image.new("RGB", (20, 20), tuple(int(c) for c in shade)).save(path)
        paths.append(path)
    return paths
