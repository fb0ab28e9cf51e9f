"""Copies of files that lie elsewhere go with their process, or with the next that makes some."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from retrieval.errors import StorageError
from retrieval.media.fetch import Fetcher
from retrieval.media.scan import Found
from retrieval.media.scratch import Scratch, remove_stale

_OWNER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from retrieval.media.scratch import Scratch
scratch = Scratch()
(scratch.path / "1.jpg").write_bytes(b"a copy")
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _owner(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a folder with a copy."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", _OWNER, str(place)], **pipes)
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_a_living_one_holds_stays(place: Path) -> None:
    (killed, left), (living, held) = _owner(place), _owner(place)
    mine = Scratch()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (left / "1.jpg").exists()
    remove_stale()
    assert not left.exists()
    assert (held / "1.jpg").read_bytes() == b"a copy"
    assert mine.path.exists()
    living.communicate("")
    remove_stale()
    assert not held.exists()
    mine.close()
    assert list(place.iterdir()) == []


def test_only_folders_that_were_locked_once_are_looked_at(place: Path) -> None:
    (place / "kept").mkdir()
    (place / "kept" / "mine").touch()
    (place / "crossfind-copies-link").symlink_to(place / "kept")
    (place / "crossfind-copies-file").touch()
    (place / "crossfind-making").mkdir()
    before = sorted(place.rglob("*"))
    remove_stale()
    assert sorted(place.rglob("*")) == before


def test_a_folder_of_another_user_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "crossfind-copies-other").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: os.stat(place).st_uid + 1)
    remove_stale()
    assert (place / "crossfind-copies-other").exists()


def test_an_add_of_files_elsewhere_ends_what_a_killed_one_left(place: Path) -> None:
    import fsspec

    stale = place / "crossfind-copies-abc"
    stale.mkdir()
    with fsspec.open("memory://scratch/a.txt", "wb") as file:
        file.write(b"a dog")
    fetcher = Fetcher()
    fetched = fetcher.fetch(Found("memory://scratch/a.txt", 5, 0, 0, 0, stamp="1"))
    assert Path(fetched.local.path).read_bytes() == b"a dog"
    assert not stale.exists()
    fetcher.close()
    assert list(place.iterdir()) == []


def test_without_a_place_for_copies_the_error_says_what_to_do(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "gone"))
    with pytest.raises(StorageError, match="set TMPDIR"):
        Fetcher().fetch(Found("memory://scratch/a.txt", 5, 0, 0, 0, stamp="1"))
