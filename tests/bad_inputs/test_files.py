"""Every kind of bad file beside good ones: its code, its remedy, and nobody else's harm.

Rows I, A, V, TX and P. All lie in one folder, which one `index build` reads with the command line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli import Done, crossfind
from vectors_by_path import vectors_by_path

from retrieval.engine import Engine
from retrieval.types import Failure, Item
from tests.bad_inputs.files import BAD, SLOW, Bad, write
from tests.support import media_files

LINKS = {"symlink_not_followed"}  # counted and passed over: they are no files
# Each costs a process, those that hang the time limit; `tests/media/test_workers.py` has them all.
FAULTS = {"segfault-.png", "eat-memory-.png"}
KINDS = [kind for kind in BAD if not kind.is_fault or kind.name in FAULTS]


@dataclass(frozen=True)
class Built:
    """A store of good and bad files.

    Attributes:
        root: folder of the media and the store.
        done: what the command said.
        files: path of each kind.
        failures: by path.
        items: by path, without a record's number.
    """

    root: Path
    done: Done
    files: dict[Bad, str]
    failures: dict[str, Failure]
    items: dict[str, Item]


def build(root: Path) -> Done:
    return crossfind(
        "index", "build", "media", "--model", "fake", "--workers", "2",
        cwd=root, CROSSFIND_TEST_DECODER="1", CROSSFIND_DECODE_MEMORY_MB="512",
    )  # fmt: skip


def write_good(media: Path) -> None:
    for number in range(6):
        media_files.picture(media / f"good{number}.png", seed=500 + number)
        (media / f"good{number}.md").write_text(f"a good text {number}")
    media_files.wav(media / "good.wav")


def look(root: Path, done: Done, files: dict[Bad, str]) -> Built:
    with Engine.open(root / ".crossfind") as engine, engine._catalog.reading() as reader:
        failures = {failure.path: failure for failure in engine.failures()}
        ids = {part.item_id for part in reader.parts(reader.part_ids().tolist()).values()}
        items = {item.path.split("#")[0]: item for item in reader.items(ids).values()}
    return Built(root, done, files, failures, items)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    root = tmp_path_factory.mktemp("bad")
    (root / "media").mkdir()
    write_good(root / "media")
    files = {kind: str(write(root / "media", kind, seed=3)) for kind in KINDS}
    return look(root, build(root), files)


def check(built: Built, kind: Bad) -> None:
    """Assert the outcome of a kind: its code and remedy, or its item with format and flag."""
    path = built.files[kind]
    if kind.code in LINKS:
        assert path not in built.failures
        assert path not in built.items
    elif kind.code:
        failure = built.failures[path]
        assert failure.code == kind.code, failure.reason
        assert kind.remedy in failure.reason
        assert path in failure.reason
        assert path not in built.items
    else:
        assert path in built.items, built.failures.get(path)
        assert not kind.format or built.items[path].format == kind.format
        assert not kind.flag or kind.flag in built.items[path].flags


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.row}-{k.name[:30]!a}")
def test_a_bad_file_gets_its_code_and_remedy(built: Built, kind: Bad) -> None:
    check(built, kind)


def test_the_run_ends_with_exit_3_and_without_a_traceback(built: Built) -> None:
    assert built.done.code == 3
    assert "Traceback" not in built.done.err
    n_links = sum(kind.code in LINKS for kind in KINDS)
    assert f"{n_links} symbolic links not followed" in built.done.err
    n_bad = sum(bool(kind.code) and kind.code not in LINKS for kind in KINDS)
    assert len(built.failures) == n_bad
    assert f"{n_bad} bad" in built.done.err


def test_good_files_have_the_vectors_of_a_run_without_bad_ones(
    built: Built, tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    write_good(tmp_path / "media")
    assert build(tmp_path).code == 0
    clean = vectors_by_path(tmp_path / ".crossfind")
    dirty = vectors_by_path(built.root / ".crossfind")
    names = {path: path.replace(str(tmp_path), str(built.root)) for path in clean}
    assert len(clean) == 13
    assert {path: dirty[names[path]] for path in clean} == clean


def test_flags_and_formats_can_be_searched_for(built: Built) -> None:
    with Engine.open(built.root / ".crossfind") as engine:
        hits = engine.search("red", k=100, where="flags = 'shorter_than_header'")
        names = {Path(hit.path).name for hit in hits}
    assert names == {"short3.wav", "four-gb3.wav"}


def test_a_surrogate_is_stored_as_the_replacement_character(built: Built) -> None:
    with Engine.open(built.root / ".crossfind") as engine:
        (hit,) = engine.search("dog runs", k=1, where="path LIKE '%surrogate3.jsonl'")
    assert hit.text is not None
    assert hit.text.startswith("a dog \ufffd runs ")


def test_bad_files_are_tried_again_only_when_they_change(built: Built) -> None:
    before = {f.path: f for f in records(built)}
    again = json.loads(build_json(built.root).out)
    assert again["n_loaded"] == 0
    assert {f.path: f for f in records(built)} == before
    (kind,) = (kind for kind in KINDS if kind.name == "words.jpg")
    os.utime(built.files[kind], ns=(5, 5))
    again = json.loads(build_json(built.root).out)
    assert again["n_loaded"] == 1
    (record,) = (f for f in records(built) if f.path == built.files[kind])
    assert (record.code, record.attempts) == ("not_an_image", 2)


def build_json(root: Path) -> Done:
    return crossfind("index", "add", "media", "--json", cwd=root, CROSSFIND_TEST_DECODER="1")


def records(built: Built) -> list:  # type: ignore[type-arg]
    with Engine.open(built.root / ".crossfind") as engine, engine._catalog.reading() as reader:
        return [f for f in reader.files(limit=10_000) if f.code]


def test_hostile_names_and_texts_are_escaped_on_every_output(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("search", "named evil", "--where", "path LIKE '%3.txt' AND format = 'txt'")
    assert "\x1b" in crossfind(*command, "-f", cwd=built.root).out  # a program gets the bytes
    monkeypatch.setattr("retrieval.cli.output.is_terminal", lambda: True)
    for args in ([], ["--json"], ["--jsonl"], ["-f"]):
        found = crossfind(*command, *args, cwd=built.root)
        assert found.code == 0, found.err
        assert "1b[31m" in found.out
        assert not {"\x1b", "\u202e"} & set(found.out), args
    page = tmp_path / "map.html"
    assert crossfind("map", "--out", page, cwd=built.root).code == 0
    assert "<script>alert(1)</script>" not in page.read_text()
    assert "<b>\x1b" not in page.read_text()


def test_a_bomb_is_refused_from_its_header_at_once(tmp_path: Path) -> None:
    from retrieval.errors import BadMediaError
    from retrieval.media import find_file, load_file
    from retrieval.types import MediaSpec

    (kind,) = (kind for kind in SLOW if kind.name == "bomb.png")
    path = write(tmp_path, kind, seed=1)
    assert path.stat().st_size < 400_000
    load_file(find_file(media_files.picture(tmp_path / "warm.png")), spec=MediaSpec())
    started_s = time.process_time()
    with pytest.raises(BadMediaError) as caught:
        load_file(find_file(path), spec=MediaSpec())
    assert time.process_time() - started_s < 0.05
    assert caught.value.code == "too_many_pixels"


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW, ids=lambda k: f"{k.row}-{k.name}")
def test_a_large_bad_file_gets_its_outcome_in_its_limits(tmp_path: Path, kind: Bad) -> None:
    (tmp_path / "media").mkdir()
    files = {kind: str(write(tmp_path / "media", kind, seed=3))}
    done = crossfind("index", "build", "media", "--model", "fake", cwd=tmp_path)
    assert done.code == (1 if kind.code else 0), done.err
    check(look(tmp_path, done, files), kind)
