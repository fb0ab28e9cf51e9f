"""Several models over the same queries and the same gallery: quality, size and speed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import retrieval
from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import SUFFIX, read_model_file
from retrieval.encoders.registry import canonical_name, open_encoder
from retrieval.errors import ModelError, UsageError
from retrieval.evaluation import metrics
from retrieval.evaluation.bootstrap import Interval, bootstrap
from retrieval.evaluation.encoded import (
    EncodedFiles,
    LoadsMany,
    Stopwatch,
    encode_files,
    encode_texts,
)
from retrieval.evaluation.relevance import Direction, Judgement
from retrieval.media import Loader
from retrieval.types import Failure, Modality, Payload, Space

__all__ = ["Comparison", "DirectionRow", "ModelRow", "compare", "size_of"]

Vectors = npt.NDArray[np.float32]

KS = (1, 5, 10)
_N_TIMED_QUERIES = 50


@dataclass(frozen=True, slots=True)
class DirectionRow:
    """One model in one direction.

    Attributes:
        n_queries, n_items: queries and items that the model could encode.
        metrics: name -> mean; see `metrics.summarize`.
        hit: `hit@k` -> 95 % bootstrap interval.
    """

    n_queries: int
    n_items: int
    metrics: Mapping[str, float]
    hit: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model.

    Attributes:
        name: as the user wrote it.
        size_bytes: of its weights on disk, its base included; None where that is not known.
        dim: of its first space.
        directions: `text->image` and so on; those it does not serve are absent.
        encode_per_s: modality -> inputs per second, decoding not included.
        query_ms: p50 of encoding one text and searching the largest gallery, or None.
        failures: files it could not use.
    """

    name: str
    size_bytes: int | None
    dim: int
    directions: Mapping[str, DirectionRow]
    encode_per_s: Mapping[str, float]
    query_ms: float | None
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models side by side, in the order given."""

    models: tuple[ModelRow, ...]

    def to_json(self) -> str:
        """Write it as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def compare(
    names: Sequence[str],
    *,
    judgements: Sequence[Judgement],
    threads: int = 1,
    n_workers: int = 1,
    on_model: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare models; the gallery is every item that the judgements name, searched exactly.

    Args:
        names: of the models.
        judgements: from `read_relevance`.
        threads: of the encoders.
        n_workers: decode processes.
        on_model: called with each name before its turn.

    Returns:
        The table.

    Raises:
        UsageError: no judgements (`no_queries`), or no file could be used (`no_files`).
        ModelError: a model cannot be opened.
    """
    if not judgements:
        raise UsageError("there is no query to compare with; give at least one", code="no_queries")
    rows = []
    for name in names:
        if on_model is not None:
            on_model(name)
        with (
            closing(open_encoder(name, threads=threads)) as encoder,
            Loader(spec=encoder.media, n_workers=n_workers) as loader,
        ):
            rows.append(_measure(name, encoder=encoder, loader=loader, judgements=judgements))
    return Comparison(models=tuple(rows))


def size_of(name: str) -> int | None:
    """Add up the bytes of a model's weights on disk; None where they are not ours to know.

    Example:
        >>> size_of("fake") is None
        True
    """
    if name == "starter":
        folder = Path(retrieval.__file__).parent / "weights"
        return sum(p.stat().st_size for p in folder.iterdir() if p.is_file()) or None
    if name.endswith(SUFFIX):
        path = Path(canonical_name(name))
        base = size_of(read_model_file(path).base)
        return path.stat().st_size + (base or 0)
    return None


def _measure(
    name: str, *, encoder: Encoder, loader: LoadsMany, judgements: Sequence[Judgement]
) -> ModelRow:
    _warm(encoder)
    watch = Stopwatch()
    by_direction: dict[Direction, list[Judgement]] = {}
    for judgement in judgements:
        by_direction.setdefault(judgement.direction, []).append(judgement)
    bench = _Bench(encoder, loader=loader, watch=watch, judgements=judgements)
    directions = {}
    for direction, chosen in by_direction.items():
        try:
            space = encoder.space_for(*direction)
        except ModelError:
            continue  # the table shows a gap: this model does not serve the direction
        directions["->".join(direction)] = bench.direction(chosen, space=space)
    return ModelRow(
        name=name,
        size_bytes=size_of(name),
        dim=encoder.spaces[0].dim,
        directions=directions,
        encode_per_s=watch.per_s(),
        query_ms=bench.query_ms(),
        failures=tuple(bench.failures.values()),
    )


def _warm(encoder: Encoder) -> None:
    """Encode one input of each modality: weights are loaded on first use, which is no speed."""
    side = encoder.media.image_size_px
    blanks: dict[Modality, Payload] = {
        "text": "a",
        "image": np.zeros((side, side, 3), dtype=np.uint8),
        "audio": np.zeros(encoder.media.sample_rate_hz, dtype=np.float32),
    }
    for modality, blank in blanks.items():
        if any(modality in space.modalities for space in encoder.spaces):
            encoder.encode([blank], modality=modality)


class _Bench:
    """One model's galleries and queries, each file encoded once per space."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        loader: LoadsMany,
        watch: Stopwatch,
        judgements: Sequence[Judgement],
    ) -> None:
        self.failures: dict[str, Failure] = {}
        self._encoder = encoder
        self._loader = loader
        self._watch = watch
        self._judgements = judgements
        self._galleries: dict[tuple[str, Modality], EncodedFiles] = {}

    def direction(self, judgements: Sequence[Judgement], *, space: Space) -> DirectionRow:
        """Rank the gallery for each query; a query that is an item is no answer to itself."""
        gallery = self._gallery(judgements[0].direction[1], space=space)
        keys, queries = self._queries(judgements, space=space)
        scores = gallery.best(queries)
        place = {path: column for column, path in enumerate(gallery.paths)}
        for row, key in enumerate(keys):
            if key in place:
                scores[row, place[key]] = -np.inf
        chosen = {str(judgement.query): judgement for judgement in judgements}
        order = metrics.top_positions(scores, k=len(gallery.paths))
        rankings = [[gallery.paths[column] for column in line] for line in order]
        relevance = [chosen[key].right for key in keys]
        judged = metrics.judge(rankings, relevance=relevance)
        hits = {f"hit@{k}": bootstrap(metrics.hit(judged, k=k)) for k in KS}
        return DirectionRow(
            n_queries=len(keys),
            n_items=len(gallery.paths),
            metrics=metrics.summarize(judged, ks=KS),
            hit=hits,
        )

    def query_ms(self) -> float | None:
        """Time single text queries against the largest gallery; None without either."""
        texts = [j.query for j in self._judgements if isinstance(j.query, str)][:_N_TIMED_QUERIES]
        spaces = [s for s in self._encoder.spaces if "text" in s.modalities]
        if not texts or not spaces or not self._galleries:
            return None
        largest = max(self._galleries.values(), key=lambda gallery: len(gallery.vectors))
        taken_s = []
        for text in texts:
            start_s = time.perf_counter()
            vector = self._encoder.encode([text], modality="text", space=spaces[0])
            if vector.shape[1] == largest.vectors.shape[1]:
                metrics.top_positions(largest.best(vector), k=10)
            taken_s.append(time.perf_counter() - start_s)
        return round(float(np.median(taken_s)) * 1000, 3)

    def _gallery(self, modality: Modality, *, space: Space) -> EncodedFiles:
        key = (space.id, modality)
        if key not in self._galleries:
            items = [p for j in self._judgements if j.direction[1] == modality for p in j.right]
            self._galleries[key] = self._files(list(dict.fromkeys(items)), space=space)
        return self._galleries[key]

    def _queries(
        self, judgements: Sequence[Judgement], *, space: Space
    ) -> tuple[list[str], Vectors]:
        """Encode the queries; files that cannot be used are left out."""
        keys = [str(judgement.query) for judgement in judgements]
        if judgements[0].direction[0] == "text" and isinstance(judgements[0].query, str):
            return keys, encode_texts(keys, encoder=self._encoder, space=space, watch=self._watch)
        files = self._files(keys, space=space)
        return list(files.paths), files.means()

    def _files(self, paths: Sequence[str], *, space: Space) -> EncodedFiles:
        files = encode_files(
            paths, encoder=self._encoder, space=space, loader=self._loader, watch=self._watch
        )
        self.failures.update({failure.path: failure for failure in files.failures})
        return files
