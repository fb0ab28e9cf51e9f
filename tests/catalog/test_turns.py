"""Writers on PostgreSQL: whose turn it is, and what becomes of a COMMIT that is cut off."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from cutting import HOWS, Cutter, How, cutting
from postgres import fresh_database, postgres

from retrieval import add_batch
from retrieval.add_batch import Collector, Committed
from retrieval.build_wishes import Wishes
from retrieval.catalog import turns
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import ConnectionLostError, LockedError, StorageError
from retrieval.store import create_store
from tests.faults.subject import in_process

pytestmark = pytest.mark.postgres


@dataclass(frozen=True)
class Place:
    """A server, and a network before it that can be cut."""

    url: str
    cut_url: str
    cutter: Cutter
    admin: sa.Engine

    def end(self, pid: int) -> None:
        """End a session of the server."""
        with self.admin.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    def end_all(self) -> None:
        """End all sessions but one's own."""
        with self.admin.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
                "pg_backend_pid() AND backend_type = 'client backend'"
            )


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory(prefix="pg") as name, postgres(Path(name)) as url:
        yield Path(name), url


@pytest.fixture
def place(server: tuple[Path, str]) -> Iterator[Place]:
    where, root = server
    url = fresh_database(root)
    admin = sa.create_engine(root, isolation_level="AUTOCOMMIT")

    with tempfile.TemporaryDirectory(prefix="cut") as name, cutting(where, Path(name)) as cutter:
        cut_url = sa.make_url(url).update_query_dict({"host": name})
        made = Place(url, cut_url.render_as_string(hide_password=False), cutter, admin)
        cutter.end = made.end
        yield made
    admin.dispose()


@pytest.fixture
def catalog(place: Place) -> Iterator[Catalog]:
    opened = Catalog.open(Path("none"), uuid="u", url=place.cut_url, create=True)
    yield opened
    opened.close()


def generation(catalog: Catalog) -> int:
    with catalog.reading() as reader:
        return reader.generation()


def test_a_connection_lost_during_commit_neither_loses_nor_doubles_a_batch(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"workers": 1, "catalog": place.cut_url}, environment={})
    failpoint, orders = add_batch.failpoint, [HOWS[n % len(HOWS)] for n in range(50)]

    def arm(name: str) -> None:
        failpoint(name)
        if name == "commit.before" and orders:
            place.cutter.arm(orders.pop())

    monkeypatch.setattr(add_batch, "failpoint", arm)
    store = tmp_path / "store"
    with in_process(), Engine.open(store, create=True, model="fake", settings=settings) as engine:
        for number in range(50):
            file = tmp_path / f"{number}.txt"
            file.write_text(f"red word{number}")
            assert engine.add(file).n_added == 1
            hits = engine.search("red", k=1000)
            assert sorted(hit.path for hit in hits) == sorted(map(str, tmp_path.glob("*.txt")))
            assert engine.generation == number + 1
        assert place.cutter.n_cut == 50
        assert [hit.id for hit in sorted(hits, key=lambda hit: int(Path(hit.path).stem))] == list(
            range(1, 51)
        )
        assert engine.verify().findings == ()


@pytest.mark.parametrize("how", HOWS)
def test_what_came_to_be_is_not_written_again_and_what_did_not_is(
    place: Place, catalog: Catalog, how: How
) -> None:
    seen: list[int] = []

    def touch(writer: Writer) -> int:
        if not seen:
            place.cutter.arm(how)
        seen.append(writer.generation())
        return writer.touch()

    assert catalog.write(touch) == 1
    assert (generation(catalog), place.cutter.n_cut) == (1, 1)
    # A COMMIT that met the end of its session may have been the faster of the two.
    assert len(seen) in {"before": {2}, "after": {1}, "ended first": {2}}.get(how, {1, 2})
    assert set(seen) == {0}


def test_an_outcome_that_nobody_can_tell_is_said_to_be_unknown(
    place: Place, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.3)

    def touch(writer: Writer) -> None:
        writer.touch()
        place.cutter.arm("after")
        place.cutter.close()

    with pytest.raises(StorageError, match="run the same command again") as caught:
        catalog.write(touch)
    assert caught.value.code == "commit_unknown"


def test_a_server_that_is_away_is_said_to_be(
    place: Place, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.3)
    place.cutter.close()
    place.cutter.cut_all()
    with pytest.raises(ConnectionLostError, match="cannot be reached"):
        catalog.write(lambda writer: writer.touch())
    with pytest.raises(ConnectionLostError, match="cannot be reached"):
        generation(catalog)


def test_a_commit_waits_for_another_and_not_for_ever(
    place: Place, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.3)
    other = Catalog.open(Path("none"), uuid="u", url=place.url)
    with catalog.writing() as writer:
        writer.touch()
        with pytest.raises(LockedError, match=r"locked for 0\.3 s") as caught:
            other.write(lambda late: late.touch())
    assert caught.value.code == "catalog_locked"
    monkeypatch.setattr(turns, "WAIT_S", 20.0)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: other.write(lambda w: w.touch()), range(20)))
    assert sorted(made) == list(range(2, 22))  # no generation lost, none made twice
    other.close()


def test_who_writes_alone_keeps_others_waiting_and_is_named(
    place: Place, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.2)
    store = create_store(tmp_path / "store")
    other = Catalog.open(Path("none"), uuid="u", url=place.url)
    named = rf"being written by pid {os.getpid()} on host .*waited 0\.2 s"
    with catalog.turn(store) as alone:
        assert alone
        for wanted in (True, False):
            with pytest.raises(LockedError, match=named), other.turn(store, alone=wanted):
                pass
    with catalog.turn(store, alone=False), other.turn(store, alone=False) as alone:
        assert not alone  # side by side
        assert other.write(lambda writer: writer.touch()) == 1
        assert catalog.write(lambda writer: writer.touch()) == 2
    with (
        catalog.turn(store, alone=False),
        pytest.raises(LockedError, match=named),
        other.turn(store),
    ):
        pass
    with other.turn(store):
        pass
    other.close()


def test_a_turn_whose_session_ended_is_taken_again_unless_somebody_wrote(
    place: Place, catalog: Catalog, tmp_path: Path
) -> None:
    store = create_store(tmp_path / "store")
    other = Catalog.open(Path("none"), uuid="u", url=place.url)
    with catalog.turn(store):
        place.end_all()
        assert catalog.write(lambda writer: writer.touch()) == 1
        assert catalog.write(lambda writer: writer.touch()) == 2
        place.end_all()
        assert other.write(lambda writer: writer.touch()) == 3
        with pytest.raises(LockedError, match="by another process while") as caught:
            catalog.write(lambda writer: writer.touch())
    assert caught.value.code == "turn_lost"
    assert generation(catalog) == 3
    with catalog.turn(store):
        assert catalog.write(lambda writer: writer.touch()) == 4
    other.close()


def test_writers_who_meet_leave_what_one_after_the_other_would(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"workers": 1, "catalog": place.url}, environment={})
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        (folder / "same.txt").write_text("red in both")
        (folder / "own.txt").write_text(f"red of {folder.name}")
    (tmp_path / "changing.txt").write_text("red before")
    commit, met = Collector.commit, []
    with in_process(), ExitStack() as held:
        first, second = (
            held.enter_context(
                Engine.open(tmp_path / "store", create=True, model="fake", settings=settings)
            )
            for _ in range(2)
        )
        first.add(tmp_path / "changing.txt")

        def meet(collector: Collector) -> Committed:
            if not met:  # the first has loaded and encoded everything
                met.append(1)
                (tmp_path / "changing.txt").write_text("red of the second")
                met.append(second.add(other, tmp_path / "changing.txt").n_added)
            return commit(collector)

        (tmp_path / "changing.txt").write_text("red of the first")
        monkeypatch.setattr(Collector, "commit", meet)
        report = first.add(mine, tmp_path / "changing.txt")
        assert (met, report.n_added, report.n_copies, report.n_changed) == ([1, 2], 1, 1, 1)
        hits = first.search("red", k=10)
        named = {hit.text: sorted((hit.path, *hit.copies)) for hit in hits}
        assert named == {
            "red in both": [str(mine / "same.txt"), str(other / "same.txt")],
            "red of mine": [str(mine / "own.txt")],
            "red of other": [str(other / "own.txt")],
            "red of the first": [str(tmp_path / "changing.txt")],
        }
        assert sorted(hit.id for hit in hits) == [1, 2, 3, 4]
        assert second.search("red", k=10) == hits
        assert first.verify().findings == ()


def test_files_that_a_server_reads_stay_until_it_reads_newer_ones(
    place: Place, tmp_path: Path
) -> None:
    settings = load_settings({"workers": 1, "catalog": place.url}, environment={})
    store = tmp_path / "store"
    with in_process(), ExitStack() as held:
        writer, server = (
            held.enter_context(Engine.open(store, create=True, model="fake", settings=settings))
            for _ in range(2)
        )

        def change(number: int) -> None:
            (tmp_path / f"{number}.txt").write_text(f"red word{number}")
            writer.add(tmp_path / f"{number}.txt")
            writer.build(force=True, wishes=Wishes(compact=True))

        def files() -> set[str]:
            return {path.name for kind in ("*.seg", "*.faiss") for path in store.rglob(kind)}

        change(0)
        server.reload()
        with writer._catalog.reading() as reader:
            snapshot = reader.snapshot()
        read = {entry.info.name for entry in snapshot.segments}
        read |= {entry.name for entry in snapshot.derived}
        assert len(read) == 2
        for number in range(1, 6):
            change(number)
        assert read <= files()
        server.reload()
        change(6)
        assert not read & files()
        assert len(server.search("red", k=10)) == 6


def test_many_may_open_an_empty_database_at_once(place: Place) -> None:
    def opened(_: int) -> int:
        mine = Catalog.open(Path("none"), uuid="u", url=place.url, create=True)
        found = generation(mine)
        mine.close()
        return found

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(opened, range(6))) == [0] * 6
