"""A small world in which heads have something to learn, for the tests of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import HeadSpec
from retrieval.errors import BadMediaError
from retrieval.media import Found, load_file
from retrieval.training.heads import HeadsModel
from retrieval.training.objective import Loss, PairsObjective
from retrieval.training.pairs import Pair
from retrieval.training.starter import efficientnet
from retrieval.types import Failure, MediaSpec, Modality, Outcome, Payload, Space

DIM = 16
PAIRS = {("image", "text"): 1.0, ("audio", "text"): 0.5}


def make_objective(
    n: int = 96, *, loss: Loss = "infonce", seed: int = 0, dims: tuple[int, ...] = ()
) -> PairsObjective:
    """Texts are random directions; pictures and sounds are turned and noisy copies of them."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        raw = torch.randn(*shape, generator=generator)
        return raw / raw.norm(dim=-1, keepdim=True)

    text = unit(n, DIM)
    text[1] = text[0]  # the same caption twice
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))[0]
    image = text @ turn + 0.05 * unit(n, DIM)
    audio = text @ turn.T + 0.05 * unit(n, DIM)
    numbers = torch.arange(n)
    groups = numbers.clone()
    groups[1] = 0
    return PairsObjective(
        features={"image": image, "audio": audio, "text": text},
        present={
            "image": numbers % 4 != 3,
            "audio": numbers % 3 == 0,
            "text": torch.ones(n, dtype=torch.bool),
        },
        groups={"image": numbers, "audio": numbers, "text": groups},
        weights=PAIRS,
        loss=loss,
        dims=dims,
    )


def make_model(*, seed: int = 0, dropout: float = 0.1, loss: Loss = "infonce") -> HeadsModel:
    """Heads for pictures and sounds; texts stay where they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = HeadSpec("residual", dim_in=DIM, dim_out=DIM, dim_hidden=32)
        initial, bias = (10.0, -10.0) if loss == "siglip" else (1 / 0.07, None)
        return HeadsModel(
            {"image": spec, "audio": spec},
            pairs=list(PAIRS),
            initial=initial,
            bias=bias,
            dropout=dropout,
        )


@torch.no_grad()
def share_of_first_ranks(model: HeadsModel, objective: PairsObjective) -> float:
    """Share of pictures whose own caption comes first, by brute force."""
    rows = torch.nonzero(objective.present["image"]).squeeze(1)
    images = model.encode(objective.features["image"][rows], role="image")
    texts = model.encode(objective.features["text"][rows], role="text")
    best = rows[(images @ texts.T).argmax(dim=1)]
    right = objective.groups["text"][best] == objective.groups["text"][rows]
    return right.double().mean().item()


class TurnedEncoder(Encoder):
    """A base model with a fault that heads can mend: pictures lie turned away from their texts.

    A text is twelve numbers, a picture four blocks of three; both are that point, but the
    picture's is turned by a fixed rotation.
    """

    def __init__(self) -> None:
        self.name = "turned"
        self.spaces = (Space("turned", "turned", "ab" * 32, 12, ("image", "text")),)
        self.media = MediaSpec(image_size_px=8)
        self.batch_size = {"image": 7, "text": 50}
        raw = np.random.default_rng(0).standard_normal((12, 12))
        self._turn = np.linalg.qr(raw)[0]

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002
    ) -> npt.NDArray[np.float32]:
        if modality == "text":
            numbers = np.array([[float(n) for n in str(text).split()] for text in inputs])
            return (numbers - 128).astype(np.float32)
        blocks = np.stack([np.asarray(pixels)[::4, ::4].reshape(12) for pixels in inputs])
        return ((blocks - 128.0) @ self._turn.T).astype(np.float32)


def write_turned_pairs(folder: Path, n: int, *, shuffled: bool = False) -> list[Pair]:
    """Write pictures for `TurnedEncoder` with their texts, or with somebody else's."""
    generator = np.random.default_rng(5)
    numbers = generator.integers(0, 256, size=(n, 2, 2, 3), dtype=np.uint8)
    texts = [" ".join(map(str, row.reshape(12))) for row in numbers]
    if shuffled:
        texts = texts[1:] + texts[:1]
    pairs = []
    for row, text in enumerate(texts):
        path = folder / f"{row:03}.png"
        Image.fromarray(numbers[row].repeat(4, axis=0).repeat(4, axis=1)).save(path)
        pairs.append(Pair(str(row), image=path, text=text))
    return pairs


class DirectLoader:
    """Load in this process, counting: the real decoders without the children's start."""

    def __init__(self, spec: MediaSpec) -> None:
        self.spec = spec
        self.paths: list[str] = []

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        for found in jobs:
            self.paths.append(found.path)
            try:
                yield found, load_file(found, spec=self.spec)
            except BadMediaError as error:
                yield found, Failure(found.path, error.code, str(error))


def write_lite2(path: Path, *, n_classes: int) -> None:
    """Write a state dict of chance with the published names and shapes of EfficientNet-Lite2."""
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}

    def add(conv: str, norm: str, out: int, into: int, kernel: int) -> None:
        made[f"{conv}.weight"] = (
            torch.randn(out, into, kernel, kernel, generator=generator)
            * (2 / (into * kernel * kernel)) ** 0.5
        )
        for name in ("weight", "running_var"):
            made[f"{norm}.{name}"] = torch.ones(out)
        for name in ("bias", "running_mean"):
            made[f"{norm}.{name}"] = torch.zeros(out)

    add("_conv_stem", "_bn0", 32, 3, 3)
    number, width = 0, 32
    widths = (16, 24, 48, 88, 120, 208, 352)
    for (expand, kernel, _, _, repeats), out in zip(efficientnet._STAGES, widths, strict=True):
        n = repeats if out in (16, 352) else ceil(1.2 * repeats)
        for _ in range(n):
            block, inner = f"_blocks.{number}", width * expand
            if expand != 1:
                add(f"{block}._expand_conv", f"{block}._bn0", inner, width, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", out, inner, 1)
            width, number = out, number + 1
    add("_conv_head", "_bn1", 1280, 352, 1)
    made["_fc.weight"] = torch.randn(n_classes, 1280, generator=generator)
    made["_fc.bias"] = torch.zeros(n_classes)
    save_file(made, path)
