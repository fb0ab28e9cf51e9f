"""Bit rot, zeroed pages, truncation, exchanged files: noticed before an answer, every time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from index.derived import load_index, save_index
from index.errors import DamagedError, TooNewError
from index.faiss_index import FaissIndex
from index.segments import open_segment, write_segment
from index.types import Ids, Vectors

DIM, N = 16, 600
SMALL = {"n_train": 64}
KINDS: dict[str, dict[str, int | str]] = {
    "flat": {},
    "hnsw": {"m": 8},
    "ivf": {"n_lists": 4},
    "fastscan": SMALL,
    "ivf_fastscan": {**SMALL, "n_lists": 4},
}
N_EACH = [pytest.param(100, id="100"), pytest.param(1000, id="1000", marks=pytest.mark.slow)]


def unit_vectors(seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((N, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def damages(data: bytes, other: bytes, *, n_each: int) -> Iterator[bytes]:
    """Give damaged versions of a file's bytes, never the bytes themselves."""
    rng = random.Random(3)
    for _ in range(n_each):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
        start = rng.randrange(len(data)) // 4096 * 4096
        zeroed = data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :]
        if zeroed != data:
            yield zeroed
        yield data[: rng.randrange(len(data))]
    yield from [other] * (n_each // 5)


def n_unnoticed(path: Path, use: Callable[[], Ids], *, other: bytes, n_each: int) -> int:
    """Count the damaged versions from which a wrong answer comes.

    A mapped file is proven block by block: damage in a block that no answer needs is no fault.
    """
    data, right = path.read_bytes(), use()
    unnoticed = n_tried = 0
    for damaged in damages(data, other, n_each=n_each):
        path.unlink()  # a new file: the old one may still be mapped
        path.write_bytes(damaged)
        n_tried += 1
        try:
            unnoticed += not np.array_equal(use(), right)
        except (DamagedError, TooNewError):
            continue
    assert n_tried >= 3 * n_each
    return unnoticed


@pytest.mark.parametrize("n_each", N_EACH)
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_damage_of_an_index_file_is_noticed_before_an_answer(
    kind: str, mapped: bool, n_each: int, tmp_path: Path
) -> None:
    vectors = unit_vectors(1)
    sha256 = ""
    for name, seed in (("other", 2), ("this", 1)):
        made = FaissIndex(DIM, kind=kind, **KINDS[kind])  # type: ignore[arg-type]
        made.add(unit_vectors(seed), ids=np.arange(N))
        sha256 = save_index(made, tmp_path / name, tmp=tmp_path, fingerprint="a")

    def use() -> Ids:
        loaded = load_index(
            tmp_path / "this", sha256=sha256, map_from_bytes=0 if mapped else 1 << 60
        )
        return loaded.search(vectors, k=5).ids

    other = (tmp_path / "other").read_bytes()
    assert n_unnoticed(tmp_path / "this", use, other=other, n_each=n_each) == 0


@pytest.mark.parametrize("n_each", N_EACH)
def test_every_damage_of_a_segment_is_noticed(n_each: int, tmp_path: Path) -> None:
    written = [
        write_segment(tmp_path, unit_vectors(seed), ids=np.arange(N), fingerprint="a", tmp=tmp_path)
        for seed in (1, 2)
    ]
    other = (tmp_path / written[1].name).read_bytes()

    def use() -> Ids:
        return open_segment(tmp_path / written[0].name, sha256=written[0].sha256).ids

    path = tmp_path / written[0].name
    assert n_unnoticed(path, use, other=other, n_each=n_each) == 0
