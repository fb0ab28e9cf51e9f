"""A folder of pictures and texts that the fake encoder tells apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_media(folder: Path, *, n_files: int, seed: int = 5) -> Path:
    """Write pictures of random colours, each with a trace of layout, and a few texts."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(n_files):
        if number % 10 == 9:
            (folder / f"{number:04}.txt").write_text(f"word{number} red word{number // 20}")
            continue
        pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8) // 4 + rng.integers(
            0, 190, 3, dtype=np.uint8
        )
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:04}.png")
    return folder
