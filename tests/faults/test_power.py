"""Power cuts: the order of calls, and every disk a cut could leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.oracle import problems
from tests.faults.power import Model, audit, lay_out, states
from tests.faults.tracing import Call, Place, has_strace, record

pytestmark = pytest.mark.skipif(not has_strace(), reason="strace is not here or may not trace")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, list[Call]]:
    place = Place(tmp_path_factory.mktemp("power") / "run").start()
    return place, record(place)


def test_every_name_and_byte_is_synced_before_the_commit_that_needs_it(
    whole: tuple[Place, list[Call]],
) -> None:
    place, calls = whole
    assert audit(calls, acks=place.acks) == []
    assert sum(call.name in ("fsync", "fdatasync") for call in calls) > 40


def test_a_power_cut_at_any_fiftieth_moment_loses_nothing_acknowledged(
    whole: tuple[Place, list[Call]], tmp_path: Path
) -> None:
    assert replay(whole, tmp_path, every=50) == {}


@pytest.mark.slow
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(
    whole: tuple[Place, list[Call]], tmp_path: Path
) -> None:
    assert len(list(states(whole[1], acks=whole[0].acks))) >= 450
    assert replay(whole, tmp_path, every=1) == {}


def replay(whole: tuple[Place, list[Call]], folder: Path, *, every: int) -> dict[str, list[str]]:
    place, calls = whole
    wrong = {}
    for number, (disk, n_acked, where) in enumerate(states(calls, acks=place.acks)):
        if number % every == 0:
            at = lay_out(disk, store=place.store, at=folder / str(number))
            found = problems(at, n_acked=n_acked)
            wrong.update({where: found} if found else {})
    return wrong


def test_the_model_of_the_disk_forgets_what_was_not_synced() -> None:
    model = Model("/acks")
    calls = [
        Call("openat", "/s/a", fd=3, flags="O_WRONLY|O_CREAT"),
        Call("write", "/s/a", fd=3, data=b"old"),
        Call("fsync", "/s/a", fd=3),
        Call("fsync", "/s", fd=9),
        Call("pwrite64", "/s/a", fd=3, data=b"new!", offset=3),
        Call("openat", "/s/b", fd=4, flags="O_WRONLY|O_CREAT"),
    ]
    for call in calls:
        model.take(call)
    lost, no_data, zeros = model.disks()
    assert lost == {"/s/a": b"old"}
    assert no_data == {"/s/a": b"old", "/s/b": b""}
    assert zeros == {"/s/a": bytes(7), "/s/b": b""}


def test_the_model_of_the_disk_sees_a_rename_without_a_sync() -> None:
    model = Model("/acks")
    for call in (
        Call("openat", "/s/a", fd=3, flags="O_WRONLY|O_CREAT"),
        Call("write", "/s/a", fd=3, data=b"x"),
        Call("rename", "/s/a", target="/s/b"),
    ):
        model.take(call)
    assert model.violations == ["/s/b was renamed before its bytes were synced"]
