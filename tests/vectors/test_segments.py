"""Segments: what is written is read back, and every damage is noticed before an answer."""

from __future__ import annotations

import hashlib
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import ExactIndex, check_segment, hash_file, open_segment, quantize, write_segment
from index.errors import DamagedError, InputError, StorageError, TooNewError
from index.segments import BLOCK_BYTES, HEADER

FINGERPRINT = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "segments").mkdir()
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture
def write(folder, unit_vectors):
    def _write(n=5, dim=3, **others):
        vectors = unit_vectors(n, dim, seed=1)
        others = {"ids": np.arange(n) * 7, "fingerprint": FINGERPRINT} | others
        info = write_segment(folder / "segments", vectors, tmp=folder / "tmp", **others)
        return folder / "segments" / info.name, info, vectors

    return _write


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("n", "dim"), [(0, 4), (1, 1), (5, 3), (1_000, 64)])
def test_what_is_written_is_read_back(write, dtype, n, dim):
    path, info, vectors = write(n, dim, dtype=dtype)
    segment = open_segment(path, sha256=info.sha256)
    assert segment.info == info
    assert segment.fingerprint == FINGERPRINT
    assert segment.ids.tolist() == [7 * i for i in range(n)]
    assert segment.vectors(0, n).dtype == np.float32
    assert np.array_equal(segment.vectors(0, n), quantize(vectors, dtype=dtype))
    assert np.array_equal(segment.vectors(n // 2, n), quantize(vectors, dtype=dtype)[n // 2 :])


def test_the_hash_is_the_one_that_sha256sum_prints(write):
    path, info, _ = write()
    assert info.sha256 == hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.size_bytes == path.stat().st_size


def test_float16_rows_are_unit_vectors_close_to_what_was_stored(write):
    path, info, vectors = write(500, 64)
    read = open_segment(path, sha256=info.sha256).vectors()
    assert np.abs(np.linalg.norm(read.astype(np.float64), axis=1) - 1).max() < 1e-6
    assert (read * vectors).sum(axis=1).min() > 1 - 1e-6


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(64, 300))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_quantizing_twice_equals_quantizing_once(unit_vectors, seed, dim):
    once = quantize(unit_vectors(20, dim, seed=seed), dtype="float16")
    assert np.array_equal(quantize(once, dtype="float16"), once)


def test_a_search_answers_the_same_before_storing_and_after(write, unit_vectors):
    path, _, vectors = write(800, 32)
    memory, disk = ExactIndex(32, dtype="float16"), ExactIndex(32)
    memory.add(vectors, ids=np.arange(800) * 7)
    segment = open_segment(path)
    disk.add_block(segment.rows, ids=segment.ids)
    queries = unit_vectors(20, 32, seed=2)
    before, after = memory.search(queries, k=10), disk.search(queries, k=10)
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.scores, after.scores)


def test_nothing_is_left_in_tmp(write, folder):
    write()
    assert list((folder / "tmp").iterdir()) == []


def test_a_segment_is_written_once(write):
    write(name="a.seg")
    with pytest.raises(InputError) as caught:
        write(name="a.seg")
    assert caught.value.code == "segment_exists"


@pytest.mark.parametrize("name", ["../a.seg", "/a.seg", "b/a.seg", "", "."])
def test_a_name_cannot_leave_the_directory(write, name):
    with pytest.raises(InputError, match="plain file name"):
        write(name=name)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"ids": np.arange(4)}, "5 vectors came with 4 ids"),
        ({"ids": np.zeros(5, np.int64)}, "id 0 occurs twice"),
        ({"fingerprint": "é"}, "fingerprint"),
        ({"fingerprint": ""}, "fingerprint"),
        ({"fingerprint": "a" * 129}, "129 characters"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ],
)
def test_bad_arguments_are_refused(write, others, reason):
    with pytest.raises(InputError, match=reason):
        write(**others)


def test_vectors_off_the_unit_sphere_are_refused(folder):
    with pytest.raises(InputError, match="has length 2"):
        write_segment(
            folder / "segments",
            np.full((1, 4), 1, np.float32),
            ids=np.array([1]),
            fingerprint="a",
            tmp=folder / "tmp",
        )


# Damage


def test_every_flipped_byte_of_a_segment_is_noticed(write):
    path, info, _ = write()
    good = path.read_bytes()
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        path.write_bytes(bad)
        with pytest.raises((DamagedError, TooNewError)):
            open_segment(path, sha256=info.sha256)
        with pytest.raises((DamagedError, TooNewError)):
            open_segment(path)  # the file's own footer notices too


def test_every_truncation_is_noticed_even_unverified(write):
    path, _, _ = write()
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedError):
            open_segment(path, verify=False)


def test_bytes_behind_the_end_are_noticed(write):
    path, _, _ = write()
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DamagedError, match="its header says"):
        open_segment(path, verify=False)


def test_a_zeroed_page_is_noticed_and_located(write):
    path, info, _ = write(20_000, 64)  # 2.6 MB of body: 3 blocks
    bad = bytearray(path.read_bytes())
    bad[HEADER.size + BLOCK_BYTES + 8192 : HEADER.size + BLOCK_BYTES + 8192 + 4096] = bytes(4096)
    path.write_bytes(bad)
    with pytest.raises(DamagedError, match="SHA-256"):
        open_segment(path, sha256=info.sha256)
    assert check_segment(path, sha256=info.sha256) == (1,)


def test_a_whole_segment_has_no_bad_block(write):
    path, info, _ = write(20_000, 64)
    assert check_segment(path, sha256=info.sha256) == ()


def test_damage_outside_the_blocks_cannot_be_located_and_says_so(write):
    path, info, _ = write()
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DamagedError):
        check_segment(path, sha256=info.sha256)


def test_another_good_segment_in_its_place_is_noticed(write):
    path, info, _ = write(name="a.seg")
    other, _, _ = write(name="b.seg", ids=np.arange(5))
    path.write_bytes(other.read_bytes())
    open_segment(path)
    with pytest.raises(DamagedError, match="the catalog says"):
        open_segment(path, sha256=info.sha256)
    with pytest.raises(DamagedError, match="the catalog says"):
        check_segment(path, sha256=info.sha256)


def _with_header(good: bytes, **changes: int) -> bytes:
    names = ("magic", "version", "size", "dtype", "dim", "n", "fingerprint", "crc")
    fields = dict(zip(names, HEADER.unpack_from(good), strict=True)) | changes
    head = HEADER.pack(*fields.values())[:-4]
    return head + struct.pack("<I", zlib.crc32(head)) + good[HEADER.size :]


@pytest.mark.parametrize(
    "claim",
    [{"n": 2**63}, {"n": 2**64 - 1}, {"dim": 2**32 - 1}, {"dim": 0}, {"dtype": 9}, {"n": 6}],
    ids=str,
)
def test_a_header_that_lies_allocates_nothing(write, claim):
    """The header's checksum is right here: only comparing with the file's length can tell."""
    path, _, _ = write()
    path.write_bytes(_with_header(path.read_bytes(), **claim))
    with pytest.raises(DamagedError):
        open_segment(path, verify=False)


def test_a_newer_version_is_refused_with_both_numbers(write):
    path, _, _ = write()
    path.write_bytes(_with_header(path.read_bytes(), version=7))
    with pytest.raises(TooNewError, match=r"version 7.*up to 1"):
        open_segment(path)


def test_a_missing_segment_is_damage(folder):
    with pytest.raises(DamagedError, match="gone"):
        open_segment(folder / "segments" / "none.seg")


def test_a_hash_that_would_be_ignored_is_refused(write):
    path, info, _ = write()
    with pytest.raises(InputError, match="ignore"):
        open_segment(path, sha256=info.sha256, verify=False)


def test_a_directory_in_its_place_is_a_storage_error(folder):
    with pytest.raises(StorageError):
        open_segment(folder / "segments")


def test_a_full_disk_leaves_nothing_behind(folder):
    """RLIMIT_FSIZE stands in for the full disk; the child must not die of SIGXFSZ either."""
    code = f"""
import resource, numpy as np
from pathlib import Path
from index import write_segment
from index.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
rows = np.zeros((40_000, 4), np.float32); rows[:, 0] = 1
folder = Path({str(folder)!r})
try:
    write_segment(folder / "segments", rows, ids=np.arange(40_000), fingerprint="a",
                  tmp=folder / "tmp")
except StorageError as error:
    raise SystemExit("File too large" not in str(error))
raise SystemExit(2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert list(folder.glob("*/*")) == []


@pytest.mark.parametrize("dim", [2, 8, 64, 512])
def test_rows_of_another_segment_are_copied_bit_for_bit(tmp_path: Path, dim: int) -> None:
    rng = np.random.default_rng(dim)
    vectors = rng.normal(size=(500, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(500)
    info = write_segment(tmp_path, vectors, ids=ids, fingerprint="f", tmp=tmp_path)
    first = open_segment(tmp_path / info.name, sha256=info.sha256)
    copied = write_segment(tmp_path, first.rows, ids=ids, fingerprint="f", tmp=tmp_path)
    again = open_segment(tmp_path / copied.name, sha256=copied.sha256)
    assert again.rows.tobytes() == first.rows.tobytes()
    assert copied.sha256 == info.sha256
    with pytest.raises(InputError):
        write_segment(
            tmp_path, first.rows * np.float16("nan"), ids=ids, fingerprint="f", tmp=tmp_path
        )
