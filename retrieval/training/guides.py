"""What else may pull a vector than its pairs: a teacher's vectors, relations or probabilities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from retrieval.training.losses import distil_probabilities, distil_relations, distil_vectors

__all__ = ["Guide", "label_probabilities"]

# Scale of cosines to labels before the softmax: a plain CLIP ends at 100 and begins at 14; at 20
# a teacher still says which labels come second.
_LABEL_SCALE = 20.0


@dataclass(frozen=True)
class Guide:
    """A teacher of one role.

    - `vectors`: mean of 1 - cosine to the teacher's vectors, which lie in the space that is learnt.
    - `relations`: mean squared difference of the rows' cosines among each other; any space.
    - `probabilities`: divergence from the teacher's probabilities of labels.

    Attributes:
        role: whose vectors are pulled.
        form: see above.
        weight: of it in the loss.
        teacher: float32 [N, E], unit length, or [N, C] probabilities; zeros: that row has none.
        labels: vectors of the labels in the space that is learnt, [C, D], unit length; only for
            `probabilities`.

    Example:
        >>> guide = Guide("image", "vectors", 0.5, torch.eye(3))
        >>> guide.value(torch.eye(3)[[1, 0]], rows=torch.tensor([1, 0])).item()
        0.0
    """

    role: str
    form: Literal["vectors", "relations", "probabilities"]
    weight: float
    teacher: Tensor
    labels: Tensor | None = None

    def to(self, device: torch.device) -> Guide:
        """Copy it to a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, teacher=self.teacher.to(device), labels=labels)

    def extended(self, n_rows: int) -> Guide:
        """Copy it with further rows that have no teacher."""
        rows = self.teacher.new_zeros(n_rows, self.teacher.shape[1])
        return replace(self, teacher=torch.cat([self.teacher, rows]))

    def value(self, vectors: Tensor, *, rows: Tensor) -> Tensor:
        """Compute the weighted loss of a batch.

        Args:
            vectors: [n, D], unit length.
            rows: int64 [n], which rows of the data they are.

        Returns:
            Scalar; 0 where no row, or for relations only one, has a teacher.
        """
        teachers = self.teacher[rows]
        taught = teachers.abs().sum(dim=1) > 0
        students, teachers = vectors[taught], teachers[taught]
        if len(students) < (2 if self.form == "relations" else 1):
            return vectors.sum() * 0.0
        if self.form == "vectors":
            loss = distil_vectors(students, teachers=teachers)
        elif self.form == "relations":
            loss = distil_relations(students, teachers=teachers)
        else:
            assert self.labels is not None
            logits = _LABEL_SCALE * students @ self.labels.T
            loss = distil_probabilities(logits, teacher=teachers)
        return self.weight * loss

    @property
    def fingerprint(self) -> str:
        """Digest what it teaches: a resumed training must have the same."""
        digest = hashlib.sha256(f"{self.role} {self.form} {self.weight}".encode())
        for tensor in (self.teacher, self.labels):
            digest.update(b"" if tensor is None else tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def label_probabilities(vectors: Tensor, *, labels: Tensor) -> Tensor:
    """Ask a teacher which label each row is: softmax(20 cosine).

    Args:
        vectors: [N, E], unit length; rows of zeros stay zero.
        labels: [C, E], the teacher's vectors of the labels, unit length.

    Returns:
        [N, C], rows sum to 1 or are zero.

    Example:
        >>> label_probabilities(torch.eye(2), labels=torch.eye(2)).round(decimals=3).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    there = vectors.abs().sum(dim=1, keepdim=True) > 0
    return torch.softmax(_LABEL_SCALE * vectors @ labels.T, dim=1) * there
