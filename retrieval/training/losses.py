"""Losses of contrastive training, named by role: anchors look for their targets.

Every function takes unit vectors [N, D] of any floating dtype and returns a scalar tensor. The
tests compare each with its slow obvious form, value and gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Scale",
    "distil_labels",
    "distil_probabilities",
    "distil_relations",
    "distil_vectors",
    "gap_penalty",
    "infonce",
    "matryoshka",
    "over_pairs",
    "positives_from",
    "siglip",
]

# CLIP never lets the scale pass 100 (arXiv 2103.00020, section 2.5): beyond it training diverges.
_MAX_LOG_SCALE = math.log(100.0)

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""Anchors [N, D] and their targets [N, D] -> scalar."""

RowsLoss = Callable[[Tensor, Tensor, Tensor, tuple[str, str]], Tensor]
"""As `PairLoss`, with the batch rows int64 [N] that the vectors came from, and the pair type."""


class Scale(nn.Module):
    """Hold the learnable temperature and bias: logits = exp(log_scale) * cosine + bias.

    Args:
        initial: scale at the start; CLIP 1 / 0.07, SigLIP 10.
        bias: at the start; SigLIP -10. None for a softmax loss, where it cancels: its gradient
            would be rounding noise, which AdamW blows up to full steps.

    Example:
        >>> scale = Scale(initial=10.0, bias=-10.0)
        >>> scale(torch.ones(1, 1)).item()
        0.0
    """

    def __init__(self, *, initial: float = 1 / 0.07, bias: float | None = None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    def forward(self, cosines: Tensor) -> Tensor:
        """Turn cosines of any shape into logits of the same shape."""
        logits = self.log_scale.clamp(max=_MAX_LOG_SCALE).exp() * cosines
        return logits if self.bias is None else logits + self.bias


def positives_from(groups: Tensor, *, others: Tensor | None = None) -> Tensor:
    """Mark which targets are right for which anchors, from the groups they belong to.

    Args:
        groups: int64 [N], group of each row seen from the anchors; rows of one group are right
            answers to each other (the same caption twice, the same picture twice).
        others: int64 [N], a second grouping that is as good (seen from the targets), or None.

    Returns:
        bool [N, N], symmetric, with a true diagonal.

    Example:
        >>> positives_from(torch.tensor([7, 8, 7])).int().tolist()
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    same = groups[:, None] == groups[None, :]
    return same if others is None else same | (others[:, None] == others[None, :])


def infonce(
    anchors: Tensor,
    *,
    targets: Tensor,
    scale: Callable[[Tensor], Tensor],
    positives: Tensor | None = None,
    hard_targets: Tensor | None = None,
) -> Tensor:
    """Compute the symmetric InfoNCE loss of CLIP (arXiv 2103.00020, figure 3).

    With l = scale(anchors @ targets.T), the mean of the cross entropies of the rows and of the
    columns of l against the diagonal. Other right answers of a row are left out of its
    denominator: a batch with two equal captions must not push their pictures apart.

    Args:
        anchors: [N, D], unit length.
        targets: [N, D], unit length; row i answers anchor i.
        scale: cosines -> logits, usually a `Scale`.
        positives: bool [N, N + M], further right answers (`positives_from`), or None.
        hard_targets: [M, D], unit length: further targets that are nobody's pair here; they only
            enlarge the denominators of the anchors.

    Returns:
        Scalar; 0 for a batch of one pair without hard targets.

    Example:
        >>> loss = infonce(torch.eye(2), targets=torch.eye(2), scale=lambda cosines: cosines)
        >>> round(loss.item(), 4)  # log(1 + exp(-1))
        0.3133
    """
    n = len(anchors)
    columns = targets if hard_targets is None else torch.cat([targets, hard_targets])
    logits = scale(anchors @ columns.T)
    if positives is not None:
        pairs = torch.eye(n, len(columns), dtype=torch.bool, device=anchors.device)
        logits = logits.masked_fill(positives & ~pairs, -torch.inf)
    right = torch.arange(n, device=anchors.device)
    back = functional.cross_entropy(logits[:, :n].T, right)
    return (functional.cross_entropy(logits, right) + back) / 2


def siglip(
    anchors: Tensor,
    *,
    targets: Tensor,
    scale: Callable[[Tensor], Tensor],
    positives: Tensor | None = None,
) -> Tensor:
    """Compute the pairwise sigmoid loss (arXiv 2303.15343, equation 1) with many right answers.

    -1/N sum_ij log sigmoid(z_ij * scale(a_i . t_j)), z_ij = 1 for right answers and -1 otherwise.

    Args:
        anchors: [N, D], unit length.
        targets: [M, D], unit length.
        scale: cosines -> logits with a bias, usually `Scale(initial=10, bias=-10)`.
        positives: bool [N, M], which targets are right; the diagonal if left out.

    Returns:
        Scalar.

    Example:
        >>> loss = siglip(torch.eye(2), targets=torch.eye(2), scale=lambda cosines: cosines)
        >>> round(loss.item(), 4)  # log(1 + exp(-1)) + log(2)
        1.0064
    """
    logits = scale(anchors @ targets.T)
    if positives is None:
        positives = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    signs = positives.to(logits.dtype) * 2 - 1
    return -functional.logsigmoid(signs * logits).sum() / len(anchors)


def over_pairs(
    vectors: Mapping[str, Tensor],
    *,
    present: Mapping[str, Tensor],
    weights: Mapping[tuple[str, str], float],
    pair_loss: RowsLoss,
) -> Tensor:
    """Average a pair loss over the pair types, each over the rows where both sides are present.

    sum_p w_p loss_p / sum_p w_p over the pair types p that at least one row of the batch has, so
    a batch poor in one modality neither divides by nothing nor shrinks its gradient.

    Args:
        vectors: role -> [N, D]; rows that are absent may hold anything finite.
        present: role -> bool [N].
        weights: (anchor role, target role) -> weight > 0.
        pair_loss: (anchors, targets, rows, pair type) -> scalar.

    Returns:
        Scalar; 0, with zero gradients, if no row has any pair.

    Example:
        >>> both = {"a": torch.eye(2), "b": torch.eye(2)}
        >>> there = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
        >>> over_pairs(both, present=there, weights={("a", "b"): 2.0},
        ...            pair_loss=lambda a, b, rows, pair: (a * b).sum()).item()
        1.0
    """
    total = torch.stack([v.sum() for v in vectors.values()]).sum() * 0.0
    weight_used = 0.0
    for (anchor_role, target_role), weight in weights.items():
        rows = torch.nonzero(present[anchor_role] & present[target_role]).squeeze(1)
        if len(rows) == 0:
            continue
        pair = (anchor_role, target_role)
        loss = pair_loss(vectors[anchor_role][rows], vectors[target_role][rows], rows, pair)
        total = total + weight * loss
        weight_used += weight
    return total / weight_used if weight_used else total


def matryoshka(
    anchors: Tensor,
    *,
    targets: Tensor,
    dims: Sequence[int],
    pair_loss: PairLoss,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Average a pair loss over prefixes of the vectors (arXiv 2205.13147, equation 1).

    Each prefix is brought to unit length again, as a search with shortened vectors would do.

    Args:
        anchors: [N, D], unit length.
        targets: [N, D], unit length.
        dims: lengths of the prefixes, each in 1..D; include D to train the full vector too.
        pair_loss: (anchors, targets) -> scalar.
        weights: one per prefix; equal if left out.

    Returns:
        Scalar, the weighted mean.

    Example:
        >>> loss = matryoshka(torch.eye(4), targets=torch.eye(4), dims=(2, 4),
        ...                   pair_loss=lambda a, b: (a * b).sum())
        >>> loss.item()  # two rows have no length in the first prefix
        3.0
    """
    shares = [1.0] * len(dims) if weights is None else list(weights)
    losses = [
        share
        * pair_loss(
            functional.normalize(anchors[:, :dim], dim=1),
            functional.normalize(targets[:, :dim], dim=1),
        )
        for dim, share in zip(dims, shares, strict=True)
    ]
    return torch.stack(losses).sum() / sum(shares)


def gap_penalty(anchors: Tensor, *, targets: Tensor) -> Tensor:
    """Measure the modality gap (arXiv 2203.02053): squared distance of the two means.

    Args:
        anchors: [N, D].
        targets: [M, D].

    Returns:
        Scalar, 0 to 4 for unit vectors.

    Example:
        >>> gap_penalty(torch.tensor([[1.0, 0.0]]), targets=torch.tensor([[0.0, 1.0]])).item()
        2.0
    """
    return (anchors.mean(dim=0) - targets.mean(dim=0)).square().sum()


def distil_vectors(students: Tensor, *, teachers: Tensor) -> Tensor:
    """Pull each student vector to its teacher's: the mean of 1 - cosine.

    Args:
        students: [N, D], any length but zero.
        teachers: [N, D], any length but zero.

    Returns:
        Scalar, 0 to 2.

    Example:
        >>> distil_vectors(torch.eye(2), teachers=3 * torch.eye(2)).item()
        0.0
    """
    return (1 - functional.cosine_similarity(students, teachers, dim=1)).mean()


def distil_relations(students: Tensor, *, teachers: Tensor) -> Tensor:
    """Make the students relate to each other as the teachers do (RKD, arXiv 1904.05068).

    Mean over i != j of (s_i . s_j - t_i . t_j)^2; the two may have different dims.

    Args:
        students: [N, D], unit length, N >= 2.
        teachers: [N, E], unit length.

    Returns:
        Scalar, 0 to 4.

    Example:
        >>> distil_relations(torch.eye(2), teachers=torch.ones(2, 1)).item()
        1.0
    """
    n = len(students)
    difference = students @ students.T - teachers @ teachers.T
    # Unit vectors: the diagonal is zero up to rounding, so it only has to leave the count.
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=students.device)
    return difference[off_diagonal].square().mean()


def distil_probabilities(logits: Tensor, *, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Match a teacher that says which ONE of C classes it is (arXiv 1503.02531).

    T^2 * mean_n KL(teacher_n || softmax(logits_n / T)).

    Args:
        logits: [N, C].
        teacher: [N, C], rows sum to 1, softened by the same temperature.
        temperature: T > 0; T^2 keeps the gradients' size when it changes.

    Returns:
        Scalar >= 0.

    Example:
        >>> distil_probabilities(torch.zeros(1, 2), teacher=torch.tensor([[0.5, 0.5]])).item()
        0.0
    """
    student = functional.log_softmax(logits / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean")


def distil_labels(logits: Tensor, *, teacher: Tensor) -> Tensor:
    """Match a teacher that scores each of C classes for itself: mean binary cross entropy.

    Args:
        logits: [N, C].
        teacher: [N, C], each value in [0, 1].

    Returns:
        Scalar >= 0.

    Example:
        >>> round(distil_labels(torch.zeros(1, 2), teacher=torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    return functional.binary_cross_entropy_with_logits(logits, teacher)
