"""Opening a file that may be anything, or may change (rows P2 to P5)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import media_files
import pytest

from retrieval.errors import BadMediaError
from retrieval.media import Found, Loader, find_file, load, load_file, source
from retrieval.types import MediaSpec

SPEC = MediaSpec(image_size_px=16)


def found_at(path: Path | str) -> Found:
    """Make the record of a file that was there when it was scanned."""
    return Found(str(path), 1, 1, 1, 1)


def refusal(found: Found) -> BadMediaError:
    with pytest.raises(BadMediaError) as caught:
        load_file(found, spec=SPEC)
    assert found.path in str(caught.value)
    return caught.value


def test_a_file_that_is_gone_is_vanished(tmp_path):
    assert refusal(found_at(tmp_path / "gone.png")).code == "vanished"
    (tmp_path / "file.png").touch()
    assert refusal(found_at(tmp_path / "file.png/below.png")).code == "vanished"


def test_a_file_that_may_not_be_read_is_unreadable(tmp_path, monkeypatch):
    path = media_files.picture(tmp_path / "a.png")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    error = refusal(found_at(path))
    assert error.code == "unreadable"
    assert "check its permissions" in str(error)


def test_a_link_that_took_a_files_place_is_not_followed(tmp_path):
    media_files.picture(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert refusal(found_at(tmp_path / "b.png")).code == "symlink_not_followed"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/status", "/tmp"])
def test_system_files_do_not_block_and_are_refused(path):
    assert refusal(found_at(path)).code == "not_regular_file"


def test_pipes_and_sockets_do_not_block_and_are_refused(tmp_path):
    assert refusal(found_at(media_files.fifo(tmp_path / "a.png"))).code == "not_regular_file"
    assert refusal(found_at(media_files.unix_socket(tmp_path / "b"))).code == "not_regular_file"


def growing(monkeypatch, path: Path, *, times: int) -> None:
    """Let a file grow after each of its first readings."""
    read, left = source._read, [times]

    def read_and_grow(file, stamp):
        result = read(file, stamp)
        if left[0]:
            left[0] -= 1
            with path.open("ab") as writer:
                writer.write(b"more")
        return result

    monkeypatch.setattr(source, "_read", read_and_grow)


def test_a_file_that_changes_once_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("a dog ")
    growing(monkeypatch, path, times=1)
    loaded = load_file(find_file(path), spec=SPEC)
    assert loaded.parts[0].payload == "a dog more"
    assert loaded.content_hash == hashlib.sha256(b"a dog more").hexdigest()
    assert loaded.size_bytes == 10


def test_a_file_that_changes_twice_is_given_up(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("a dog ")
    growing(monkeypatch, path, times=2)
    error = refusal(find_file(path))
    assert error.code == "changed_during_read"
    assert "when it is complete" in str(error)


def test_half_written_bytes_are_blamed_on_the_writer(tmp_path, monkeypatch):
    path = media_files.cut(media_files.picture(tmp_path / "a.png", size=(300, 200)), share=0.5)
    growing(monkeypatch, path, times=9)
    assert refusal(find_file(path)).code == "changed_during_read"


def test_a_large_file_is_streamed_with_the_same_result(tmp_path, monkeypatch):
    jobs = [
        find_file(media_files.picture(tmp_path / "a.png")),
        find_file(media_files.wav(tmp_path / "b.wav")),
        find_file(media_files.video(tmp_path / "c.mp4")),
    ]
    (tmp_path / "d.csv").write_text("text\ndog\n")
    jobs.append(find_file(tmp_path / "d.csv"))
    small = [load_file(job, spec=SPEC) for job in jobs]
    monkeypatch.setattr(source, "SMALL_BYTES", 1)
    for job, expected in zip(jobs, small, strict=True):
        streamed = load_file(job, spec=SPEC)
        assert streamed.content_hash == expected.content_hash
        assert len(streamed.parts) == len(expected.parts)
        assert streamed.duration_s == expected.duration_s


def test_a_huge_file_is_hashed_by_samples_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SMALL_BYTES", 1)
    monkeypatch.setattr(source, "SAMPLED_HASH_BYTES", 1000)
    monkeypatch.setattr(source, "_BLOCK", 10)
    path = tmp_path / "a.txt"
    path.write_text("dog " * 10_000)
    first = load_file(find_file(path), spec=SPEC)
    assert first.flags == ("sampled_hash",)
    path.write_text("cat " * 10_000)
    assert load_file(find_file(path), spec=SPEC).content_hash != first.content_hash


def test_names_that_are_no_unicode_pass_through_the_guard(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff\n\x1b\xc3\xa4.png"
    path = Path(os.fsdecode(raw))
    media_files.picture(tmp_path / "a.png").rename(path)
    with Loader(spec=SPEC) as loader:
        assert loader.load(find_file(path)).format == "png"
        gone = replace(find_file(path), path=str(path) + "\udcff")
        with pytest.raises(BadMediaError) as caught:
            loader.load(gone)
    assert gone.path in str(caught.value)


def test_a_picture_of_too_many_bytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SMALL_BYTES", 1)
    monkeypatch.setattr(load, "MAX_PICTURE_BYTES", 100)
    error = refusal(find_file(media_files.picture(tmp_path / "a.png")))
    assert error.code == "too_many_bytes"
    assert "the limit is 100" in str(error)


def test_importing_the_package_imports_no_decoder():
    import subprocess
    import sys

    script = (
        "import sys, retrieval.media;"
        "print([m for m in ('PIL', 'av', 'torch', 'faiss', 'sqlalchemy') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"
