"""Fitting the bridge from an audio model's space to an image model's, with text in both.

Ridge regression in closed form: with X, Y the centred text vectors of the two models,

    W = Y^T X (X^T X + lambda n I)^-1,   b = mean(y) - W mean(x)

then, if it helps, a residual head trained with InfoNCE + (1 - cos) + relations on noisy inputs.
The noise has the size of what sounds differ from their texts by, so the head does not break when a
sound comes instead (the idea of C-MCR, arXiv 2305.14381, and of LinCIR, arXiv 2312.01998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from retrieval.encoders.model_file import HeadSpec
from retrieval.training.heads import Head
from retrieval.training.losses import Scale, distil_relations, distil_vectors, infonce

__all__ = ["Bridge", "FitOptions", "fit_bridge", "recall_at", "ridge", "unit"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_LAMBDAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a bridge is fitted.

    Attributes:
        dim_hidden: width of the residual head; 0 for ridge alone.
        n_epochs, batch_size, learning_rate: of the residual head.
        noise: length of the noise added to a unit text vector; about sqrt(2 - 2 cos) of a sound and
            its text.
        seed: of everything.
    """

    dim_hidden: int = 512
    n_epochs: int = 6
    batch_size: int = 512
    learning_rate: float = 1e-3
    noise: float = 0.5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Bridge:
    """A fitted bridge; `tensors` as `JoinedFile` wants them, without `shift`.

    Attributes:
        tensors: `weight` [I, A], `bias` [I], and the residual head's where it helped.
        dim_hidden: 0 where the head did not help.
        ridge_lambda: the chosen one.
    """

    tensors: dict[str, Vectors]
    dim_hidden: int
    ridge_lambda: float


def fit_bridge(
    sources: Vectors, *, targets: Vectors, validation: Ids, options: FitOptions
) -> Bridge:
    """Fit a bridge on texts in both spaces.

    Args:
        sources: float32 [N, A], texts in the audio model's space, unit length.
        targets: float32 [N, I], the same texts in the image model's space.
        validation: int64 rows that choose lambda and whether the head stays; never fitted on.
        options: how.

    Returns:
        The bridge with the best recall on the validation rows.
    """
    fitted = np.setdiff1d(np.arange(len(sources)), validation)
    x, y, judge_x, judge_y = (
        sources[fitted], targets[fitted], sources[validation], targets[validation])  # fmt: skip
    best: tuple[float, float, Vectors, Vectors] | None = None
    for strength in _LAMBDAS:
        weight, bias = ridge(x, targets=y, strength=strength)
        score = recall_at(unit(judge_x @ weight.T + bias), items=judge_y, k=1)
        if best is None or score > best[0]:
            best = (score, strength, weight, bias)
    assert best is not None
    score, strength, weight, bias = best
    tensors = {"weight": weight, "bias": bias}
    if options.dim_hidden:
        head = _fit_residual(x, y, weight=weight, bias=bias, options=options)
        with torch.no_grad():
            placed = torch.from_numpy(unit(judge_x @ weight.T + bias))
            improved = recall_at(unit(head(placed).numpy()), items=judge_y, k=1)
        if improved > score:
            return Bridge(tensors | head_tensors(head), options.dim_hidden, strength)
    return Bridge(tensors, 0, strength)


def ridge(sources: Vectors, *, targets: Vectors, strength: float) -> tuple[Vectors, Vectors]:
    """Solve ridge regression with an unpenalised intercept in closed form.

    Args:
        sources: float32 [N, A].
        targets: float32 [N, I].
        strength: lambda, relative to N.

    Returns:
        weight float32 [I, A] and bias float32 [I]: targets ~ sources @ weight.T + bias.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
        >>> weight, bias = ridge(x, targets=2 * x + 1, strength=1e-9)
        >>> weight.round(3).diagonal().tolist(), bias.round(3).tolist()
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    """
    x, y = sources.astype(np.float64), targets.astype(np.float64)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x + strength * len(x) * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ y).T
    return weight.astype(np.float32), (mean_y - weight @ mean_x).astype(np.float32)


def recall_at(queries: Vectors, *, items: Vectors, k: int, groups: Ids | None = None) -> float:
    """Measure how often a query finds its own item, or one of its group, among the first k.

    Args:
        queries: float32 [N, D], unit length; row i belongs to item i.
        items: float32 [N, D].
        k: at least 1.
        groups: int64 [N]; items of one group are equally right, and count as one item.

    Returns:
        Share in [0, 1]; ties count against the query.

    Example:
        >>> recall_at(np.eye(3), items=np.eye(3)[[0, 2, 1]], k=1).__round__(3)
        0.333
    """
    numbers = np.arange(len(items)) if groups is None else groups
    kept = np.unique(numbers, return_index=True)[1]
    n_right = 0
    for start in range(0, len(queries), 1024):
        scores = queries[start : start + 1024] @ items[kept].T
        own = numbers[start : start + 1024, None] == numbers[kept][None, :]
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        n_before = ((scores >= best) & ~own).sum(axis=1)
        n_right += int((n_before < k).sum())
    return n_right / max(1, len(queries))


def unit(vectors: Vectors) -> Vectors:
    """Scale rows to length one; rows of zeros stay. float32 [N, D]."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)


def head_tensors(head: Head) -> dict[str, Vectors]:
    """Copy a head's weights under the names that a file gives them."""
    return {
        name: value.detach().numpy().astype(np.float32).copy()
        for name, value in head.state_dict().items()
    }


def batches(n_rows: int, *, size: int, generator: torch.Generator) -> Sequence[torch.Tensor]:
    """Cut shuffled row numbers into batches; a last one of fewer than 2 rows is left out."""
    order = torch.randperm(n_rows, generator=generator)
    cut = [order[start : start + size] for start in range(0, n_rows, size)]
    return [rows for rows in cut if len(rows) > 1]


def _fit_residual(
    sources: Vectors, targets: Vectors, *, weight: Vectors, bias: Vectors, options: FitOptions
) -> Head:
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    dim = targets.shape[1]
    head = Head(HeadSpec("residual", dim_in=dim, dim_out=dim, dim_hidden=options.dim_hidden))
    scale = Scale()
    optimizer = torch.optim.AdamW(
        [*head.parameters(), *scale.parameters()], lr=options.learning_rate, weight_decay=1e-2
    )
    x, y = torch.from_numpy(sources), torch.from_numpy(targets)
    w, b = torch.from_numpy(weight), torch.from_numpy(bias)
    normal = nn.functional.normalize
    for _ in range(options.n_epochs):
        for rows in batches(len(x), size=options.batch_size, generator=generator):
            noise = torch.randn(x[rows].shape, generator=generator)
            noise *= options.noise / x.shape[1] ** 0.5
            placed = normal(normal(x[rows] + noise, dim=1) @ w.T + b, dim=1)
            out = normal(head(placed), dim=1)
            loss = infonce(out, targets=y[rows], scale=scale)
            loss = loss + distil_vectors(out, teachers=y[rows])
            loss = loss + distil_relations(out, teachers=y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return head.train(False)
