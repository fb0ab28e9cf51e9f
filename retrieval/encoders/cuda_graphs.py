"""CUDA graphs for small batches: a query's kernels are launched as one, not one by one.

A tower launches hundreds of kernels; for a few inputs the launches take longer than the kernels.
`torch.cuda.graphs` records them once per batch size and replays them (PyTorch documentation, "CUDA
Graphs"). Sizes are powers of two up to 32; what lies between is padded with copies of a row.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger(__name__)

MOST_INPUTS = 32
"""Larger batches keep the device busy by themselves."""

Tower = Callable[[Any], Any]
"""Tensor [N, ...] -> tensor [N, D]. Any: torch's tensors."""


class Recording(Protocol):
    """A tower recorded for inputs of one shape."""

    inputs: Any
    """Tensor that the kernels read."""
    outputs: Any
    """Tensor that they write."""

    def replay(self) -> None:
        """Run the kernels on what `inputs` holds now."""


class SmallBatches:
    """A tower that replays recordings for batches of at most 32, for several threads.

    A tower that cannot be recorded (it asks the device for a value on the way) runs as it is.

    Args:
        tower: a function without state; called with other tensors of the same kind.
        record: makes a recording of it for tensors like the one given.
        name: of the model, for the log.

    Example:
        >>> import torch
        >>> twice = SmallBatches(lambda x: 2 * x, record=record_cuda, name="m")
        >>> twice(torch.ones(33, 1)).sum().item()  # too large to be recorded
        66.0
    """

    def __init__(
        self, tower: Tower, *, record: Callable[[Tower, Any], Recording], name: str
    ) -> None:
        self._tower = tower
        self._record = record
        self._name = name
        self._lock = threading.Lock()
        self._recordings: dict[tuple[object, ...], Recording] = {}
        self._works = True

    def __call__(self, inputs: Any) -> Any:
        """Run the tower.

        Args:
            inputs: tensor [N, ...].

        Returns:
            Tensor [N, D], the caller's own.
        """
        n = len(inputs)
        if not self._works or not 1 <= n <= MOST_INPUTS:
            return self._tower(inputs)
        padded = _padded(inputs)
        with self._lock:
            recording = self._recording(padded)
            if recording is None:
                return self._tower(inputs)
            recording.inputs.copy_(padded)
            recording.replay()
            return recording.outputs[:n].clone()

    def _recording(self, inputs: Any) -> Recording | None:
        import torch

        key = (tuple(inputs.shape), inputs.dtype)
        if key not in self._recordings:
            try:
                self._recordings[key] = self._record(self._tower, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                _log.warning("model %s runs without CUDA graphs: %s", self._name, error)
                self._works = False
                self._recordings.clear()
                return None
        return self._recordings[key]


def padded_size(n: int) -> int:
    """Round a batch size up to a power of two.

    Example:
        >>> [padded_size(n) for n in (1, 2, 3, 5, 32)]
        [1, 2, 4, 8, 32]
    """
    return 1 << (n - 1).bit_length()


def record_cuda(tower: Tower, inputs: Any) -> Recording:
    """Record a tower's kernels on the device.

    Args:
        tower: see `SmallBatches`.
        inputs: tensor on a CUDA device.

    Raises:
        RuntimeError: CUDA cannot record it.
    """
    import torch

    held = inputs.clone()
    # The first runs choose kernels and reserve memory, which a recording must not.
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            tower(held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = tower(held)
    return _CudaRecording(held, outputs, graph)


class _CudaRecording:
    def __init__(self, inputs: Any, outputs: Any, graph: Any) -> None:
        self.inputs, self.outputs, self._graph = inputs, outputs, graph

    def replay(self) -> None:
        self._graph.replay()


def _padded(inputs: Any) -> Any:
    """Repeat the last row up to the padded size."""
    import torch

    n_more = padded_size(len(inputs)) - len(inputs)
    return torch.cat([inputs, inputs[-1:].expand(n_more, *inputs.shape[1:])]) if n_more else inputs
