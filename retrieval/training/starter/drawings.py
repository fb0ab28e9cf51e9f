"""Drawn pictures, kept: drawing takes longer than any of the stages that look at them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.training.starter.render import draw_all
from retrieval.training.starter.sources import Picture

Pixels = npt.NDArray[np.uint8]
_AT_ONCE = 256


class Drawings:
    """Pictures that are drawn once.

    Args:
        folder: keeps `drawn-SET-SIDE.raw`, the pixels, and `drawn-SET-SIDE.json`, their keys.
        side_px: side of each.
    """

    def __init__(self, folder: Path, *, side_px: int) -> None:
        self._folder, self._side_px = folder, side_px

    def of(self, pictures: Iterable[Picture]) -> Iterator[tuple[Picture, Pixels]]:
        """Yield pictures with their pixels, uint8 [S, S, 3], in order, without broken ones."""
        for name, members in groupby(pictures, key=set_of):
            kept = _Kept(self._folder / f"drawn-{name}-{self._side_px}.raw", side_px=self._side_px)
            while block := list(islice(members, _AT_ONCE)):
                kept.draw(block)
                for picture in block:
                    if picture.key in kept.places:
                        yield picture, kept.pixels(picture.key)


def set_of(picture: Picture) -> str:
    """Name the set that a picture is of."""
    return picture.key.split("/", 1)[0]


class _Kept:
    """The drawings of one set; what was written before a broken run is used."""

    def __init__(self, path: Path, *, side_px: int) -> None:
        self._path, self._names = path, path.with_suffix(".json")
        self._shape = (side_px, side_px, 3)
        stored = json.loads(self._names.read_text("utf-8")) if self._names.is_file() else {}
        drawn: list[str] = stored.get("drawn", [])
        self.places = {key: place for place, key in enumerate(drawn)}
        self._broken: list[str] = stored.get("broken", [])

    def draw(self, pictures: list[Picture]) -> None:
        """Draw those of the pictures that were not, and write them."""
        tried = self.places.keys() | set(self._broken)
        fresh = [p for p in pictures if p.key not in tried]
        if not fresh:
            return
        with self._path.open("ab") as file:
            file.truncate(len(self.places) * int(np.prod(self._shape)))
            for picture, pixels in draw_all(fresh, side_px=self._shape[0]):
                file.write(pixels.tobytes())
                self.places[picture.key] = len(self.places)
        self._broken += [p.key for p in fresh if p.key not in self.places]
        names = {"drawn": list(self.places), "broken": self._broken}
        unfinished = self._names.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(names), encoding="utf-8")
        unfinished.replace(self._names)

    def pixels(self, key: str) -> Pixels:
        row_bytes = int(np.prod(self._shape))
        offset = self.places[key] * row_bytes
        flat = np.fromfile(self._path, np.uint8, count=row_bytes, offset=offset)
        return flat.reshape(self._shape)
