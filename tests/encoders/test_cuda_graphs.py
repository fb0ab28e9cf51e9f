"""Small batches by recordings: padded, shared by threads, given up where recording fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tiny_models
import torch
from torch import Tensor

from retrieval.encoders.clip import ClipEncoder
from retrieval.encoders.cuda_graphs import MOST_INPUTS, SmallBatches, record_cuda
from retrieval.encoders.model_folder import open_model_folder
from retrieval.encoders.torch_run import TorchOptions

Tower = Callable[[Tensor], Tensor]


def _tower(inputs: Tensor) -> Tensor:
    return inputs.float() @ torch.arange(12.0).reshape(4, 3)


class Static:
    """What a CUDA graph does, on the CPU: reads and writes the tensors it was recorded with."""

    made: ClassVar[list[int]] = []

    def __init__(self, tower: Tower, inputs: Tensor) -> None:
        self.inputs = inputs.clone()
        self.outputs = tower(inputs)
        self._tower = tower
        self.made.append(len(inputs))

    def replay(self) -> None:
        self.outputs.copy_(self._tower(self.inputs))


def test_every_size_gives_the_towers_rows_by_recordings_of_powers_of_two() -> None:
    Static.made = []
    fast = SmallBatches(_tower, record=Static, name="m")
    generator = torch.Generator().manual_seed(0)
    for n in (1, 3, 2, 5, 8, 31, 32, 33, 4, 3, 0):
        inputs = torch.randn(n, 4, generator=generator)
        assert torch.equal(fast(inputs), _tower(inputs))
    assert Static.made == [1, 4, 2, 8, 32]
    assert MOST_INPUTS == 32


def test_other_shapes_and_types_are_recorded_apart() -> None:
    Static.made = []
    fast = SmallBatches(lambda x: x.float().sum(dim=1, keepdim=True), record=Static, name="m")
    for inputs in (torch.ones(2, 4), torch.ones(2, 5), torch.ones(2, 4, dtype=torch.long)):
        assert fast(inputs).tolist() == [[inputs.shape[1]]] * 2
    assert Static.made == [2, 2, 2]


def test_an_answer_is_the_callers_own() -> None:
    fast = SmallBatches(_tower, record=Static, name="m")
    first = fast(torch.ones(2, 4))
    kept = first.clone()
    fast(torch.zeros(2, 4))
    assert torch.equal(first, kept)


def test_threads_may_share_a_tower() -> None:
    fast = SmallBatches(_tower, record=Static, name="m")
    inputs = [torch.full((1 + n % 4, 4), float(n)) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(fast, inputs))
    assert all(torch.equal(m, _tower(i)) for m, i in zip(made, inputs, strict=True))


def test_a_tower_that_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def refuse(_tower: Tower, inputs: Tensor) -> Static:
        tries.append(len(inputs))
        raise RuntimeError("operation not permitted when stream is capturing")

    fast = SmallBatches(_tower, record=refuse, name="m")
    for _ in range(2):
        assert torch.equal(fast(torch.ones(3, 4)), _tower(torch.ones(3, 4)))
    assert tries == [4]
    assert "runs without CUDA graphs" in caplog.text


def test_memory_that_runs_out_is_not_taken_for_that() -> None:
    def full(_tower: Tower, _inputs: Tensor) -> Static:
        raise torch.OutOfMemoryError

    fast = SmallBatches(_tower, record=full, name="m")
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            fast(torch.ones(3, 4))


@pytest.mark.gpu
def test_a_model_gives_the_same_vectors_with_graphs_as_without(tmp_path: Path) -> None:
    tiny_models.make_clip(tmp_path)
    folder = open_model_folder(tiny_models.CLIP_NAME, models_dir=tmp_path)
    plain, fast = (
        ClipEncoder(folder, options=TorchOptions(device="cuda", precision="fp32", graphs=graphs))
        for graphs in (False, True)
    )
    generator = np.random.default_rng(0)
    for n in (1, 2, 3, 7, 32, 33, 5):
        pictures = list(generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8))
        texts = [f"a photo of thing {generator.integers(1000)}" for _ in range(n)]
        for inputs, modality in ((pictures, "image"), (texts, "text")):
            one, two = (e.encode(inputs, modality=modality) for e in (plain, fast))  # type: ignore[arg-type]
            np.testing.assert_allclose(one, two, atol=2e-5)


@pytest.mark.gpu
def test_cuda_records_what_it_can_and_names_what_it_cannot() -> None:
    weight = torch.randn(4, 3, device="cuda")
    fast = SmallBatches(lambda x: x @ weight, record=record_cuda, name="m")
    with torch.inference_mode():
        for n in (1, 5, 5, 32):
            inputs = torch.randn(n, 4, device="cuda")
            torch.testing.assert_close(fast(inputs), inputs @ weight)
        asks = SmallBatches(lambda x: x * x.sum().item(), record=record_cuda, name="m")
        inputs = torch.ones(2, 4, device="cuda")
        torch.testing.assert_close(asks(inputs), inputs * 8)
