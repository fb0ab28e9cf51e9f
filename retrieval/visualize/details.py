"""What the plots of an analysis show: places, distributions of cosines, hubs by name."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from retrieval.contents import Contents
from retrieval.visualize.analyze import group_items, hub_counts, pair_cosines, sample_rows
from retrieval.visualize.project import principal_plane

__all__ = ["Details", "Hub", "look_closer"]

Vectors = npt.NDArray[np.float32]
Shares = tuple[float, ...]

KINDS = ("image", "audio", "text")
N_BINS = 40
_MAX_DOTS = 600
_MAX_PAIRS = 1200
_K = 10
_MAX_HUBS = 8


@dataclass(frozen=True, slots=True)
class Hub:
    """An item that is near to many others.

    Attributes:
        path: its path.
        modality: of its vectors.
        n_times: how often it is among the 10 nearest of others of its modality.
    """

    path: str
    modality: str
    n_times: int


@dataclass(frozen=True)
class Details:
    """Figures behind the plots.

    Attributes:
        places: modality -> float32 [N, 2], items in the plane of the principal components of all.
        kept: share of the variance the plane keeps.
        cosines: `image`, `image-text`, .. -> share of pairs of different items in each of 40 bins
            over [-1, 1].
        counts: modality -> int64 [N], how often each item is among the 10 nearest of another.
        hubs: the items with the highest counts, most first; none named in a sample.
        likeness: `image-text` -> float32 [M, 2]: of two items that own both, the cosine within the
            one modality and within the other.
    """

    places: dict[str, Vectors]
    kept: float
    cosines: dict[str, Shares]
    counts: dict[str, npt.NDArray[np.int64]]
    hubs: tuple[Hub, ...]
    likeness: dict[str, Vectors]


def look_closer(contents: Contents, *, seed: int = 0) -> Details:
    """Gather what the plots show; of large modalities a sample of 4,000 items.

    Args:
        contents: of the store, with three parts or more.
        seed: of the samples.
    """
    rng = np.random.default_rng(seed)
    groups = {kind: group_items(contents, kind) for kind in KINDS}
    groups = {kind: own for kind, own in groups.items() if own}
    rows = {kind: sample_rows(np.stack(list(own.values())), rng) for kind, own in groups.items()}
    counts = {
        kind: hub_counts(own, k=min(_K, len(own) - 1)) for kind, own in rows.items() if len(own) > 1
    }
    whole = all(len(own) == len(rows[kind]) for kind, own in groups.items())
    places, kept = _places(rows, rng)
    return Details(
        places=places,
        kept=kept,
        cosines=_cosines(rows),
        counts=counts,
        hubs=_hubs(contents, groups, counts) if whole else (),
        likeness={f"{a}-{b}": pairs for a, b, pairs in _likeness(groups, rng)},
    )


def _places(rows: dict[str, Vectors], rng: np.random.Generator) -> tuple[dict[str, Vectors], float]:
    few = {
        kind: own[np.sort(rng.choice(len(own), min(len(own), _MAX_DOTS), replace=False))]
        for kind, own in rows.items()
    }
    points, kept = principal_plane(np.concatenate(list(few.values())))
    ends = np.cumsum([len(own) for own in few.values()])[:-1]
    return dict(zip(few, np.split(points, ends), strict=True)), kept


def _cosines(rows: dict[str, Vectors]) -> dict[str, Shares]:
    found = {kind: pair_cosines(own) for kind, own in rows.items() if len(own) > 1}
    for a, b in combinations(rows, 2):
        found[f"{a}-{b}"] = (rows[a] @ rows[b].T).ravel().astype(np.float64)
    out = {}
    for name, values in found.items():
        binned, _ = np.histogram(np.clip(values, -1, 1), bins=N_BINS, range=(-1, 1))
        out[name] = tuple((binned / max(1, len(values))).tolist())
    return out


def _hubs(
    contents: Contents,
    groups: dict[str, dict[int, Vectors]],
    counts: dict[str, npt.NDArray[np.int64]],
) -> tuple[Hub, ...]:
    found = [
        Hub(contents.items[item_id].path, kind, int(n))
        for kind, own in counts.items()
        for item_id, n in zip(groups[kind], own, strict=True)
    ]
    return tuple(sorted(found, key=lambda hub: (-hub.n_times, hub.path))[:_MAX_HUBS])


def _likeness(
    groups: dict[str, dict[int, Vectors]], rng: np.random.Generator
) -> list[tuple[str, str, Vectors]]:
    out = []
    for a, b in combinations(groups, 2):
        both = sorted(set(groups[a]) & set(groups[b]))[:1000]
        if len(both) < 3:
            continue
        left = pair_cosines(np.stack([groups[a][i] for i in both]))
        right = pair_cosines(np.stack([groups[b][i] for i in both]))
        pairs = np.stack([left, right], axis=1).astype(np.float32)
        chosen = np.sort(rng.choice(len(pairs), min(len(pairs), _MAX_PAIRS), replace=False))
        out.append((a, b, pairs[chosen]))
    return out
