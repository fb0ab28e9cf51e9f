"""Choosing the strength of hub correction for a store, by queries with known right answers.

Every query of a table is searched with each strength, as a user's would be but for the words. What
`query.hubs.choose_alpha` allows is kept: 0 unless the gain is more than chance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.catalog.read import Reader
from retrieval.catalog.store import Catalog
from retrieval.engine import Engine
from retrieval.errors import ModelError, UsageError
from retrieval.evaluation.relevance import Direction, Judgement
from retrieval.query.calibrate import CENTRED, MIN_PARTS, Calibrator
from retrieval.query.generation import Generation
from retrieval.query.grammar import make_query
from retrieval.query.hub_search import write_alphas
from retrieval.query.hubs import ALPHAS, choose_alpha
from retrieval.query.search import search

__all__ = ["HubChoice", "tune_hubs"]

_K = 10
_MIN_QUERIES = 20
"""Fewer queries of a direction say nothing."""


@dataclass(frozen=True, slots=True)
class HubChoice:
    """What was chosen for one direction.

    Attributes:
        direction: modalities of query and items, as `text->image`.
        n_queries: asked.
        plain, centred, hubs, both: R@10 without either, with centring, with hub correction of the
            best strength above 0, and with both.
        alpha: the strength that is used from now on, with the centring the model has; 0 for none.
    """

    direction: str
    n_queries: int
    plain: float
    centred: float
    hubs: float
    both: float
    alpha: float


def tune_hubs(
    engine: Engine, *, judgements: Sequence[Judgement], catalog_url: str = ""
) -> list[HubChoice]:
    """Choose the strength of hub correction of each direction, and keep it in the store.

    Args:
        engine: of the store.
        judgements: from `read_relevance`.
        catalog_url: of the store's catalog where it is not its own SQLite file.

    Returns:
        One choice for each direction between two modalities.

    Raises:
        UsageError: no direction has enough queries (`no_queries`).
    """
    by_direction: dict[Direction, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.direction[0] != judgement.direction[1]:
            by_direction.setdefault(judgement.direction, []).append(judgement)
    large = {d: chosen for d, chosen in by_direction.items() if len(chosen) >= _MIN_QUERIES}
    if not large:
        raise UsageError(
            f"no direction between two modalities has {_MIN_QUERIES} queries in the table; "
            "give more right answers",
            code="no_queries",
        )
    with engine.turn():
        with engine.serving.reading() as (reader, generation):
            asked = _Asked(engine, reader, generation)
            choices = [asked.choose(direction, chosen) for direction, chosen in large.items()]
        _keep(engine, choices, catalog_url)
    return choices


def _keep(engine: Engine, choices: Sequence[HubChoice], catalog_url: str) -> None:
    for choice in choices:
        query, _, part = choice.direction.partition("->")
        space = engine.encoder.space_for(query, part)  # type: ignore[arg-type]  # both are ours
        write_alphas(engine.store, space, {(query, part): choice.alpha})
    store = engine.store
    catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=catalog_url)
    try:
        with catalog.writing() as writer:
            writer.touch()  # open readers keep what they measured as long as a generation lasts
    finally:
        catalog.close()


class _Asked:
    """A store that is asked the same queries in several ways."""

    def __init__(self, engine: Engine, reader: Reader, generation: Generation) -> None:
        self._engine, self._reader, self._generation = engine, reader, generation

    def choose(self, direction: Direction, judgements: Sequence[Judgement]) -> HubChoice:
        """Ask in every way, and choose."""
        self._check(direction)
        both_ways = {
            centred: {a: self._recalls(direction, judgements, a, centred=centred) for a in ALPHAS}
            for centred in (False, True)
        }
        chosen = {centred: choose_alpha(found) for centred, found in both_ways.items()}
        best = {c: max(list(chosen[c].values.items())[1:], key=lambda e: e[1])[1] for c in chosen}
        default = direction in CENTRED.get(self._engine.encoder.name, frozenset())
        return HubChoice(
            direction="->".join(direction),
            n_queries=len(judgements),
            plain=chosen[False].values[0.0],
            centred=chosen[True].values[0.0],
            hubs=best[False],
            both=best[True],
            alpha=chosen[default].alpha,
        )

    def _check(self, direction: Direction) -> None:
        encoder = self._engine.encoder
        try:
            space = encoder.space_for(*direction)
        except ModelError as error:
            raise ModelError(
                f"{error}; leave queries of {direction[0]} out of the table", code=error.code
            ) from error
        calibrator = Calibrator(reader=self._reader, generation=self._generation, encoder=encoder)
        if calibrator.pair(space, *direction) is None:
            raise UsageError(
                f"hub correction needs {MIN_PARTS} stored pieces of {direction[1]}; add more",
                code="not_calibrated",
            )

    def _recalls(
        self, direction: Direction, judgements: Sequence[Judgement], alpha: float, *, centred: bool
    ) -> list[float]:
        calibrator = Calibrator(
            reader=self._reader,
            generation=self._generation,
            encoder=self._engine.encoder,
            centred=frozenset({direction}) if centred else frozenset(),
            alphas={direction: alpha},
        )
        return [_recall(self._found(one, calibrator), one.right) for one in judgements]

    def _found(self, judgement: Judgement, calibrator: Calibrator) -> list[str]:
        query = judgement.query
        wanted = make_query(query, k=_K, modality=judgement.direction[1], hybrid=False)
        own = () if isinstance(query, str) else (self._engine.item(query),)
        hits = search(
            wanted,
            reader=self._reader,
            generation=self._generation,
            encoder=self._engine.encoder,
            loader=self._engine.serving.loader,
            leave_out=[item.id for item in own if item is not None],
            calibrator=calibrator,
        )
        return [path for hit in hits for path in (hit.path, *hit.copies)]


def _recall(found: Sequence[str], right: Mapping[str, float]) -> float:
    wanted = {os.path.abspath(Path(path)) for path in right}
    return len(wanted & set(found)) / min(_K, max(1, len(wanted)))
