"""A store that is searched while it changes: every search sees one generation, whole."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.build import Wishes
from retrieval.cli.main import cli as command_line
from retrieval.contents import read_contents
from retrieval.engine import Engine

N = 12


@pytest.fixture
def notes(tmp_path: Path, engine: Engine) -> list[Path]:
    folder = tmp_path / "notes"
    folder.mkdir()
    paths = [folder / f"{number:02}.txt" for number in range(N)]
    for number, path in enumerate(paths):
        path.write_text(f"note {number} red green blue")
    engine.add(folder)
    engine.build()
    return paths


def found(engine: Engine) -> set[str]:
    return {Path(hit.path).name for hit in engine.search("red", k=100)}


def test_what_is_added_and_removed_counts_in_the_next_search_without_reading_files_again(
    engine: Engine, notes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(engine) == {path.name for path in notes}
    opened: list[str] = []
    from retrieval.query import open_space

    real = open_space.open_segment

    def counted(path: Path, *, sha256: str) -> object:
        opened.append(path.name)
        return real(path, sha256=sha256)

    monkeypatch.setattr(open_space, "open_segment", counted)
    more = notes[0].with_name("new.txt")
    more.write_text("a new red one")
    engine.add(more)
    engine.remove(notes[3])
    assert found(engine) == {path.name for path in notes if path != notes[3]} | {"new.txt"}
    assert len(opened) <= 1  # the new segment alone


def test_compaction_drops_the_dead_and_keeps_every_answer(
    engine: Engine, notes: list[Path]
) -> None:
    engine.remove(notes[2])
    before, stored = engine.search("note 5", k=100), read_contents(engine).vectors
    built = engine.build(force=True, wishes=Wishes(compact=True))
    assert [report.n_vectors for report in built if report.n_vectors] == [N - 1]
    after = engine.search("note 5", k=100)
    assert [hit.id for hit in after] == [hit.id for hit in before]
    assert [hit.score for hit in after] == [hit.score for hit in before]
    engine.build(force=True, wishes=Wishes(compact=True))
    assert read_contents(engine).vectors.tobytes() == stored.tobytes()  # no drift, ever
    with engine._catalog.reading() as reader:
        snapshot = reader.snapshot()
    assert not snapshot.tombstones
    assert sum(entry.info.n_vectors for entry in snapshot.segments) == N - 1


def test_the_command_compacts(engine: Engine, notes: list[Path]) -> None:
    engine.remove(notes[2])
    engine.close()
    ran = CliRunner().invoke(command_line, ["index", "compact", "--store", str(engine.store.root)])
    assert ran.exit_code == 0, ran.output
    with Engine.open(engine.store.root) as again:
        assert len(found(again)) == N - 1


def test_no_search_that_begins_after_a_removal_shows_what_was_removed(
    engine: Engine, notes: list[Path]
) -> None:
    gone: set[str] = set()
    wrong: list[set[str]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            before = set(gone)
            wrong.extend([seen] if (seen := found(engine) & before) else [])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for path in notes[:6]:
        engine.remove(path)
        gone.add(path.name)
    engine.build(force=True, wishes=Wishes(compact=True))
    for path in notes[6:9]:
        engine.remove(path)
        gone.add(path.name)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert found(engine) == {path.name for path in notes[9:]}


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "build", "compact", "search"]), st.integers(0, N - 1)
        ),
        max_size=8,
    )
)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_sequence_of_changes_leaves_the_counts_of_the_catalog(
    engine: Engine, notes: list[Path], steps: list[tuple[str, int]]
) -> None:
    engine.add(notes[0].parent)
    there = {path.name for path in notes}
    for step, number in steps:
        if step == "add":
            engine.add(notes[number])
            there.add(notes[number].name)
        elif step == "remove" and notes[number].name in there:
            engine.remove(notes[number])
            there.discard(notes[number].name)
        elif step in ("build", "compact"):
            engine.build(force=True, wishes=Wishes(compact=step == "compact"))
        assert found(engine) == there
        with engine.serving.reading() as (reader, generation):
            held = np.sort(np.concatenate([s.ids() for s in generation.spaces.values()]))
            assert held.tolist() == reader.part_ids().tolist()


@pytest.mark.usefixtures("notes")
def test_a_search_that_waits_for_a_writer_keeps_no_other_from_going_on(engine: Engine) -> None:
    """Else `reload`, whose read the writer waits for, would wait for that search: for 30 s."""
    engine.reload()
    before = found(engine)
    writer = sqlite3.connect(engine.store.catalog_path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")  # as a commit in its last moment
    seen: list[set[str]] = []
    search = threading.Thread(target=lambda: seen.append(found(engine)))
    search.start()
    search.join(0.5)
    assert search.is_alive()  # it waits for the writer,
    assert engine.serving._guard.acquire(timeout=1)  # and nobody for it
    engine.serving._guard.release()
    writer.execute("ROLLBACK")
    writer.close()
    search.join()
    assert seen == [before]
