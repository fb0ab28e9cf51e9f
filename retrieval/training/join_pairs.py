"""Judging a bridge by paired sounds, and training it on with them where there are enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from retrieval.encoders.joined_file import JoinedFile
from retrieval.training.bridge import batches, head_tensors, recall_at, unit
from retrieval.training.features import Features
from retrieval.training.heads import Head
from retrieval.training.losses import Scale, over_pairs, positives_from, siglip
from retrieval.training.split import Split, split_rows

__all__ = ["PAIRS_MIN", "PairedRows", "judge_pairs", "paired_rows", "train_on_pairs"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PAIRS_MIN = 500
"""With fewer pairs to train on, the bridge stays as texts alone made it."""

_KS = (1, 10)


@dataclass(frozen=True)
class PairedRows:
    """Rows with a sound and something it belongs to.

    Attributes:
        sounds, captions: in the audio model's space, float32 [N, A]; captions zero where absent.
        texts, images: in the image model's space, float32 [N, I]; zero where absent.
        has_text, has_image: bool [N].
        sound_groups, text_groups, image_groups: int64 [N]; equal contents have equal groups.
        split: of the rows; equal sounds and pictures stay together.
    """

    sounds: Vectors
    captions: Vectors
    texts: Vectors
    images: Vectors
    has_text: Mask
    has_image: Mask
    sound_groups: Ids
    text_groups: Ids
    image_groups: Ids
    split: Split


def paired_rows(of_audio: Features, *, of_image: Features, seed: int) -> PairedRows:
    """Line up what two models made of the same pairs.

    Args:
        of_audio: the audio model's vectors of the pairs.
        of_image: the image model's vectors of the same pairs.
        seed: of the split.

    Returns:
        The rows that have a sound and a text or picture.

    Raises:
        UsageError: too few of them (`too_few_pairs`).
    """
    has_text = of_audio.present["text"] & of_image.present["text"]
    has_image = of_image.present["image"]
    rows = np.flatnonzero(of_audio.present["audio"] & (has_text | has_image))
    groups = [of_audio.groups["audio"][rows], of_image.groups["image"][rows]]
    return PairedRows(
        sounds=of_audio.vectors["audio"][rows],
        captions=of_audio.vectors["text"][rows],
        texts=of_image.vectors["text"][rows],
        images=of_image.vectors["image"][rows],
        has_text=has_text[rows],
        has_image=has_image[rows],
        sound_groups=groups[0],
        text_groups=of_image.groups["text"][rows],
        image_groups=groups[1],
        split=split_rows(groups, seed=seed),
    )


def judge_pairs(pairs: PairedRows, *, joined: JoinedFile | None) -> dict[str, float]:
    """Measure recall of sounds on the held-out pairs.

    Args:
        pairs: the rows.
        joined: the bridge; None judges the audio model by itself, which knows no pictures.

    Returns:
        `audio_text_r1`, `audio_image_r10` and so on, each with its `..._chance`; of both
        directions the mean. A pair type without held-out rows is left out.
    """
    rows = pairs.split.test
    out: dict[str, float] = {}
    kinds = {"text": (pairs.has_text, pairs.text_groups), "image": (pairs.has_image,
             pairs.image_groups)}  # fmt: skip
    for kind, (present, groups) in kinds.items():
        kept = rows[present[rows]]
        if len(kept) < 2 or (joined is None and kind == "image"):
            continue
        if joined is None:
            sounds, items = pairs.sounds[kept], pairs.captions[kept]
        else:
            sounds = unit(joined.bridge(pairs.sounds[kept], sounds=True))
            items = (pairs.texts if kind == "text" else pairs.images)[kept]
        n_items = len(np.unique(groups[kept]))
        for k in _KS:
            there = recall_at(sounds, items=items, k=k, groups=groups[kept])
            back = recall_at(items, items=sounds, k=k, groups=pairs.sound_groups[kept])
            out[f"audio_{kind}_r{k}"] = (there + back) / 2
            out[f"audio_{kind}_r{k}_chance"] = min(1.0, k / n_items)
    return out


def train_on_pairs(
    joined: JoinedFile, *, pairs: PairedRows, seed: int, n_epochs: int = 40, batch_size: int = 256
) -> JoinedFile:
    """Train the whole bridge on with the masked multi-positive SigLIP loss.

    Sounds through the bridge are the anchors; the image model's texts and pictures, which stay as
    they are, the targets. Rows that lack one count only for the other.

    Args:
        joined: the bridge that texts alone made.
        pairs: the rows; its validation rows choose the epoch.
        seed, n_epochs, batch_size: of the training.

    Returns:
        The bridge of the best epoch, which may be the one given.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = _BridgeModule(joined)
    scales = nn.ModuleDict({kind: Scale(initial=10.0, bias=-10.0) for kind in ("text", "image")})
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *scales.parameters()], lr=1e-3, weight_decay=1e-2
    )
    best, best_score = joined, _validation(joined, pairs)
    for _ in range(n_epochs):
        model.train(True)
        for picked in batches(len(pairs.split.train), size=batch_size, generator=generator):
            loss = _loss(model, scales, pairs, rows=pairs.split.train[picked.numpy()])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        model.train(False)
        trained = model.file(joined)
        score = _validation(trained, pairs)
        if score > best_score:
            best, best_score = trained, score
    return best


class _BridgeModule(nn.Module):
    """`JoinedFile.bridge` for sounds, in torch."""

    def __init__(self, joined: JoinedFile) -> None:
        super().__init__()
        dim_audio, dim_image = joined.dims
        tensors = {name: torch.from_numpy(value.copy()) for name, value in joined.tensors.items()}
        self.shift = nn.Parameter(tensors["shift"])
        self.map = nn.Linear(dim_audio, dim_image)
        self.head = Head(joined.residual) if joined.dim_hidden else None
        with torch.no_grad():
            self.map.weight.copy_(tensors["weight"])
            self.map.bias.copy_(tensors["bias"])
            if self.head is not None:
                self.head.load_state_dict(
                    {name: tensors[name] for name in joined.residual.shapes()}
                )

    def forward(self, sounds: Tensor) -> Tensor:
        """Map sounds [N, A] to unit vectors [N, I]."""
        normal = nn.functional.normalize
        placed = normal(self.map(normal(sounds + self.shift, dim=1)), dim=1)
        return placed if self.head is None else normal(self.head(placed), dim=1)

    def file(self, joined: JoinedFile) -> JoinedFile:
        """Copy the weights into a joined file."""
        tensors = {
            "shift": _array(self.shift),
            "weight": _array(self.map.weight),
            "bias": _array(self.map.bias),
        }
        if self.head is not None:
            tensors |= head_tensors(self.head)
        return replace(joined, tensors=tensors)


def _loss(model: nn.Module, scales: nn.ModuleDict, pairs: PairedRows, *, rows: Ids) -> Tensor:
    def tensor(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[rows]))

    groups = {"audio": tensor(pairs.sound_groups), "text": tensor(pairs.text_groups),
              "image": tensor(pairs.image_groups)}  # fmt: skip

    def pair_loss(anchors: Tensor, targets: Tensor, kept: Tensor, pair: tuple[str, str]) -> Tensor:
        right = positives_from(groups[pair[0]][kept]) | positives_from(groups[pair[1]][kept])
        return siglip(anchors, targets=targets, scale=scales[pair[1]], positives=right)

    vectors: Mapping[str, Tensor] = {
        "audio": model(tensor(pairs.sounds)),
        "text": tensor(pairs.texts),
        "image": tensor(pairs.images),
    }
    there = {"audio": torch.ones(len(rows), dtype=torch.bool),
             "text": tensor(pairs.has_text), "image": tensor(pairs.has_image)}  # fmt: skip
    return over_pairs(
        vectors, present=there, weights={("audio", "text"): 1.0, ("audio", "image"): 1.0},
        pair_loss=pair_loss,
    )  # fmt: skip


def _validation(joined: JoinedFile, pairs: PairedRows) -> float:
    """The figure an epoch is chosen by: mean recall at 1 and 10 over the pair types."""
    split = replace(pairs.split, test=pairs.split.validation)
    judged = judge_pairs(replace(pairs, split=split), joined=joined)
    figures = [value for name, value in judged.items() if not name.endswith("chance")]
    return float(np.mean(figures)) if figures else 0.0


def _array(value: Tensor) -> Vectors:
    return value.detach().numpy().astype(np.float32).copy()
