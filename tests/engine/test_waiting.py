"""Parts wait for full batches, which a thread encodes while more are taken."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Thread

import numpy as np
import pytest

from retrieval.add_waiting import WaitingParts
from retrieval.encoders.fake import FakeEncoder
from retrieval.errors import ModelError
from retrieval.types import Payload


class Gated(FakeEncoder):
    """Encodes once it is let; notes its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = {"text": 3}
        self.gate, self.batches = Event(), list[list[Payload]]()

    def encode(self, inputs: Sequence[Payload], **more: object) -> object:
        assert self.gate.wait(5)
        self.batches.append(list(inputs))
        return super().encode(inputs, **more)  # type: ignore[arg-type]


def _put(waiting: WaitingParts, numbers: range) -> None:
    for number in numbers:
        waiting.put(number, f"red {number}", modality="text", content_hash=str(number % 2))


def test_full_batches_go_in_order_and_the_rest_at_the_end() -> None:
    encoder = Gated()
    encoder.gate.set()
    waiting = WaitingParts(encoder)
    _put(waiting, range(7))
    waiting.encode_full()
    assert not waiting.has_full
    waiting.encode_all()
    assert [len(batch) for batch in encoder.batches] == [6, 1]
    found = waiting.vectors["fake"]
    assert sorted(found) == list(range(7))
    for number, vector in found.items():
        alone = FakeEncoder().encode([f"red {number}"], modality="text")[0]
        assert np.array_equal(vector, alone)


def test_what_is_left_out_is_not_encoded() -> None:
    encoder = Gated()
    encoder.gate.set()
    waiting = WaitingParts(encoder)
    _put(waiting, range(7))
    waiting.leave_out({"0"})
    waiting.encode_all()
    assert sorted(waiting.vectors["fake"]) == [1, 3, 5]


def test_taking_goes_on_while_the_model_is_busy_but_not_for_ever() -> None:
    encoder = Gated()
    waiting = WaitingParts(encoder)
    for start in (0, 3):
        _put(waiting, range(start, start + 3))
        waiting.encode_full()  # comes back, though nothing is encoded yet
    assert encoder.batches == []
    _put(waiting, range(6, 9))
    third = Thread(target=waiting.encode_full, daemon=True)
    third.start()
    third.join(0.1)
    assert third.is_alive()  # two batches are held at most
    encoder.gate.set()
    third.join(5)
    waiting.encode_all()
    assert sorted(waiting.vectors["fake"]) == list(range(9))


def test_an_error_of_the_model_reaches_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("no such weights", code="model_unavailable")

    waiting = WaitingParts(FakeEncoder())
    monkeypatch.setattr(FakeEncoder, "encode", refuse)
    _put(waiting, range(2))
    with pytest.raises(ModelError, match="no such weights"):
        waiting.encode_all()
