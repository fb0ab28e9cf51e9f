"""What a child may say, and what is refused as impossible."""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import BadMediaError
from retrieval.media.scan import Found
from retrieval.media.wire import (
    WireError,
    pack_header,
    pack_job,
    pack_loaded,
    read_header,
    read_reply,
    unpack_job,
)
from retrieval.types import Loaded, LoadedPart, MediaSpec

SPEC = MediaSpec(image_size_px=4, sample_rate_hz=100, window_s=1.0)


def reader(data: bytes):
    """Read from bytes as from a pipe whose writer has gone."""
    view, place = memoryview(data), [0]

    def read_into(buffer: memoryview) -> None:
        if place[0] + len(buffer) > len(view):
            raise EOFError
        buffer[:] = view[place[0] : place[0] + len(buffer)]
        place[0] += len(buffer)

    return read_into


def example() -> Loaded:
    sound = np.linspace(-1, 1, 150, dtype=np.float32)
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    parts = (
        LoadedPart("image", picture, start_s=0.0, end_s=1.5),
        LoadedPart("image", picture[::-1], start_s=1.5, end_s=2.0),
        LoadedPart("audio", sound[:100], start_s=0.0, end_s=1.0),
        LoadedPart("audio", sound[50:], start_s=0.5, end_s=1.5),
        LoadedPart("text", "grün 犬", record=3),
        LoadedPart("text", "", caption=True),
    )
    return Loaded("video", "mp4", "a" * 64, 5, -7, 2**64 - 1, parts, 4, 4, 2.0, "犬", ("silent",))


def packed(loaded: Loaded) -> bytes:
    return b"".join(bytes(buffer) for buffer in pack_loaded(loaded))


def test_a_decoded_file_survives_the_wire():
    loaded = example()
    got = read_reply(reader(packed(loaded)), spec=SPEC)
    for name in ("modality", "format", "mtime_ns", "inode", "duration_s", "caption", "flags"):
        assert getattr(got, name) == getattr(loaded, name)
    for a, b in zip(got.parts, loaded.parts, strict=True):
        assert np.array_equal(a.payload, b.payload)
        assert (a.start_s, a.end_s, a.record, a.caption) == (
            b.start_s,
            b.end_s,
            b.record,
            b.caption,
        )


def test_pixels_that_fit_go_through_shared_memory():
    loaded = example()
    for size, is_shared in ((mmap.PAGESIZE, True), (None, False)):
        shared = mmap.mmap(-1, size) if size else None
        data = b"".join(bytes(buffer) for buffer in pack_loaded(loaded, shared=shared))
        assert (b'"shared": true' in data) == is_shared
        assert len(packed(loaded)) - len(data) == (2 * 48 + 1 if is_shared else 0)
        got = read_reply(reader(data), spec=SPEC, shared=shared)
        if shared:
            shared[:] = b"\xff" * len(shared)  # the answer is a copy
        for a, b in zip(got.parts, loaded.parts, strict=True):
            assert np.array_equal(a.payload, b.payload)


def test_pixels_beyond_the_shared_memory_go_through_the_pipe():
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    loaded = replace(example(), parts=(LoadedPart("image", picture),))
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    data = b"".join(bytes(buffer) for buffer in pack_loaded(loaded, shared=shared))
    assert b'"shared": false' in data


def test_overlapping_windows_are_sent_once():
    sizes = [memoryview(buffer).nbytes for buffer in pack_loaded(example())]
    assert sizes[3] == 150 * 4


def test_a_refusal_survives_the_wire():
    with pytest.raises(BadMediaError, match="too big") as caught:
        read_reply(reader(pack_header({"bad": ["too_many_pixels", "too big"]})), spec=SPEC)
    assert caught.value.code == "too_many_pixels"


@given(st.binary(min_size=1, max_size=50).filter(lambda raw: b"\0" not in raw))
def test_any_file_name_survives_the_wire(raw):
    path = raw.decode("utf-8", "surrogateescape")
    job = Found(path, 1, -1, 2, 3, path, 4, 5)
    assert unpack_job(read_header(reader(pack_job(job)))) == (job, True)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_are_told_or_harmless(data):
    body = bytearray(packed(example()))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = read_reply(reader(bytes(body)), spec=SPEC)
    except (WireError, EOFError, BadMediaError):
        return
    for part in got.parts:
        if part.modality == "image":
            assert part.payload.shape == (4, 4, 3)
        elif part.modality == "audio":
            assert 0 < len(part.payload) <= 101
            assert np.isfinite(part.payload).all()


def lie(**changes: object) -> bytes:
    """Change fields of a true header."""
    data = packed(example())
    length = struct.unpack(">4sI", data[:8])[1]
    header = json.loads(data[8 : 8 + length])
    header["loaded"] |= changes
    return pack_header(header) + data[8 + length :]


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [2**40, 0, 0]},
        {"sizes": [-1, 0, 0]},
        {"sizes": [0, 2**62, 0]},
        {"sizes": [2, 150]},
        {"sizes": "many"},
        {"shared": True},
        {"parts": []},
        {"parts": [["image", 2, 1, None, None, 0, False]]},
        {"parts": [["audio", 0, 0, None, None, 0, False]]},
        {"parts": [["audio", 0, 102, None, None, 0, False]]},
        {"parts": [["audio", 100, 100, None, None, 0, False]]},
        {"parts": [["video", 0, 1, None, None, 0, False]]},
        {"parts": [["text", 3, 1, None, None, 0, False]]},
        {"parts": [["text", 5, 900, None, None, 0, False]]},
        {"parts": [["image", 0, 1, "now", None, 0, False]]},
        {"parts": [["image", 0, 1, 1e400, None, 0, False]]},
        {"parts": [["image", 0]]},
        {"modality": "smell"},
        {"content_hash": "short"},
        {"size_bytes": -1},
        {"width_px": "wide"},
        {"caption": 3},
        {"flags": [1]},
        {"duration_s": "long"},
    ],
)
def test_impossible_answers_are_refused(changes):
    if "1e400" in str(changes) or "inf" in str(changes):
        data = lie(parts=[["image", 0, 1, 123454321, None, 0, False]])
        data = data.replace(b"123454321", b"1e4000000")
    else:
        data = lie(**changes)
    with pytest.raises(WireError):
        read_reply(reader(data), spec=SPEC)


@pytest.mark.parametrize(
    "data",
    [b"CFW1\xff\xff\xff\xff", b"ELF!\0\0\0\2{}", b"CFW1\0\0\0\2[]", b"CFW1\0\0\0\3{]}"],
)
def test_impossible_headers_are_refused_before_memory_is_taken(data):
    with pytest.raises(WireError):
        read_header(reader(data))


def test_deep_nesting_is_refused():
    body = b"[" * 200_000
    with pytest.raises(WireError):
        read_header(reader(b"CFW1" + struct.pack(">I", len(body)) + body))
