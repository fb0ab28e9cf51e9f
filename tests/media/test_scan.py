"""Scanning: what is taken, what is passed over, what is reported (rows P1 to P3, P5, P6, P8)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import media_files
import pytest

from retrieval.errors import BadMediaError, UsageError
from retrieval.media import Found, find_file, scan
from retrieval.media import scan as scan_function
from retrieval.media.ignore import is_ignored, parse_rules
from retrieval.types import Failure

scan_module = sys.modules[scan_function.__module__]


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*roots: Path, **options) -> tuple[list[str], dict[str, str]]:
    """Scan; give names relative to the first root, and the code of each skip by name."""
    skipped: list[Failure] = []
    found = [os.path.relpath(f.path, roots[0]) for f in run(*roots, skipped=skipped, **options)]
    return found, {os.path.relpath(f.path, roots[0]): f.code for f in skipped}


def run(*roots: Path, skipped: list[Failure], **options) -> list[Found]:
    return list(scan(roots, on_skip=skipped.append, **options))


def test_files_come_sorted_and_a_folder_before_its_folders(tmp_path):
    touch(tmp_path, "b.png", "a.jpg", "sub/z.wav", "sub/y.mp4", "c/x.csv", "top.md")
    assert names(tmp_path) == (
        ["a.jpg", "b.png", "top.md", "c/x.csv", "sub/y.mp4", "sub/z.wav"],
        {},
    )


def test_a_file_carries_the_stamp_of_its_stat(tmp_path):
    touch(tmp_path, "a.png")
    stat = (tmp_path / "a.png").stat()
    (found,) = run(tmp_path, skipped=[])
    assert found == Found(
        str(tmp_path / "a.png"), 1, stat.st_mtime_ns, stat.st_ino, stat.st_dev, None, None, None
    )


def test_hidden_junk_store_and_unrelated_files_are_passed_over_in_silence(tmp_path):
    touch(
        tmp_path, ".hidden.png", ".git/a.png", ".crossfind/tmp/a.png", "__pycache__/a.png",
        "node_modules/a.png", "Thumbs.db", "desktop.ini", "a.py", "noext", "a.docx", "KEEP.PNG",
    )  # fmt: skip
    assert names(tmp_path) == (["KEEP.PNG"], {})


def test_a_file_named_as_root_is_always_taken(tmp_path):
    touch(tmp_path, ".hidden", "__pycache__/odd.name")
    assert names(tmp_path / ".hidden", tmp_path / "__pycache__/odd.name")[0] == [
        ".",
        "../__pycache__/odd.name",
    ]


def test_a_missing_root_is_refused_by_the_call_itself(tmp_path):
    with pytest.raises(UsageError, match="does not exist; name a file or folder") as caught:
        scan([tmp_path / "gone"], on_skip=print)
    assert caught.value.code == "path_missing"


def test_excluded_folders_are_never_entered(tmp_path):
    touch(tmp_path, "a.png", "store/b.png", "deep/store/c.png")
    found, _ = names(tmp_path, exclude=[tmp_path / "store"])
    assert found == ["a.png", "deep/store/c.png"]
    with pytest.raises(UsageError) as caught:
        names(tmp_path / "store", exclude=[tmp_path / "store"])
    assert caught.value.code == "path_excluded"
    # A server keeps what is uploaded inside the store, and names each file.
    (upload,) = scan([tmp_path / "store" / "b.png"], exclude=[tmp_path / "store"], on_skip=print)
    assert upload.path == str(tmp_path / "store" / "b.png")


def test_each_file_comes_once_from_roots_that_overlap(tmp_path):
    touch(tmp_path, "a.png", "sub/b.png")
    found, _ = names(tmp_path, tmp_path / "sub", tmp_path / "a.png", tmp_path)
    assert sorted(found) == ["a.png", "sub/b.png"]


def test_links_are_reported_and_not_followed(tmp_path):
    touch(tmp_path / "outside", "secret.png")
    touch(tmp_path / "root", "a.png")
    (tmp_path / "root/link.png").symlink_to(tmp_path / "outside/secret.png")
    (tmp_path / "root/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "root/loop").symlink_to(tmp_path / "root")
    assert names(tmp_path / "root") == (
        ["a.png"],
        dict.fromkeys(["link.png", "folder", "loop"], "symlink_not_followed"),
    )


def test_a_root_that_is_a_link_is_followed(tmp_path):
    touch(tmp_path / "real", "a.png")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "file.png").symlink_to(tmp_path / "real/a.png")
    assert names(tmp_path / "folder")[0] == ["a.png"]
    (found,) = run(tmp_path / "file.png", skipped=[])
    assert found.path == str(tmp_path / "real/a.png")


def test_a_hard_link_is_a_second_path(tmp_path):
    touch(tmp_path, "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    first, second = run(tmp_path, skipped=[])
    assert (first.inode, first.device) == (second.inode, second.device)


def test_pipes_and_sockets_are_reported_without_opening_them(tmp_path):
    media_files.fifo(tmp_path / "a.png")
    media_files.unix_socket(tmp_path / "b.wav")
    assert names(tmp_path) == ([], {"a.png": "not_regular_file", "b.wav": "not_regular_file"})


def test_a_device_named_as_root_is_reported():
    skipped: list[Failure] = []
    assert run(Path("/dev/zero"), skipped=skipped) == []
    assert [f.code for f in skipped] == ["not_regular_file"]


def test_archives_and_closed_formats_are_reported_with_a_remedy(tmp_path):
    touch(tmp_path, "a.zip", "b.tar.gz", "c.svg", "d.pdf", "e.m3u8", "f.mpd", "g.PSD", "h.eps")
    skipped: list[Failure] = []
    assert run(tmp_path, skipped=skipped) == []
    assert [f.code for f in skipped] == ["archive_not_enabled"] * 2 + ["format_not_enabled"] * 6
    assert "unpack it and add the folder" in skipped[0].reason
    assert "PDF" in skipped[3].reason
    assert "convert it" in skipped[3].reason
    assert all(f.path in f.reason for f in skipped)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_reported_and_the_scan_goes_on(tmp_path):
    touch(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "a").chmod(0)
    assert names(tmp_path) == (["b/y.png"], {"a": "unreadable"})
    (tmp_path / "a").chmod(0o700)


def test_an_unreadable_folder_is_reported_and_the_scan_goes_on(tmp_path, monkeypatch):
    touch(tmp_path, "a/x.png", "b/y.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    skipped: list[Failure] = []
    assert [f.path for f in run(tmp_path, skipped=skipped)] == [str(tmp_path / "b/y.png")]
    assert skipped[0].code == "unreadable"
    assert "permission denied" in skipped[0].reason


def test_a_file_that_goes_away_meanwhile_is_reported(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    skipped: list[Failure] = []
    files = scan([tmp_path], on_skip=skipped.append)
    next(files)
    (tmp_path / "b.png").unlink()
    assert list(files) == []
    assert [f.code for f in skipped] == ["vanished"]


def test_names_that_are_no_unicode_survive(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff\xfe \x1b[31m\n.png"
    with open(raw, "wb") as file:
        file.write(b"x")
    long = "ä" * 125 + ".png"  # 254 bytes
    touch(tmp_path, long)
    found = run(tmp_path, skipped=[])
    assert {os.fsencode(f.path) for f in found} == {raw, os.fsencode(tmp_path / long)}


def test_a_path_of_4000_characters_is_taken(tmp_path):
    folder = str(tmp_path)
    while len(folder) < 3_900:
        folder += "/" + "d" * min(200, 3_950 - len(folder))
    os.makedirs(folder)
    Path(folder, "a.png").write_bytes(b"x")
    (found,) = run(tmp_path, skipped=[])
    assert len(found.path) > 3_900


def test_a_caption_belongs_to_its_neighbour_and_is_no_item(tmp_path):
    touch(tmp_path, "dog.jpg", "dog.wav", "cat.mp4", "bird.png", "note.md")
    (tmp_path / "dog.txt").write_text("A dog.")
    (tmp_path / "cat.caption").write_text("A cat!!")
    (tmp_path / "cat.txt").write_text("never")
    (tmp_path / "note.txt").write_text("a text of its own")
    (tmp_path / "alone.caption").write_text("whose?")
    found = {Path(f.path).name: f for f in run(tmp_path, skipped=[])}
    assert sorted(found) == ["bird.png", "cat.mp4", "dog.jpg", "dog.wav", "note.md", "note.txt"]
    stat = (tmp_path / "dog.txt").stat()
    for name in ("dog.jpg", "dog.wav"):
        assert found[name].caption_path == str(tmp_path / "dog.txt")
        assert found[name].caption_size_bytes == 6
        assert found[name].caption_mtime_ns == stat.st_mtime_ns
    assert found["cat.mp4"].caption_path == str(tmp_path / "cat.caption")
    assert found["bird.png"].caption_path is None
    assert find_file(tmp_path / "dog.jpg").caption_path == str(tmp_path / "dog.txt")


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_a_folder_read_in_chunks_gives_the_same_files(tmp_path, monkeypatch, chunk):
    touch(tmp_path, *(f"{n}.png" for n in range(7)), "sub/x.png", "other/y.png", "own.txt")
    touch(tmp_path, "3.txt", "5.caption", "LOUD.JPG", "LOUD.txt")
    whole = run(tmp_path, skipped=[])
    monkeypatch.setattr(scan_module, "_CHUNK", chunk)
    assert sorted(run(tmp_path, skipped=[]), key=str) == sorted(whole, key=str)


def test_ignore_files_hold_below_their_folder(tmp_path):
    touch(tmp_path, "a.png", "b.bmp", "raw/c.png", "sub/d.bmp", "sub/raw/e.png", "sub/keep.bmp")
    (tmp_path / ".crossfindignore").write_text("# big ones\n*.bmp\n/raw/\n")
    (tmp_path / "sub/.crossfindignore").write_text("!keep.bmp\n")
    assert names(tmp_path)[0] == ["a.png", "sub/keep.bmp", "sub/raw/e.png"]


PATTERNS = [
    "*.png", "!keep.png", "/top.png", "sub/", "sub/*", "sub/**", "**/deep", "a/**/b", "deep/*.png",
    "[ab].png", "[!ab].png", "?.png", "\\!odd.png", "# comment", "*", "!*/", "s*b/deep", "a/",
]  # fmt: skip
PATHS = [
    "a.png", "b.png", "c.png", "keep.png", "top.png", "!odd.png", "sub/top.png", "sub/a.png",
    "sub/deep/a.png", "sub/deep/keep.png", "a/b", "a/x/b", "a/x/y/b", "deep/q.png", "sub/other.txt",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@pytest.mark.parametrize("seed", range(40))
def test_ignore_patterns_mean_what_git_means(tmp_path, seed):
    import random

    lines = random.Random(seed).sample(PATTERNS, 3)
    touch(tmp_path, *PATHS)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(lines))
    said = subprocess.run(
        ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "--stdin"],
        input="\n".join(PATHS), capture_output=True, text=True, check=False,
    )  # fmt: skip
    rules = parse_rules("\n".join(lines), folder=str(tmp_path))

    def ignored(name: str) -> bool:
        """An ignored folder hides all below it, as the scan never enters it."""
        path = tmp_path / name
        steps = [p for p in [*path.parents][::-1] if tmp_path in p.parents]
        return any(is_ignored(str(p), rules=rules, is_folder=True) for p in steps) or is_ignored(
            str(path), rules=rules, is_folder=False
        )

    expected = {line.strip('"').replace("\\\\", "\\") for line in said.stdout.splitlines()}
    assert {name for name in PATHS if ignored(name)} == expected, lines


def test_20000_files_are_scanned_in_under_a_second(tmp_path):
    for folder in range(4):
        (tmp_path / str(folder)).mkdir()
        for n in range(5_000):
            os.close(os.open(tmp_path / str(folder) / f"{n}.png", os.O_CREAT | os.O_WRONLY))
    started = time.process_time()
    assert sum(1 for _ in scan([tmp_path], on_skip=print)) == 20_000
    assert time.process_time() - started < 1.0


def test_memory_is_bounded_by_the_chunk(tmp_path, monkeypatch):
    for n in range(3_000):
        os.close(os.open(tmp_path / f"{n:05}.png", os.O_CREAT | os.O_WRONLY))

    def peak_bytes(chunk: int) -> int:
        monkeypatch.setattr(scan_module, "_CHUNK", chunk)
        tracemalloc.start()
        for _ in scan([tmp_path], on_skip=print):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(150) < peak_bytes(3_000) / 4


def test_find_file_names_what_is_wrong(tmp_path):
    with pytest.raises(UsageError) as missing:
        find_file(tmp_path / "gone.png")
    with pytest.raises(UsageError) as folder:
        find_file(tmp_path)
    media_files.fifo(tmp_path / "pipe.png")
    with pytest.raises(BadMediaError) as pipe:
        find_file(tmp_path / "pipe.png")
    codes = [caught.value.code for caught in (missing, folder, pipe)]
    assert codes == ["path_missing", "not_a_file", "not_regular_file"]
