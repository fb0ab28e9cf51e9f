"""Heads on top of frozen vectors, and the two label-space ways to a text space.

DeViSE (Frome et al. 2013) learns a map from a classifier's features to the vectors of class names;
ConSE (arXiv 1312.5650) needs no learning: it mixes the names' vectors by the classifier's own
probabilities. Both are pieces to build recipes from.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.encoders.model_file import HeadSpec
from retrieval.errors import InputError
from retrieval.training.losses import Scale

__all__ = [
    "Head",
    "HeadsModel",
    "conse",
    "devise_pairs",
    "fuse",
]


class Head(nn.Module):
    """Map frozen vectors into the space that is being learnt; see `HeadSpec` for the kinds.

    It starts where the base already is: a linear head as the identity (cut or padded when the dims
    differ), a residual one with a last layer of zeros. So step 0 is the model to be beaten. Only a
    blend starts beside it: its share of the base is there from the start.

    Args:
        spec: how it is built.
        dropout: share of hidden values dropped in training; not part of the saved head.
        share: of the learnt vector, for a blend.

    Example:
        >>> head = Head(HeadSpec("residual", dim_in=3, dim_out=3, dim_hidden=8))
        >>> torch.equal(head(torch.eye(3)), torch.eye(3))
        True
    """

    def __init__(self, spec: HeadSpec, *, dropout: float = 0.0, share: float = 0.7) -> None:
        super().__init__()
        if spec.kind == "residual" and spec.dim_in != spec.dim_out:
            raise InputError(
                f"a residual head from {spec.dim_in} to {spec.dim_out} dims cannot add its input; "
                "use mlp or linear"
            )
        self.spec = spec
        self.dropout = nn.Dropout(dropout)
        dim_last = spec.dim_in if spec.kind == "linear" else spec.dim_hidden
        if spec.kind != "linear":
            self.first = nn.Linear(spec.shapes()["first.weight"][1], spec.dim_hidden)
        self.last = nn.Linear(dim_last, spec.dim_out)
        with torch.no_grad():
            if spec.kind == "linear":
                self.last.weight.copy_(torch.eye(spec.dim_out, spec.dim_in))
            if spec.kind in ("linear", "residual"):
                self.last.bias.zero_()
            if spec.kind == "residual":
                self.last.weight.zero_()
        if spec.kind == "blend":
            self.register_buffer("share", torch.tensor([share]))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map float [N, dim_in] to float [N, dim_out], any length."""
        hidden = vectors
        if self.spec.kind == "blend":
            features = vectors[:, self.spec.dim_out :]
            rooted = functional.normalize(features.sign() * features.abs().sqrt(), dim=1)
            hidden = rooted * features.shape[1] ** 0.5
        if self.spec.kind != "linear":
            # The tanh form: the one that `encoders.trained` repeats in numpy.
            hidden = functional.gelu(self.first(hidden), approximate="tanh")
        out: Tensor = self.last(self.dropout(hidden))
        if self.spec.kind == "blend":
            share, learnt = self.get_buffer("share"), functional.normalize(out, dim=1)
            return (1 - share) * vectors[:, : self.spec.dim_out] + share * learnt
        return vectors + out if self.spec.kind == "residual" else out


class HeadsModel(nn.Module):
    """Hold a head per role and a scale per pair type.

    Args:
        heads: role -> how its head is built; a role without one keeps its vectors.
        pairs: pair types that will be trained, each with a scale of its own, since every pair of
            modalities has its own spread of cosines.
        initial, bias: see `Scale`.
        dropout: see `Head`.

    Example:
        >>> model = HeadsModel({"image": HeadSpec("linear", dim_in=2, dim_out=2)},
        ...                    pairs=[("image", "text")])
        >>> model.encode(torch.tensor([[3.0, 4.0]]), role="image").tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    def __init__(
        self,
        heads: Mapping[str, HeadSpec],
        *,
        pairs: list[tuple[str, str]],
        initial: float = 1 / 0.07,
        bias: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({r: Head(spec, dropout=dropout) for r, spec in heads.items()})
        self.scales = nn.ModuleDict({"-".join(p): Scale(initial=initial, bias=bias) for p in pairs})

    def encode(self, vectors: Tensor, *, role: str) -> Tensor:
        """Map float [N, dim_in] of one role to unit vectors [N, dim_out]."""
        mapped = self.heads[role](vectors) if role in self.heads else vectors
        return functional.normalize(mapped, dim=1)

    def scale(self, pair: tuple[str, str]) -> nn.Module:
        """Return the scale of a pair type."""
        return self.scales["-".join(pair)]

    def head_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copy the heads' weights, named as a model file names them: `role.tensor`."""
        return {
            f"{role}.{name}": value.detach().float().cpu().numpy().copy()
            for role, head in self.heads.items()
            for name, value in head.state_dict().items()
        }


def conse(probabilities: Tensor, *, names: Tensor, n_top: int = 10) -> Tensor:
    """Place an input by its most probable classes (ConSE, arXiv 1312.5650, equation 2).

    norm(sum over the n_top best classes of p(class) * name(class)).

    Args:
        probabilities: [N, C], >= 0.
        names: [C, D], unit length: the vectors of the class names.
        n_top: how many classes count; all if larger than C.

    Returns:
        [N, D], unit length.

    Example:
        >>> conse(torch.tensor([[0.6, 0.1, 0.3]]), names=torch.eye(3), n_top=1).tolist()
        [[1.0, 0.0, 0.0]]
    """
    best, classes = probabilities.topk(min(n_top, probabilities.shape[1]), dim=1)
    return functional.normalize((best[:, :, None] * names[classes]).sum(dim=1), dim=1)


def fuse(learnt: Tensor, *, label_space: Tensor, share: float | Tensor) -> Tensor:
    """Mix a learnt vector with a label-space one: norm((1 - share) learnt + share label_space).

    Args:
        learnt, label_space: [N, D], unit length.
        share: weight of the label space in [0, 1], one number or [N]: it may depend on how
            confident the classifier is.

    Returns:
        [N, D], unit length.

    Example:
        >>> fuse(torch.eye(2), label_space=torch.eye(2).flip(0), share=torch.tensor([0.0, 1.0]))
        tensor([[1., 0.],
                [1., 0.]])
    """
    weight = torch.as_tensor(share, dtype=learnt.dtype, device=learnt.device).reshape(-1, 1)
    return functional.normalize((1 - weight) * learnt + weight * label_space, dim=1)


def devise_pairs(
    features: Tensor,
    *,
    targets: Tensor,
    prototypes: Tensor,
    names: Tensor,
    share: float = 0.5,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Add DeViSE prototypes to a batch: classifier weight vectors paired with their class names.

    A classifier's weight vector is what the trunk would ideally see of its class: a free training
    pair for every class, brought to the mean length of the batch's features.

    Args:
        features: [N, F], trunk features of the batch.
        targets: [N, D], their text vectors.
        prototypes: [C, F], the classifier's weights.
        names: [C, D], vectors of the class names.
        share: prototypes' share of the returned batch, in [0, 1).
        generator: chooses the classes, without replacement while they last.

    Returns:
        Features [N + M, F] and targets [N + M, D], M = round(N * share / (1 - share)), at most C.

    Example:
        >>> both = devise_pairs(torch.ones(2, 3), targets=torch.eye(2), prototypes=torch.eye(3),
        ...                     names=torch.ones(3, 2), share=0.5)
        >>> both[0].shape, both[1].shape
        (torch.Size([4, 3]), torch.Size([4, 2]))
    """
    n_prototypes = min(round(len(features) * share / (1 - share)), len(prototypes))
    chosen = torch.randperm(len(prototypes), generator=generator)[:n_prototypes]
    length = features.norm(dim=1).mean()
    drawn = functional.normalize(prototypes[chosen.to(prototypes.device)], dim=1) * length
    return torch.cat([features, drawn]), torch.cat([targets, names[chosen.to(names.device)]])
