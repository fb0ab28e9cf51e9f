"""What the torch adapters share: device, precision, batches that fit, texts that fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval.config import Settings
from retrieval.encoders.cuda_graphs import SmallBatches, record_cuda
from retrieval.errors import BackendMissingError, ModelError

_log = logging.getLogger(__name__)

T = TypeVar("T")
Floats = npt.NDArray[np.float32]

# Convolutional towers gain from channels-last memory; transformers have one or two convolutions.
_MANY_CONVOLUTIONS = 8


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """How a model runs.

    Attributes:
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (bf16 or fp16 on CUDA, fp32 on a CPU), `fp32`, `bf16` or `fp16`.
        compile: compile the towers with torch.compile; 24-40 s at the first call.
        threads: CPU threads; 0 leaves torch's own number.
        graphs: replay CUDA graphs for batches of at most 32; without effect elsewhere.
    """

    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    threads: int = 0
    graphs: bool = True

    @classmethod
    def from_settings(cls, settings: Settings, *, threads: int) -> TorchOptions:
        """Read the options from the settings."""
        return cls(
            device=settings.device,
            precision=settings.precision,
            compile=settings.compile,
            threads=threads,
        )


class TorchHost:
    """A torch module on its device, in its precision.

    Args:
        module: in float32 on the CPU; it is moved.
        options: how it runs.

    Raises:
        ModelError: weights that are not finite (`model_self_test_failed`), a device or precision
            that does not exist (`bad_device`).
    """

    def __init__(self, module: Any, *, options: TorchOptions, name: str) -> None:  # Any: nn.Module
        import torch

        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ModelError(
                    f"model {name} holds values that are not finite in {key}; fetch it again",
                    code="model_self_test_failed",
                )
        self.device = _device(options.device)
        self.dtype = dtype_of(options.precision, device=self.device)
        if options.threads and self.device.type == "cpu":
            torch.set_num_threads(options.threads)
        n_convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in module.modules())
        self.channels_last = n_convolutions >= _MANY_CONVOLUTIONS
        layout = {"memory_format": torch.channels_last} if self.channels_last else {}
        self.module = module.requires_grad_(False).to(self.device, self.dtype, **layout)
        self.module.train(False)
        self._compile, self._graphs = options.compile, options.graphs
        self._name = name

    def tower(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Make a tower's function as quick as it gets: compiled where asked, else replayed on CUDA.

        Args:
            function: tensor [N, ...] -> tensor [N, D], every N of one shape.
        """
        import torch

        if self._compile:
            compiled: Callable[[Any], Any] = torch.compile(function, dynamic=True)
            return compiled
        if self.device.type == "cuda" and self._graphs:
            return SmallBatches(function, record=record_cuda, name=self._name)
        return function

    def pictures(
        self, inputs: Sequence[Any], *, mean: Sequence[float], std: Sequence[float]
    ) -> Any:
        """Bring pictures to the device as bytes and normalise them there.

        Args:
            inputs: uint8 [S, S, 3].
            mean, std: of the channels, of values in [0, 1].

        Returns:
            Tensor [N, 3, S, S] of the model's dtype on its device.
        """
        import torch

        pixels = torch.from_numpy(np.stack(inputs))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        values = pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)
        shape = (1, 3, 1, 1)
        values = values.sub_(torch.tensor(mean, device=self.device).view(shape))
        values = values.div_(torch.tensor(std, device=self.device).view(shape))
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return values.to(self.dtype).contiguous(memory_format=layout)


def to_numpy(tensor: Any) -> Floats:
    """Normalise rows on the device and bring them back as float32 [N, D]."""
    import torch

    unit = torch.nn.functional.normalize(tensor.float(), dim=-1)
    return np.asarray(unit.cpu().numpy(), dtype=np.float32)


def halving(inputs: Sequence[T], *, run: Callable[[Sequence[T]], Floats], name: str) -> Floats:
    """Run a batch; where memory does not hold it, run its halves.

    Args:
        inputs: at least one.
        run: gives float32 [N, D] for N inputs.
        name: of the model, for the message.

    Returns:
        float32 [N, D].

    Raises:
        ModelError: one input alone does not fit (`out_of_memory`).

    Example:
        >>> halving([1, 2], run=lambda batch: np.ones((len(batch), 1), np.float32), name="m").shape
        (2, 1)
    """
    import torch

    try:
        return run(inputs)
    except torch.OutOfMemoryError as error:
        if len(inputs) == 1:
            raise ModelError(
                f"one input of model {name} does not fit into the device's memory; close other "
                "programs on it, or set CROSSFIND_DEVICE=cpu",
                code="out_of_memory",
            ) from error
    # Outside the handler: the exception would keep the failed batch's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(inputs) // 2
    _log.warning("model %s: %d inputs did not fit; trying %d", name, len(inputs), middle)
    halves = (inputs[:middle], inputs[middle:])
    return np.concatenate([halving(half, run=run, name=name) for half in halves])


def split_text(text: str, *, count: Callable[[str], int], limit: int) -> list[str]:
    """Cut a text into pieces that a model reads whole.

    Args:
        text: any length.
        count: number of tokens of a text, without the marks of beginning and end.
        limit: the most tokens of a piece, at least 1.

    Returns:
        At least one piece; halves at word borders, or inside a word that is too long alone.

    Example:
        >>> split_text("a b c d e", count=lambda t: len(t.split()), limit=2)
        ['a b', 'c', 'd e']
    """
    # No tokenizer makes more tokens than there are bytes: short texts need no counting.
    if len(text.encode("utf-8", "replace")) <= limit or count(text) <= limit or len(text) < 2:
        return [text]
    words = text.split()
    if len(words) > 1:
        middle = len(words) // 2
        halves = [" ".join(words[:middle]), " ".join(words[middle:])]
    else:
        halves = [text[: len(text) // 2], text[len(text) // 2 :]]
    return [piece for half in halves for piece in split_text(half, count=count, limit=limit)]


def pooled(vectors: Floats, *, counts: Sequence[int]) -> Floats:
    """Average the unit vectors of each input's pieces.

    Args:
        vectors: float32 [sum(counts), D].
        counts: pieces of each input, at least 1.

    Returns:
        float32 [len(counts), D].

    Example:
        >>> pooled(np.eye(3, dtype=np.float32), counts=[1, 2]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    """
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    sums = np.add.reduceat(vectors, starts, axis=0)
    return np.asarray(sums / np.asarray(counts, dtype=np.float32)[:, None], dtype=np.float32)


def need(package: str, *, extra: str, reason: str) -> BackendMissingError:
    """Word the error for an optional package that is absent."""
    return BackendMissingError(f"{reason} needs {package}: pip install 'crossfind[{extra}]'")


def _device(name: str) -> Any:
    import torch

    wanted = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ModelError(f"device is {name!r}; use auto, cpu or cuda", code="bad_device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device is {name!r} and torch sees no GPU; use auto or cpu",
                         code="bad_device")  # fmt: skip
    return device


def dtype_of(precision: str, *, device: Any) -> Any:  # Any: torch.device, torch.dtype
    """Name the dtype that a precision means on a device.

    Args:
        precision: see `TorchOptions`.
        device: a torch.device.

    Raises:
        ModelError: no such precision (`bad_device`).

    Example:
        >>> import torch
        >>> dtype_of("auto", device=torch.device("cpu")), dtype_of("bf16", device="cpu")
        (torch.float32, torch.bfloat16)
    """
    import torch

    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision not in known:
        raise ModelError(f"precision is {precision!r}; use auto, fp32, bf16 or fp16",
                         code="bad_device")  # fmt: skip
    return known[precision]
