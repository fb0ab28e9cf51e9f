"""A small world in which heads have something to learn, for the tests of training."""

from __future__ import annotations

import torch
from torch import Tensor

from retrieval.encoders.model_file import HeadSpec
from retrieval.training.heads import HeadsModel
from retrieval.training.objective import Loss, PairsObjective

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
