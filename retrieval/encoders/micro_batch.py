"""One encoder for many threads: what they ask for at the same time is encoded as one batch.

There is no thread in the background. Who finds nobody at work takes the lead and encodes at once,
its own inputs and all that fit with them; who comes meanwhile waits, and then either has its
vectors or leads the next batch. Only under load does a leader wait for others to come back: for as
many as the last batch left behind, at most `max_wait_ms`, and no longer than that batch took.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder, Vectors, check_inputs
from retrieval.errors import BusyError, CrossfindError, ModelError, UsageError
from retrieval.types import Modality, Payload, Space


@dataclass(eq=False, slots=True)
class _Request:
    """What one thread asks for; `woken` says that it is served, or that it shall lead."""

    inputs: Sequence[Payload]
    modality: Modality
    space: Space
    vectors: Vectors | None = None
    error: CrossfindError | None = None
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def is_served(self) -> bool:
        return self.vectors is not None or self.error is not None

    def goes_with(self, other: _Request) -> bool:
        return self.modality == other.modality and self.space == other.space


class MicroBatchEncoder(Encoder):
    """Encode with another encoder, the requests of many threads in common batches.

    It stands wherever an Encoder stands. One thread at a time runs the model; the vectors are the
    encoder's own, to the last bit if its rows do not depend on what else is in a batch. A request
    that fails does so alone: the others of its batch are encoded again without it.

    Args:
        encoder: does the work; closed with this one.
        max_batch: the most inputs of a batch, at least 1; one request of more goes alone.
        max_wait_ms: the longest that a batch waits for company, only under load.
        max_waiting: the most requests that may wait, at least 1.

    Attributes:
        n_batches, n_inputs: batches run and inputs encoded so far.

    Raises:
        UsageError: a limit below its least value.

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> shared = MicroBatchEncoder(FakeEncoder())
        >>> shared.encode(["red", "a blue thing"], modality="text").shape
        (2, 64)
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_batch: int = 32,
        max_wait_ms: float = 2.0,
        max_waiting: int = 256,
    ) -> None:
        if max_batch < 1 or max_waiting < 1 or max_wait_ms < 0:
            raise UsageError(
                f"max_batch is {max_batch}, max_waiting {max_waiting}, max_wait_ms {max_wait_ms}; "
                "they must be at least 1, 1 and 0"
            )
        self.n_batches = self.n_inputs = 0
        self.name, self.spaces, self.media = encoder.name, encoder.spaces, encoder.media
        self.batch_size = encoder.batch_size  # the same dict: it grows when a model finds a GPU
        self._encoder = encoder
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._max_wait_s = max_wait_ms / 1000
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: deque[_Request] = deque()
        self._leader: _Request | None = None
        # Of the last batch: when it ended, how long it took, how many requests it left behind.
        self._ended_s = self._took_s = 0.0
        self._n_expected = 1

    def space_for(self, query: Modality, item: Modality) -> Space:
        """Name the Space as the encoder does."""
        return self._encoder.space_for(query, item)

    def encode(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space | None = None
    ) -> Vectors:
        """Encode inputs of one modality, perhaps together with those of other threads.

        Args:
            inputs, modality, space: see `Encoder.encode`.

        Returns:
            float32 [N, D], unit length, as `Encoder.encode` gives them.

        Raises:
            ModelError, InputError: see `Encoder.encode`.
            BusyError: `max_waiting` requests wait already (`busy`).
        """
        target = self._target(modality, space=space)
        check_inputs(inputs, modality=modality)
        if not inputs:
            return np.zeros((0, target.dim), np.float32)
        request = _Request(inputs, modality, target)
        self._join(request)
        try:
            request.woken.wait()
            if not request.is_served:
                self._lead(request)
        finally:
            self._leave(request)
        if request.vectors is None:
            raise request.error or _lost(self.name)
        return request.vectors

    def _join(self, request: _Request) -> None:
        """Queue a request; it leads if nobody does."""
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise BusyError(
                    f"{len(self._waiting)} requests wait for model {self.name}, the most allowed; "
                    "ask again in a moment"
                )
            self._waiting.append(request)
            if self._leader is None:
                self._leader = request
                request.woken.set()
            else:
                self._arrived.notify()

    def _lead(self, leader: _Request) -> None:
        """Encode the leader's request and those that go with it."""
        batch = self._gather(leader)
        started_s = time.monotonic()
        try:
            self._serve(batch)
        finally:
            with self._lock:
                self._ended_s = time.monotonic()
                self._took_s = self._ended_s - started_s
                self._n_expected = len(batch) + len(self._waiting)
            for request in batch:
                if not request.is_served:  # an error that is not ours: the leader raises it
                    request.error = _lost(self.name)
                request.woken.set()

    def _gather(self, leader: _Request) -> list[_Request]:
        """Take what goes with the leader out of the queue, oldest first, once it is worth it."""
        with self._lock:
            now_s = time.monotonic()
            loaded = now_s - self._ended_s <= self._max_wait_s
            until_s = now_s + min(self._max_wait_s, self._took_s) if loaded else now_s
            n_wanted = min(self._n_expected, self._max_batch)
            while len(self._waiting) < n_wanted and (left_s := until_s - time.monotonic()) > 0:
                self._arrived.wait(left_s)
            batch, n_inputs = [leader], len(leader.inputs)
            for request in self._waiting:
                fits = n_inputs + len(request.inputs) <= self._max_batch
                if request is not leader and fits and request.goes_with(leader):
                    batch.append(request)
                    n_inputs += len(request.inputs)
            self._waiting = deque(r for r in self._waiting if r not in batch)
            return batch

    def _serve(self, batch: Sequence[_Request]) -> None:
        """Encode the requests as one batch; if that fails, each alone."""
        flat = [value for request in batch for value in request.inputs]
        first = batch[0]
        self.n_batches += 1
        self.n_inputs += len(flat)
        try:
            vectors = self._encoder.encode(flat, modality=first.modality, space=first.space)
        except CrossfindError as error:
            if len(batch) == 1:
                first.error = error
                return
            for request in batch:
                self._serve([request])
            return
        start = 0
        for request in batch:
            request.vectors = vectors[start : start + len(request.inputs)]
            start += len(request.inputs)

    def _leave(self, request: _Request) -> None:
        """Pass the lead on; an interrupted thread's request leaves the queue."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            if self._leader is request:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.woken.set()

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> npt.NDArray[np.float32]:
        return self.encode(inputs, modality=modality, space=space)

    def close(self) -> None:
        """Close the encoder."""
        self._encoder.close()


def _lost(name: str) -> ModelError:
    return ModelError(
        f"model {name} failed on another request of the same batch; ask again", code="encode_failed"
    )
