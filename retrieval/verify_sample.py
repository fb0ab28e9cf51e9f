"""Whether vectors belong to their ids: some are encoded again from their sources and compared.

Checksums prove that bytes are what was written. A vector that was written to another part's id has
the right checksum and the wrong meaning; only its source can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from index.types import Ids, Vectors
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder
from retrieval.media import Loader
from retrieval.sources import find_sources, match_pieces, media_parts
from retrieval.types import Failure, Loaded, Modality, Part, Payload, Space
from retrieval.verify import Finding

MIN_COSINE = 0.98
"""Below, a vector is another's. What rows of float16 and other batches move is a tenth of that."""

_SEED = 1
_MODALITIES: tuple[Modality, ...] = ("image", "audio", "text")

Lookup = Callable[[Space, Ids], tuple[Ids, Vectors]]
"""Reads stored vectors of a space by id: int64 [M] and float32 [M, D]; absent ones are left out."""


@dataclass
class Sample:
    """What encoding again has shown.

    Attributes:
        n_encoded: vectors compared.
        n_unknown: those whose source is gone, changed or cut otherwise.
        findings: vectors that are not their part's.
        misplaced: ids of their parts.
    """

    n_encoded: int = 0
    n_unknown: int = 0
    findings: list[Finding] = field(default_factory=list)
    misplaced: list[int] = field(default_factory=list)


def check_sample(
    *,
    catalog: Catalog,
    encoder: Encoder,
    new_loader: Callable[[], Loader],
    lookup: Lookup,
    n_parts: int,
) -> Sample:
    """Encode some parts of each modality again, and compare them with what is stored.

    Args:
        catalog: of the store.
        encoder: the store's model.
        new_loader: opens a loader of the model's media; called where pictures or sounds are drawn.
        lookup: reads stored vectors.
        n_parts: how many parts of each modality are drawn.

    Returns:
        What it has shown. The same parts are drawn as long as the store stays the same.
    """
    sample = Sample()
    for modality in _MODALITIES:
        spaces = [space for space in encoder.spaces if modality in space.modalities]
        with catalog.reading() as reader:
            ids = reader.part_ids(part_modalities=(modality,)) if spaces else np.zeros(0, np.int64)
        drawn = np.sort(np.random.default_rng(_SEED).permutation(ids)[:n_parts])
        found = _texts(catalog, drawn) if modality == "text" else _media(catalog, drawn, new_loader)
        pairs = list(found)
        sample.n_unknown += len(drawn) - len(pairs)
        for space in spaces if pairs else ():
            _compare(sample, pairs, space=space, modality=modality, encoder=encoder, lookup=lookup)
    return sample


def _texts(catalog: Catalog, ids: Ids) -> Iterator[tuple[Part, Payload]]:
    with catalog.reading() as reader:
        parts = reader.parts(ids.tolist())
    yield from ((part, part.text) for part in parts.values() if part.text is not None)


def _media(
    catalog: Catalog, ids: Ids, new_loader: Callable[[], Loader]
) -> Iterator[tuple[Part, Payload]]:
    wanted = media_parts(catalog, ids.tolist())
    lost: list[Failure] = []
    sources = {
        found.path: (found, item_id, content_hash)
        for item_id, content_hash, found in find_sources(catalog, sorted(wanted), failures=lost)
    }
    if not sources:
        return
    with new_loader() as loader:
        for found, outcome in loader.load_many(found for found, _, _ in sources.values()):
            _, item_id, content_hash = sources[found.path]
            if isinstance(outcome, Loaded) and outcome.content_hash == content_hash:
                with catalog.reading() as reader:  # its order tells equal places apart
                    pieces = match_pieces(outcome, reader.parts_of([item_id]))
                for part in wanted[item_id]:
                    if part.id in pieces:
                        yield part, pieces[part.id].payload


def _compare(
    sample: Sample,
    pairs: list[tuple[Part, Payload]],
    *,
    space: Space,
    modality: Modality,
    encoder: Encoder,
    lookup: Lookup,
) -> None:
    """Compare the stored vectors of parts with those of their payloads."""
    again = encoder.encode([payload for _, payload in pairs], modality=modality, space=space)
    ids, stored = lookup(space, np.array([part.id for part, _ in pairs], np.int64))
    rows = {int(id_): row for id_, row in zip(ids, stored, strict=True)}
    for (part, _), vector in zip(pairs, again, strict=True):
        if part.id not in rows:  # told as missing or damaged elsewhere
            continue
        sample.n_encoded += 1
        cosine = float(rows[part.id] @ vector)
        if cosine < MIN_COSINE:
            sample.misplaced.append(part.id)
            detail = (
                f"of item {part.item_id}: encoded again its vector in space {space.id} has cosine "
                f"{cosine:.3f} with the stored one; 'crossfind index verify --repair' and the next "
                "'crossfind index build' make it again"
            )
            sample.findings.append(Finding("vector_misplaced", f"part {part.id}", detail))


def mend(sample: Sample, *, catalog: Catalog) -> Sample:
    """Have the files of misplaced vectors encoded again; the writer lock is held."""
    if not sample.misplaced:
        return sample
    with catalog.writing() as writer:
        writer.touch()
        n_files = writer.mark_stale(sample.misplaced)
    detail = f"{n_files} files are encoded again by the next 'crossfind index build'"
    mended = [replace(finding, detail=detail, repaired=True) for finding in sample.findings]
    return replace(sample, findings=mended)
