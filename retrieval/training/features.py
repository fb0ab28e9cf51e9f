"""Pairs to frozen vectors: each content is encoded once and kept, so that training is quick."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index.storage import hash_file
from retrieval.encoders.base import Encoder, TrunkEncoder
from retrieval.errors import BadMediaError, StorageError, UsageError
from retrieval.media import Found, find_file
from retrieval.training.cache import VectorCache
from retrieval.training.pairs import Pair
from retrieval.types import Failure, Modality, Outcome, Payload, Space

__all__ = ["SIDES", "Features", "LoadsMany", "encode_pairs"]

SIDES: tuple[Modality, ...] = ("image", "audio", "text")

Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]

# Vectors kept on disk at a time: what a stopped run loses at most.
_BLOCK = 512


class LoadsMany(Protocol):
    """What decodes files; `media.Loader` does."""

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        """Load files in the order given."""


@dataclass(frozen=True)
class Features:
    """Frozen vectors of N rows.

    Attributes:
        vectors: modality -> float32 [N, D], unit length; zero where absent.
        present: modality -> bool [N].
        groups: modality -> int64 [N]; equal content has equal groups (texts but for case and white
            space); absent rows have groups of one, below 0.
        failures: files that could not be used.
        n_encoded: contents that had to be encoded now, the others came from the cache.
        trunks: modality -> float32 [N, F], features of the base's trunk, any length; only of those
            modalities whose heads may stand on them.
    """

    vectors: dict[Modality, Vectors]
    present: dict[Modality, Mask]
    groups: dict[Modality, Ids]
    failures: tuple[Failure, ...]
    n_encoded: int
    trunks: dict[Modality, Vectors] = field(default_factory=dict)

    def head_inputs(self, side: Modality, *, rows: Ids) -> Vectors:
        """Give what a head gets, float32 [R, D], or [R, D + F] where there is a trunk."""
        vectors = self.vectors[side][rows]
        if side not in self.trunks:
            return vectors
        return np.concatenate([vectors, self.trunks[side][rows]], axis=1)

    @property
    def fingerprint(self) -> str:
        """Identify the data: vectors, trunks, presence and groups."""
        digest = hashlib.sha256()
        for side in SIDES:
            for table in (self.vectors, self.present, self.groups):
                digest.update(np.ascontiguousarray(table[side]).tobytes())
            if side in self.trunks:
                digest.update(np.ascontiguousarray(self.trunks[side]).tobytes())
        return digest.hexdigest()


def encode_pairs(
    pairs: Sequence[Pair],
    *,
    encoder: Encoder,
    space: Space,
    loader: LoadsMany,
    cache: Path,
    with_trunk: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Encode every content of the pairs once, or take it from the cache.

    A sound of several windows is the mean of their vectors: a pair is about the whole of it.

    Args:
        pairs: the rows.
        encoder: gives the vectors.
        space: the Space they lie in; sides it does not hold count as absent.
        loader: decodes files.
        cache: folder of the vector caches.
        with_trunk: keep the features of the base's trunk too, for the modalities that have one.
        on_progress: called with contents done and in all, of those that must be encoded.

    Returns:
        One row per pair; a side whose file failed is absent.

    Raises:
        ModelError: see `Encoder.encode`.
        StorageError: the cache cannot be written.
    """
    failures: dict[str, Failure] = {}
    keys = {side: _keys(pairs, side=side, failures=failures) for side in SIDES}
    trunked = encoder if with_trunk and isinstance(encoder, TrunkEncoder) else None
    dims_trunk = {} if trunked is None else dict(trunked.trunk_dims)
    kept = {side: _kept_space(space, dim_trunk=dims_trunk.get(side, 0)) for side in SIDES}
    caches = {
        side: VectorCache(cache, space=kept[side], modality=side)
        for side in SIDES
        if side in space.modalities
    }
    missing = {side: caches[side].missing(k for k in keys[side] if k) for side in caches}
    n_missing = sum(map(len, missing.values()))
    progress = _Progress(on_progress, n_missing)
    for side, vectors in caches.items():
        inputs = _inputs(pairs, keys=keys[side], wanted=missing[side], side=side, loader=loader,
                         failures=failures)  # fmt: skip
        _encode(inputs, encoder=encoder, space=space, side=side, cache=vectors,
                trunked=trunked if side in dims_trunk else None, progress=progress,
                failures=failures)  # fmt: skip
    sides = {s: _table(keys[s], cache=caches.get(s), dim=kept[s].dim) for s in SIDES}
    return Features(
        vectors={side: table[0][:, : space.dim] for side, table in sides.items()},
        present={side: table[1] for side, table in sides.items()},
        groups={side: _groups(keys[side], there=table[1]) for side, table in sides.items()},
        failures=tuple(failures.values()),
        n_encoded=progress.n_done,
        trunks={side: sides[side][0][:, space.dim :] for side in dims_trunk if side in caches},
    )


def _kept_space(space: Space, *, dim_trunk: int) -> Space:
    """Name what the cache keeps: a Space's vectors, or they with the trunk's features behind."""
    if dim_trunk == 0:
        return space
    told = f"{space.fingerprint} with its trunk, {dim_trunk}"
    fingerprint = hashlib.sha256(told.encode()).hexdigest()
    return replace(space, dim=space.dim + dim_trunk, fingerprint=fingerprint)


def _keys(
    pairs: Sequence[Pair], *, side: Modality, failures: dict[str, Failure]
) -> list[str | None]:
    """Compute the content hash of each row's side; None where it has none or cannot be read."""
    if side == "text":
        return [None if p.text is None else _text_key(p.text) for p in pairs]
    by_path: dict[Path, str | None] = {}
    for path in (_file(p, side) for p in pairs):
        if path is None or path in by_path:
            continue
        try:
            by_path[path] = hash_file(path)
        except StorageError as error:
            by_path[path] = None
            failures[str(path)] = Failure(str(path), "unreadable", str(error))
    return [None if (path := _file(p, side)) is None else by_path[path] for p in pairs]


def _text_key(text: str) -> str:
    return hashlib.sha256(text.casefold().encode("utf-8", "replace")).hexdigest()


def _file(pair: Pair, side: Modality) -> Path | None:
    return pair.image if side == "image" else pair.audio


def _inputs(
    pairs: Sequence[Pair],
    *,
    keys: Sequence[str | None],
    wanted: Sequence[str],
    side: Modality,
    loader: LoadsMany,
    failures: dict[str, Failure],
) -> Iterator[tuple[str, str, list[Payload]]]:
    """Yield key, path and payloads of each content that must be encoded."""
    first = {key: pair for key, pair in zip(reversed(keys), reversed(pairs), strict=True) if key}
    if side == "text":
        for key in wanted:
            yield key, first[key].id, [first[key].text or ""]
        return
    found_files: dict[str, str] = {}

    def jobs() -> Iterator[Found]:
        for key in wanted:
            path = _file(first[key], side)
            try:
                found = find_file(path or Path())
            except (UsageError, BadMediaError) as error:
                failures[str(path)] = Failure(str(path), error.code, str(error))
                continue
            found_files[found.path] = key
            yield found

    for found, outcome in loader.load_many(jobs()):
        if isinstance(outcome, Failure):
            failures[found.path] = outcome
            continue
        payloads = [p.payload for p in outcome.parts if p.modality == side and not p.caption]
        if not payloads:
            reason = f"{found.path} holds no {side}; give a file that does"
            failures[found.path] = Failure(found.path, "wrong_modality", reason)
            continue
        yield found_files[found.path], found.path, payloads


def _encode(
    inputs: Iterator[tuple[str, str, list[Payload]]],
    *,
    encoder: Encoder,
    space: Space,
    side: Modality,
    cache: VectorCache,
    trunked: TrunkEncoder | None,
    progress: _Progress,
    failures: dict[str, Failure],
) -> None:
    """Encode contents by batches and put them into the cache by blocks."""
    batch_size = max(1, encoder.batch_size.get(side, 32))
    block: dict[str, Vectors] = {}
    for batch in _batches(inputs, n_payloads=batch_size):
        flat = [payload for _, _, payloads in batch for payload in payloads]
        rows = _encode_rows(flat, encoder=encoder, space=space, side=side, trunked=trunked)
        start = 0
        for key, path, payloads in batch:
            mean = rows[start : start + len(payloads)].mean(axis=0)
            start += len(payloads)
            norm = float(np.linalg.norm(mean[: space.dim]))
            if norm == 0:
                reason = f"model {encoder.name} could not place {path}; leave it out"
                failures[path] = Failure(path, "non_finite_vector", reason)
            else:
                mean[: space.dim] /= norm
                block[key] = np.asarray(mean, dtype=np.float32)
        progress.add(len(batch))
        if len(block) >= _BLOCK:
            cache.add(block)
            block = {}
    cache.add(block)


def _encode_rows(
    payloads: Sequence[Payload],
    *,
    encoder: Encoder,
    space: Space,
    side: Modality,
    trunked: TrunkEncoder | None,
) -> Vectors:
    """Encode payloads: float32 [N, D], or [N, D + F] with the trunk's features behind."""
    if trunked is None:
        return encoder.encode(payloads, modality=side, space=space)
    both = trunked.encode_with_trunk(payloads, modality=side, space=space)
    return np.concatenate(both, axis=1)


def _batches(
    inputs: Iterator[tuple[str, str, list[Payload]]], *, n_payloads: int
) -> Iterator[list[tuple[str, str, list[Payload]]]]:
    batch: list[tuple[str, str, list[Payload]]] = []
    n = 0
    for entry in inputs:
        batch.append(entry)
        n += len(entry[2])
        if n >= n_payloads:
            yield batch
            batch, n = [], 0
    if batch:
        yield batch


def _table(
    keys: Sequence[str | None], *, cache: VectorCache | None, dim: int
) -> tuple[Vectors, Mask]:
    vectors = np.zeros((len(keys), dim), dtype=np.float32)
    there = np.zeros(len(keys), dtype=np.bool_)
    for row, key in enumerate(keys):
        if cache is not None and key is not None and key in cache:
            vectors[row], there[row] = cache.get(key), True
    return vectors, there


def _groups(keys: Sequence[str | None], *, there: Mask) -> Ids:
    numbers: dict[str | None, int] = {}
    return np.array(
        [
            numbers.setdefault(key, len(numbers)) if there[row] else -1 - row
            for row, key in enumerate(keys)
        ],
        dtype=np.int64,
    )


class _Progress:
    """Count what was encoded and tell the caller."""

    def __init__(self, tell: Callable[[int, int], None] | None, n_total: int) -> None:
        self.n_done = 0
        self._tell = tell
        self._n_total = n_total

    def add(self, n: int) -> None:
        self.n_done += n
        if self._tell is not None:
            self._tell(self.n_done, self._n_total)
