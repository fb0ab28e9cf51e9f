"""Files and texts as one model sees them, with what that cost: for comparing models."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.errors import BadMediaError, UsageError
from retrieval.media import Found, find_file
from retrieval.types import Failure, LoadedPart, Modality, Outcome, Space

__all__ = ["EncodedFiles", "Stopwatch", "encode_files", "encode_texts"]

Vectors = npt.NDArray[np.float32]

# Decoded parts that wait to be encoded together.
_BATCH = 64


class LoadsMany(Protocol):
    """What decodes files; `media.Loader` does."""

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        """Load files in the order given."""


@dataclass
class Stopwatch:
    """Seconds that encoding took, by modality; decoding is not in them."""

    seconds: dict[Modality, float] = field(default_factory=dict)
    n_inputs: dict[Modality, int] = field(default_factory=dict)

    def per_s(self) -> dict[str, float]:
        """Return inputs per second by modality."""
        return {m: round(self.n_inputs[m] / s, 3) for m, s in self.seconds.items() if s > 0}


@dataclass(frozen=True)
class EncodedFiles:
    """Vectors of the parts of files.

    Attributes:
        paths: files that could be encoded, in the order given.
        vectors: float32 [P, D], unit length; the parts of a file lie together.
        starts: int64 [F], where each file's parts begin.
        failures: files that could not be used.
    """

    paths: tuple[str, ...]
    vectors: Vectors
    starts: npt.NDArray[np.int64]
    failures: tuple[Failure, ...]

    def best(self, queries: Vectors) -> Vectors:
        """Score files by their best part: queries float32 [Q, D] -> float32 [Q, F]."""
        scores = queries @ self.vectors.T
        return np.asarray(np.maximum.reduceat(scores, self.starts, axis=1), dtype=np.float32)

    def means(self) -> Vectors:
        """Average each file's parts: float32 [F, D], unit length; how a file is a query."""
        sums = np.add.reduceat(self.vectors, self.starts, axis=0)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), dtype=np.float32)


def encode_texts(
    texts: Sequence[str], *, encoder: Encoder, space: Space, watch: Stopwatch
) -> Vectors:
    """Encode texts; float32 [N, D]."""
    return _encode([LoadedPart("text", text) for text in texts], encoder=encoder, space=space,
                   watch=watch)  # fmt: skip


def encode_files(
    paths: Sequence[str],
    *,
    encoder: Encoder,
    space: Space,
    loader: LoadsMany,
    watch: Stopwatch,
) -> EncodedFiles:
    """Load and encode files; what fails is listed and left out.

    Args:
        paths: absolute.
        encoder, space: whose vectors.
        loader: decodes in the form the encoder wants.
        watch: is told what encoding took.

    Returns:
        The vectors.

    Raises:
        UsageError: not one file could be used (`no_files`).
    """
    failures: list[Failure] = []
    done: list[tuple[str, Vectors]] = []
    for batch in _batches(paths, space=space, loader=loader, failures=failures):
        parts = [part for _, parts in batch for part in parts]
        vectors = _encode(parts, encoder=encoder, space=space, watch=watch)
        start = 0
        for path, own in batch:
            rows = vectors[start : start + len(own)]
            start += len(own)
            placed = rows[rows.any(axis=1)]
            if len(placed):
                done.append((path, placed))
            else:
                failures.append(Failure(path, "non_finite_vector", f"{path} has no vector"))
    if not done:
        raise UsageError(
            f"none of {len(paths)} files could be encoded by {encoder.name}; the first: "
            f"{failures[0].reason if failures else 'no file was named'}",
            code="no_files",
        )
    lengths = [len(rows) for _, rows in done]
    return EncodedFiles(
        paths=tuple(path for path, _ in done),
        vectors=np.concatenate([rows for _, rows in done]),
        starts=np.cumsum([0, *lengths[:-1]], dtype=np.int64),
        failures=tuple(failures),
    )


def _batches(
    paths: Sequence[str], *, space: Space, loader: LoadsMany, failures: list[Failure]
) -> Iterator[list[tuple[str, list[LoadedPart]]]]:
    def jobs() -> Iterator[Found]:
        for path in paths:
            try:
                yield find_file(Path(path))
            except (UsageError, BadMediaError) as error:
                failures.append(Failure(path, error.code, str(error)))

    batch: list[tuple[str, list[LoadedPart]]] = []
    for found, outcome in loader.load_many(jobs()):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            continue
        parts = [p for p in outcome.parts if p.modality in space.modalities and not p.caption]
        if parts:
            batch.append((found.path, parts))
        else:
            reason = f"{found.path} holds nothing that space {space.id} has vectors for"
            failures.append(Failure(found.path, "modality_not_served", reason))
        if sum(len(own) for _, own in batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _encode(
    parts: Sequence[LoadedPart], *, encoder: Encoder, space: Space, watch: Stopwatch
) -> Vectors:
    out = np.zeros((len(parts), space.dim), dtype=np.float32)
    for modality in dict.fromkeys(part.modality for part in parts):
        rows = [row for row, part in enumerate(parts) if part.modality == modality]
        start_s = time.perf_counter()
        out[rows] = encoder.encode(
            [parts[row].payload for row in rows], modality=modality, space=space
        )
        taken_s = time.perf_counter() - start_s
        watch.seconds[modality] = watch.seconds.get(modality, 0.0) + taken_s
        watch.n_inputs[modality] = watch.n_inputs.get(modality, 0) + len(rows)
    return out
