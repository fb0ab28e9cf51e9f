"""Saved faiss indexes: the same answers after loading, and damage always noticed."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index import ExactIndex, SearchParameters, hash_file
from index.container import PREFIX
from index.derived import load_index, save_index
from index.errors import DamagedError, InputError, StorageError, TooNewError
from index.faiss_index import FaissIndex

DIM = 12
N = 400
MAKERS = {
    "flat": lambda: FaissIndex(DIM),
    "hnsw": lambda: FaissIndex(DIM, kind="hnsw", m=8, ef_search=99),
    "ivf": lambda: FaissIndex(DIM, kind="ivf", n_lists=4, n_probes=2, seed=5),
    "fastscan": lambda: FaissIndex(DIM, kind="fastscan", n_train=64),
    "ivf_fastscan": lambda: FaissIndex(DIM, kind="ivf_fastscan", n_train=64, n_lists=4, n_probes=4),
}


@pytest.fixture(params=MAKERS)
def ix(request, unit_vectors):
    ix = MAKERS[request.param]()
    ix.add(unit_vectors(N, DIM, seed=1), ids=np.random.default_rng(1).permutation(9 * N)[:N])
    ix.remove(ix.ids()[::7])
    return ix


@pytest.fixture
def saved(ix, tmp_path) -> tuple[Path, str]:
    path = tmp_path / "a.faiss"
    return path, save_index(ix, path, tmp=tmp_path, fingerprint="ab12")


def test_a_loaded_index_answers_like_the_saved_one(ix, saved, unit_vectors):
    path, sha256 = saved
    loaded = load_index(path, sha256=sha256, fingerprint="ab12")
    queries = unit_vectors(30, DIM, seed=2)
    for parameters in (None, SearchParameters(exact=True)):
        before = ix.search(queries, k=9, parameters=parameters)
        after = loaded.search(queries, k=9, parameters=parameters)
        assert np.array_equal(before.ids, after.ids)
        assert np.array_equal(before.scores, after.scores)
    assert loaded.kind == ix.kind
    assert loaded.parameters == ix.parameters
    assert np.array_equal(loaded.ids(), ix.ids())


def test_a_loaded_index_can_grow_and_shrink(saved, unit_vectors):
    path, sha256 = saved
    loaded = load_index(path, sha256=sha256)
    more = unit_vectors(50, DIM, seed=3)
    n_before = len(loaded)
    loaded.add(more, ids=np.arange(50) + 100_000)
    assert loaded.search(more, k=1).ids[:, 0].tolist() == list(range(100_000, 100_050))
    assert loaded.remove(np.arange(50) + 100_000) == 50
    assert len(loaded) == n_before


def test_an_empty_index_is_saved_and_loaded(tmp_path):
    sha256 = save_index(FaissIndex(3), tmp_path / "e", tmp=tmp_path, fingerprint="a")
    assert len(load_index(tmp_path / "e", sha256=sha256)) == 0


def test_the_hash_is_the_one_that_sha256sum_prints(saved):
    assert hash_file(saved[0]) == saved[1]


def _noticed(path: Path, data: bytes, sha256: str) -> bool:
    path.write_bytes(data)
    try:
        load_index(path, sha256=sha256)
    except (DamagedError, TooNewError):
        return True
    return False


def test_flipped_bits_zeroed_pages_and_truncations_are_always_noticed(saved):
    path, sha256 = saved
    good = path.read_bytes()
    rng = np.random.default_rng(4)
    for _ in range(100):
        flipped = bytearray(good)
        flipped[rng.integers(len(good))] ^= 1 << int(rng.integers(8))
        assert _noticed(path, bytes(flipped), sha256)
        at = int(rng.integers(len(good) - 4096))
        zeroed = good[:at] + bytes(4096) + good[at + 4096 :]
        assert _noticed(path, zeroed, sha256)
        assert _noticed(path, good[: rng.integers(len(good))], sha256)
    assert _noticed(path, good + b"\0", sha256)
    assert not _noticed(path, good, sha256)


def test_another_saved_index_in_its_place_is_noticed(ix, saved, tmp_path):
    path, sha256 = saved
    ix.remove(ix.ids()[:1])
    save_index(ix, path, tmp=tmp_path, fingerprint="ab12")
    with pytest.raises(DamagedError, match="the catalog says"):
        load_index(path, sha256=sha256)


def test_an_index_of_another_space_is_refused_with_both_names(saved):
    path, sha256 = saved
    with pytest.raises(DamagedError, match="ab12, not cd34"):
        load_index(path, sha256=sha256, fingerprint="cd34")


def test_a_missing_file_is_damage(tmp_path):
    with pytest.raises(DamagedError, match="gone"):
        load_index(tmp_path / "none", sha256="0" * 64)


def _resealed(body: bytes) -> tuple[bytes, str]:
    """Give changed bytes a right footer: what a buggy writer, not a bad disk, would leave."""
    data = body + hashlib.sha256(body).digest()
    return data, hashlib.sha256(data).hexdigest()


def test_a_newer_version_is_refused_with_both_numbers(saved):
    path, _ = saved
    good = path.read_bytes()
    magic, _, n_bytes = PREFIX.unpack_from(good)
    data, sha256 = _resealed(PREFIX.pack(magic, 8, n_bytes) + good[PREFIX.size : -32])
    path.write_bytes(data)
    with pytest.raises(TooNewError, match=r"version 8.*up to 2"):
        load_index(path, sha256=sha256)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n": 400', b'"n": 401'),
        (b'"n": 400', b'"n": 399'),
        (b'"n": 400', b'"n": -40'),
        (b'"dim": 12', b'"dim": 13'),
        (b'"kind": "', b'"kind": x'),
        (b'"kind": "', b'"kinds":"'),
    ],
)
def test_a_header_that_does_not_fit_its_faiss_bytes_is_damage(saved, old, new):
    path, _ = saved
    good = path.read_bytes()
    assert good.count(old) == 1
    data, sha256 = _resealed(good.replace(old, new)[:-32])
    path.write_bytes(data)
    with pytest.raises(DamagedError):
        load_index(path, sha256=sha256)


def test_vectors_that_no_longer_find_themselves_are_damage(saved, ix):
    """The hash is right, faiss reads it, and the numbers are nonsense."""
    path, _ = saved
    good = path.read_bytes()
    data = bytearray(good[:-32])
    for row in ix.sample(N)[1]:
        place = good.index(row.tobytes())
        data[place : place + 4 * DIM] = np.full(DIM, np.nan, np.float32).tobytes()
    resealed, sha256 = _resealed(bytes(data))
    path.write_bytes(resealed)
    with pytest.raises(DamagedError, match=r"not usable|find themselves"):
        load_index(path, sha256=sha256)


def test_a_disk_that_fills_up_while_faiss_writes_is_reported(ix, tmp_path, monkeypatch):
    """faiss's own writer can report success here."""
    real, n_left = os.write, 10_000

    def write(fd: int, data: memoryview) -> int:
        nonlocal n_left
        n_left -= len(data)
        if n_left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError) as caught:
        save_index(ix, tmp_path / "a", tmp=tmp_path, fingerprint="ab12")
    assert caught.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_file_size_is_reported_not_swallowed(tmp_path):
    code = f"""
import resource, numpy as np
from pathlib import Path
from index.faiss_index import FaissIndex
from index.derived import save_index
from index.errors import StorageError
flat = FaissIndex(64)
rows = np.zeros((4_000, 64), np.float32); rows[:, 0] = 1
flat.add(rows, ids=np.arange(4_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, {resource.RLIM_INFINITY}))
folder = Path({str(tmp_path)!r})
try:
    save_index(flat, folder / "a", tmp=folder, fingerprint="a")
except StorageError as error:
    raise SystemExit("File too large" not in str(error))
raise SystemExit(2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_an_exact_index_needs_no_file(tmp_path):
    with pytest.raises(InputError, match="segments are enough"):
        save_index(ExactIndex(3), tmp_path / "a", tmp=tmp_path, fingerprint="a")


def test_untrained_lists_cannot_be_saved(tmp_path, unit_vectors):
    ix = FaissIndex(DIM, kind="ivf", n_lists=64)
    ix.add(unit_vectors(10, DIM, seed=1), ids=np.arange(10))
    with pytest.raises(InputError, match="10 vectors, too few"):
        save_index(ix, tmp_path / "a", tmp=tmp_path, fingerprint="a")
