"""What a step of head training minimises: pairs of frozen features, whatever each row has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from retrieval.training.guides import Guide
from retrieval.training.heads import HeadsModel
from retrieval.training.losses import gap_penalty, infonce, matryoshka, over_pairs, siglip

__all__ = ["HARD", "Loss", "PairsObjective"]

Loss = Literal["infonce", "siglip"]

HARD = "hard"
"""Role under which the hard negatives of the first pair type travel."""


@dataclass
class PairsObjective:
    """Frozen features of N rows and the loss over their pairs.

    Attributes:
        features: role -> float32 [N, F], anything finite where absent.
        present: role -> bool [N].
        groups: role -> int64 [N]; rows of equal group hold the same thing (the same caption, the
            same picture), so each answers the other's partner; absent rows have groups of one.
        weights: pair type (anchor role, target role) -> weight.
        loss: `infonce` or `siglip`.
        dims: Matryoshka prefixes, the full dim included; empty for the full vector only.
        gap_weight: weight of the gap penalty of each pair.
        guides: teachers, whose losses are added.
        hard: int64 [N, H], rows whose target is hard for this row's anchor (first pair type), or
            None.
    """

    features: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    groups: Mapping[str, Tensor]
    weights: Mapping[tuple[str, str], float]
    loss: Loss = "infonce"
    dims: Sequence[int] = ()
    gap_weight: float = 0.0
    guides: Sequence[Guide] = ()
    hard: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Rows there are."""
        return len(next(iter(self.present.values())))

    @property
    def first_pair(self) -> tuple[str, str]:
        """The pair type that hard negatives are mined for."""
        return next(iter(self.weights))

    @property
    def fingerprint(self) -> str:
        """Digest what the rows and the teachers say."""
        digest = hashlib.sha256()
        for table in (self.features, self.present, self.groups):
            for role in sorted(table):
                digest.update(table[role].cpu().numpy().tobytes())
        for guide in self.guides:
            digest.update(guide.fingerprint.encode())
        return digest.hexdigest()

    def to(self, device: torch.device) -> PairsObjective:
        """Copy it with every tensor on a device."""
        return replace(
            self,
            features={r: t.to(device) for r, t in self.features.items()},
            present={r: t.to(device) for r, t in self.present.items()},
            groups={r: t.to(device) for r, t in self.groups.items()},
            guides=[guide.to(device) for guide in self.guides],
            hard=None if self.hard is None else self.hard.to(device),
        )

    def vectors(self, model: HeadsModel, *, rows: Tensor) -> dict[str, Tensor]:
        """Encode rows: role -> unit vectors [n, D], and [n * H, D] of their hard negatives."""
        out = {role: model.encode(f[rows], role=role) for role, f in self.features.items()}
        if self.hard is not None:
            role = self.first_pair[1]
            out[HARD] = model.encode(self.features[role][self.hard[rows].flatten()], role=role)
        return out

    def value(self, model: HeadsModel, *, vectors: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Compute the loss of a batch from the vectors of all its rows; a scalar."""

        def pair_loss(
            anchors: Tensor, targets: Tensor, positions: Tensor, pair: tuple[str, str]
        ) -> Tensor:
            columns, candidates = rows[positions], targets
            if HARD in vectors and self.hard is not None and pair == self.first_pair:
                # Only the rows that have this pair bring their hard negatives along.
                per_row = vectors[HARD].reshape(len(rows), -1, targets.shape[1])[positions]
                candidates = torch.cat([targets, per_row.flatten(0, 1)])
                columns = torch.cat([columns, self.hard[rows[positions]].flatten()])
            right = self.right(pair, rows=rows[positions], columns=columns)
            loss = self._contrast(
                model, pair=pair, anchors=anchors, targets=candidates, right=right
            )
            return loss + self.gap_weight * gap_penalty(anchors, targets=targets)

        contrast = over_pairs(
            {role: v for role, v in vectors.items() if role != HARD},
            present={role: mask[rows] for role, mask in self.present.items()},
            weights=self.weights,
            pair_loss=pair_loss,
        )
        taught = [guide.value(vectors[guide.role], rows=rows) for guide in self.guides]
        return torch.stack([contrast, *taught]).sum()

    def right(self, pair: tuple[str, str], *, rows: Tensor, columns: Tensor) -> Tensor:
        """Mark right answers: rows' anchors [N] against columns' targets [M]; bool [N, M]."""
        return self.right_among(pair, rows=rows, columns=columns[None, :])

    def right_among(self, pair: tuple[str, str], *, rows: Tensor, columns: Tensor) -> Tensor:
        """Mark right answers of rows [N] among columns of their own [N, M]; bool [N, M]."""
        by_anchor, by_target = self.groups[pair[0]], self.groups[pair[1]]
        same_anchor = by_anchor[rows][:, None] == by_anchor[columns]
        return same_anchor | (by_target[rows][:, None] == by_target[columns])

    def _contrast(
        self,
        model: HeadsModel,
        *,
        pair: tuple[str, str],
        anchors: Tensor,
        targets: Tensor,
        right: Tensor,
    ) -> Tensor:
        scale, n = model.scale(pair), len(anchors)

        def once(a: Tensor, t: Tensor) -> Tensor:
            if self.loss == "siglip":
                return siglip(a, targets=t, scale=scale, positives=right)
            return infonce(a, targets=t[:n], hard_targets=t[n:], scale=scale, positives=right)

        if not self.dims:
            return once(anchors, targets)
        return matryoshka(anchors, targets=targets, dims=self.dims, pair_loss=once)
