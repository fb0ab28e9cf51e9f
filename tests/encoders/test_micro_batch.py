"""Many threads, one model: the plain encoder's vectors, in fewer batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from retrieval.encoders.base import Vectors
from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.micro_batch import MicroBatchEncoder
from retrieval.errors import BusyError, InputError, ModelError, UsageError
from retrieval.types import Modality, Payload, Space


class Gated(FakeEncoder):
    """Lets a batch through only when told, and notes the inputs of each."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[object]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> Vectors:
        self.batches.append(list(inputs))
        self.entered.release()
        assert self.gate.acquire(timeout=10)
        if modality == "text" and "refused" in inputs:
            raise ModelError("no such colour", code="picture_size")
        if modality == "text" and "broken" in inputs:
            raise RuntimeError("not an error of ours")
        return super()._encode_batch(inputs, modality=modality, space=space)


@contextmanager
def _crowd(shared: MicroBatchEncoder, gated: Gated) -> Iterator[Callable[[str], Future[Vectors]]]:
    """Give what asks in a thread of its own and returns once the request is queued."""
    with ThreadPoolExecutor(16) as pool:

        def ask(text: str) -> Future[Vectors]:
            before, is_first = len(shared._waiting), not gated.batches
            future = pool.submit(shared.encode, [text], modality="text")
            if is_first:
                assert gated.entered.acquire(timeout=10)
            while not is_first and len(shared._waiting) == before:
                threading.Event().wait(0.001)  # a batch is at the gate: this one has to queue
            return future

        try:
            yield ask
        finally:
            for _ in range(64):
                gated.gate.release()


def _plain(*texts: str) -> Vectors:
    return FakeEncoder().encode(texts, modality="text")


def test_a_lone_request_is_encoded_at_once() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated, max_wait_ms=60_000)  # waiting for company would never end
    for n in range(3):
        gated.gate.release()
        assert np.array_equal(shared.encode(["red"], modality="text"), _plain("red"))
        assert gated.batches == [["red"]] * (n + 1)


def test_what_comes_meanwhile_is_one_batch_in_order_of_arrival() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated)
    with _crowd(shared, gated) as ask:
        texts = ["red", "green", "blue", "a b"]
        futures = [ask(text) for text in texts]
        gated.gate.release(2)
        made = np.concatenate([future.result(10) for future in futures])
    assert gated.batches == [["red"], ["green", "blue", "a b"]]
    assert np.array_equal(made, _plain(*texts))
    assert (shared.n_batches, shared.n_inputs) == (2, 4)


def test_a_batch_holds_no_more_than_its_limit() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated, max_batch=2)
    with _crowd(shared, gated) as ask:
        futures = [ask(text) for text in ("a", "b", "c", "d", "e")]
        gated.gate.release(3)
        assert [f.result(10).shape for f in futures] == [(1, 64)] * 5
    assert gated.batches == [["a"], ["b", "c"], ["d", "e"]]


def test_modalities_do_not_share_a_batch() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated)
    picture = np.full((8, 8, 3), 200, dtype=np.uint8)
    with _crowd(shared, gated) as ask, ThreadPoolExecutor(1) as pool:
        first, second = ask("a"), ask("b")
        third = pool.submit(shared.encode, [picture], modality="image")
        while len(shared._waiting) < 2:
            threading.Event().wait(0.001)
        gated.gate.release(3)
        made = third.result(10)
        assert first.result(10).shape == second.result(10).shape == (1, 64)
    assert [type(batch[0]) for batch in gated.batches] == [str, str, np.ndarray]
    assert shared.n_batches == 3, "no mixed batch was even tried"
    assert np.array_equal(made, FakeEncoder().encode([picture], modality="image"))


def test_a_request_that_fails_fails_alone() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated)
    with _crowd(shared, gated) as ask:
        first, good, bad, last = (ask(text) for text in ("a", "red", "refused", "blue"))
        gated.gate.release(5)
        assert np.array_equal(good.result(10), _plain("red"))
        assert np.array_equal(last.result(10), _plain("blue"))
        with pytest.raises(ModelError, match="no such colour"):
            bad.result(10)
        assert first.result(10).shape == (1, 64)
    assert gated.batches[1:] == [["red", "refused", "blue"], ["red"], ["refused"], ["blue"]]


def test_a_foreign_error_reaches_its_thread_and_leaves_nobody_waiting() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated)
    with _crowd(shared, gated) as ask:
        first, leads, follows = ask("a"), ask("broken"), ask("red")
        gated.gate.release(2)
        assert first.result(10).shape == (1, 64)
        with pytest.raises(RuntimeError, match="not an error of ours"):
            leads.result(10)
        with pytest.raises(ModelError, match="ask again") as caught:
            follows.result(10)
        assert caught.value.code == "encode_failed"
        gated.gate.release()
        assert np.array_equal(shared.encode(["red"], modality="text"), _plain("red"))


def test_a_full_queue_refuses_and_serves_again_later() -> None:
    gated = Gated()
    shared = MicroBatchEncoder(gated, max_waiting=2)
    with _crowd(shared, gated) as ask:
        futures = [ask(text) for text in ("a", "b", "c")]
        with pytest.raises(BusyError, match="2 requests wait") as caught:
            shared.encode(["d"], modality="text")
        assert (caught.value.code, caught.value.http_status) == ("busy", 503)
        gated.gate.release(3)
        assert len([f.result(10) for f in futures]) == 3
        assert shared.encode(["d"], modality="text").shape == (1, 64)


def test_a_bad_input_is_refused_before_it_joins_a_batch() -> None:
    shared = MicroBatchEncoder(FakeEncoder())
    with pytest.raises(InputError, match="text input 1 is int"):
        shared.encode(["a", 3], modality="text")  # type: ignore[list-item]
    assert shared.encode([], modality="text").shape == (0, 64)
    assert shared.n_batches == 0


def test_under_load_a_batch_waits_for_those_that_the_last_one_served() -> None:
    shared = MicroBatchEncoder(FakeEncoder(), max_wait_ms=10_000)
    shared._n_expected, shared._took_s = 2, 10.0  # as after a long batch of two
    shared._ended_s = float("inf")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shared.encode, ["red"], modality="text")
        while not shared._waiting:
            threading.Event().wait(0.001)
        assert shared.n_batches == 0
        second = pool.submit(shared.encode, ["blue"], modality="text")
        made = np.concatenate([first.result(10), second.result(10)])
    assert shared.n_batches == 1
    assert np.array_equal(made, _plain("red", "blue"))


def test_sixteen_threads_get_the_vectors_of_the_plain_encoder() -> None:
    texts = [f"thing {n % 37} {'red' if n % 2 else 'blue'}" for n in range(600)]
    shared = MicroBatchEncoder(FakeEncoder(), max_batch=8)
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda t: shared.encode([t], modality="text")[0], texts))
    assert np.array_equal(np.stack(made), _plain(*texts))
    assert shared.n_inputs == 600
    assert shared.n_batches <= 600


def test_limits_that_cannot_be_are_refused() -> None:
    for wrong in ({"max_batch": 0}, {"max_waiting": 0}, {"max_wait_ms": -1}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            MicroBatchEncoder(FakeEncoder(), **wrong)  # type: ignore[arg-type]
