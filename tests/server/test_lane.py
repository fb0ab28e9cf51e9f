"""Work that comes together goes together, and nobody pays for another's mistakes or slowness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from threading import Event

import pytest

from retrieval.errors import BusyError, CrossfindError, UsageError
from retrieval.server.lane import Lane
from retrieval.server.limits import RequestError


class Work:
    """Notes the batches it is given; pieces below zero fail, 0 breaks it, 99 waits for `hold`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.hold = Event()

    def __call__(self, pieces: Sequence[int]) -> list[int | CrossfindError]:
        self.batches.append(list(pieces))
        if 99 in pieces:
            self.hold.wait(10)
        if 0 in pieces:
            raise ZeroDivisionError
        return [UsageError(f"{one} is below 0") if one < 0 else 10 * one for one in pieces]


def play(
    scene: Callable[[Lane[int, int], Work], Coroutine[None, None, None]], **options: object
) -> None:
    work = Work()
    lane = Lane[int, int](work, name="test", **options)  # type: ignore[arg-type]

    async def whole() -> None:
        await asyncio.wait_for(scene(lane, work), 10)
        assert lane.n_inside == 0

    asyncio.run(whole())
    lane.close()


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.001)


def test_an_idle_lane_begins_at_once_and_what_comes_meanwhile_goes_together() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        first = asyncio.create_task(lane.run(99))
        await until(lambda: bool(work.batches))
        others = [asyncio.create_task(lane.run(n)) for n in range(1, 8)]
        await asyncio.sleep(0.02)
        assert work.batches == [[99]]
        work.hold.set()
        assert await asyncio.gather(first, *others) == [990, *(10 * n for n in range(1, 8))]
        assert work.batches == [[99], [1, 2, 3, 4, 5], [6, 7]]
        assert (lane.n_batches, lane.n_pieces) == (3, 8)

    play(scene, max_batch=5, patience_s=5.0)


def test_only_what_has_one_key_goes_together() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        first = asyncio.create_task(lane.run(99))
        await until(lambda: bool(work.batches))
        others = [asyncio.create_task(lane.run(n, key=n % 2)) for n in range(1, 6)]
        await asyncio.gather(*others[:1], *others[2:3])  # beside what has another key
        assert not first.done()
        work.hold.set()
        await asyncio.gather(first, *others)
        assert work.batches[0] == [99]
        assert sorted(work.batches[1:]) == [[1], [2], [3, 5], [4]]

    play(scene, patience_s=5.0)


def test_a_slow_batch_does_not_hold_up_the_next_one() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        slow = asyncio.create_task(lane.run(99))
        await until(lambda: bool(work.batches))
        assert await lane.run(3) == 30
        assert not slow.done()
        work.hold.set()
        assert await slow == 990

    play(scene, patience_s=0.02)


def test_an_error_is_told_to_whom_it_belongs() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        first = asyncio.create_task(lane.run(99))
        await until(lambda: bool(work.batches))
        tasks = [asyncio.create_task(lane.run(n)) for n in (1, -2, 3)]
        await asyncio.sleep(0.01)
        work.hold.set()
        one, bad, three = await asyncio.gather(*tasks, return_exceptions=True)
        assert (one, three) == (10, 30)
        assert isinstance(bad, UsageError)
        await first

    play(scene, patience_s=5.0)


def test_work_that_breaks_costs_only_the_piece_that_broke_it() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        first = asyncio.create_task(lane.run(99))
        await until(lambda: bool(work.batches))
        tasks = [asyncio.create_task(lane.run(n)) for n in (1, 0, 3)]
        await asyncio.sleep(0.01)
        work.hold.set()
        one, broken, three = await asyncio.gather(*tasks, return_exceptions=True)
        assert (one, three) == (10, 30)
        assert isinstance(broken, ZeroDivisionError)
        await first

    play(scene, patience_s=5.0)


def test_a_full_lane_refuses_and_counts() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        tasks = [asyncio.create_task(lane.run(99)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert lane.is_full
        with pytest.raises(BusyError):
            await lane.run(1)
        assert lane.n_shed == 1
        work.hold.set()
        await asyncio.gather(*tasks)

    play(scene, depth=2)


def test_what_waits_is_dropped_when_its_client_goes_and_what_takes_too_long_is_told_so() -> None:
    async def gone() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def scene(lane: Lane[int, int], work: Work) -> None:
        first = asyncio.create_task(lane.run(99))
        await until(lambda: bool(work.batches))
        with pytest.raises(RequestError) as left:
            await lane.run(1, receive=gone)  # type: ignore[arg-type]
        assert left.value.code == "gone"
        with pytest.raises(RequestError) as late:
            await lane.run(2)
        assert late.value.code == "timeout"
        with pytest.raises(RequestError):
            await first
        assert lane.n_inside == 1  # its batch still runs
        work.hold.set()
        await until(lambda: lane.n_inside == 0)
        assert work.batches == [[99]]

    play(scene, seconds=0.05, patience_s=5.0)


def test_a_lane_without_batches_does_each_by_itself_side_by_side() -> None:
    async def scene(lane: Lane[int, int], work: Work) -> None:
        slow = asyncio.create_task(lane.run(99))
        assert await asyncio.gather(*(lane.run(n) for n in range(1, 6))) == [10, 20, 30, 40, 50]
        assert sorted(work.batches) == [[1], [2], [3], [4], [5], [99]]
        work.hold.set()
        await slow

    play(scene, max_batch=1, width=3)
