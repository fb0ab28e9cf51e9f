"""Lists that grow in a file while an index is built: saved, they are those grown in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index import FaissIndex, load_index, save_index
from index.build import Source, build_index
from index.errors import DamagedError, InputError
from index.lists_on_disk import grow_on_disk
from index.row_blocks import ArrayBlock
from index.types import Plan

DIM, N = 24, 2_000


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("n_lists", [16, 1_000])
def test_the_file_is_the_one_that_a_build_in_memory_writes(unit_vectors, tmp_path, dtype, n_lists):
    rows = unit_vectors(N, DIM, seed=1)
    if n_lists > 16:  # most lists stay empty
        rows = np.repeat(rows[:1_000], 2, axis=0)
    ids, live = np.arange(N) * 2, np.arange(N) % 7 > 0
    sources = [
        Source(ArrayBlock(rows[a:b].astype(np.float16)), ids[a:b], live[a:b])
        for a, b in ((0, 900), (900, N))
    ]
    plan = Plan("ivf", "", {"n_lists": n_lists, "n_probes": n_lists, "dtype": dtype})
    saved: dict[str, tuple[Path, str]] = {}
    for folder, lists_at in (("memory", None), ("disk", tmp_path / "lists")):
        (tmp_path / folder).mkdir()
        made = build_index(plan, dim=DIM, sources=sources, lists_at=lists_at)
        assert made.search(rows[1:2], k=1).ids.tolist() in ([[2]], [[0]])
        path = tmp_path / folder / "ix"
        saved[folder] = path, save_index(made, path, tmp=tmp_path, fingerprint="f")
        made.close()
    assert saved["memory"][0].read_bytes() == saved["disk"][0].read_bytes()
    (tmp_path / "lists").unlink()
    path, sha256 = saved["disk"]
    for map_from in (0, 1 << 40):
        again = load_index(path, sha256=sha256, map_from_bytes=map_from)
        queries = unit_vectors(20, DIM, seed=2)
        assert again.search(queries, k=5).counts.tolist() == [5] * 20
        assert len(again) == int(live.sum())


def test_lists_with_vectors_stay_where_they_are(unit_vectors, tmp_path):
    ix = FaissIndex(DIM, kind="ivf", n_lists=4)
    ix.add(unit_vectors(400, DIM, seed=1), ids=np.arange(400))
    with (
        ix.frozen() as (core, _, _),
        pytest.raises(InputError, match="400 vectors stand in memory"),
    ):
        grow_on_disk(core, tmp_path / "lists")


@pytest.mark.parametrize("n_lists", [16, 1_000])
def test_lengths_other_than_those_written_are_damage(unit_vectors, tmp_path, monkeypatch, n_lists):
    """Read from the file at once where most lists hold something, asked for where few do."""
    ix = FaissIndex(DIM, kind="ivf", n_lists=n_lists)
    ix.train(unit_vectors(1_000, DIM, seed=1))
    ix.add(unit_vectors(200, DIM, seed=1), ids=np.arange(200))
    good = save_index(ix, tmp_path / "good", tmp=tmp_path, fingerprint="f")
    assert len(load_index(tmp_path / "good", sha256=good, map_from_bytes=0)) == 200
    monkeypatch.setattr("index.derived.list_sizes_crc", lambda _: 1)
    bad = save_index(ix, tmp_path / "bad", tmp=tmp_path, fingerprint="f")
    with pytest.raises(DamagedError, match="lengths of its lists"):
        load_index(tmp_path / "bad", sha256=bad, map_from_bytes=0)
