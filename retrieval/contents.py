"""Everything a store holds in one Space: what maps, clusters, duplicates and exports start from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from index.segments import open_segment
from index.types import Ids, Vectors
from retrieval.catalog.read import Reader
from retrieval.catalog.store import Catalog
from retrieval.engine import Engine
from retrieval.errors import NotFoundError, UsageError
from retrieval.store import Store
from retrieval.types import Item, Modality, Part, Space

__all__ = ["Contents", "read_contents", "stored_vectors"]

# Which parts of an item with several modalities speak for it.
_SPEAKER: tuple[Modality, ...] = ("image", "audio", "text")


@dataclass(frozen=True)
class Contents:
    """The live vectors of one space, and whose they are.

    Attributes:
        space: the space.
        parts: ascending by id; row i of `vectors` is the vector of part i.
        vectors: float32 [P, D], unit length.
        items: by id, those that own a part here.
    """

    space: Space
    parts: tuple[Part, ...]
    vectors: Vectors
    items: dict[int, Item]

    def own_rows(self) -> dict[int, list[int]]:
        """Map each item id to the rows that speak for it: its frames, else windows, else texts."""
        rows: dict[int, dict[Modality, list[int]]] = {}
        for row, part in enumerate(self.parts):
            rows.setdefault(part.item_id, {}).setdefault(part.modality, []).append(row)
        return {
            item_id: next(own[m] for m in _SPEAKER if m in own)
            for item_id, own in sorted(rows.items())
        }

    def item_vectors(self) -> tuple[Ids, Vectors]:
        """Give one vector an item: the mean of the parts that speak for it, as similar search uses.

        Returns:
            int64 [N], ascending, and float32 [N, D], unit length (zero where parts cancel out).
        """
        own = self.own_rows()
        ids = np.fromiter(own, dtype=np.int64, count=len(own))
        if not own:
            return ids, np.zeros((0, self.space.dim), np.float32)
        return ids, _unit(np.stack([self.vectors[rows].mean(axis=0) for rows in own.values()]))


def read_contents(
    engine: Engine,
    *,
    catalog_url: str = "",
    space_id: str | None = None,
    item_id: int | None = None,
) -> Contents:
    """Read the live vectors of one space of a store.

    Args:
        engine: whose store.
        catalog_url: the catalog's URL where it is not the store's own SQLite file.
        space_id: which space; the one with most vectors when left out.
        item_id: only the parts of this item.

    Returns:
        All parts with a vector there.

    Raises:
        NotFoundError: no such space (`no_such_space`).
        UsageError: the store is empty (`empty_store`).
        DamagedError: a segment is not what was written.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "note.txt").write_text("red and green")
        >>> with Engine.open(folder / "store", create=True, model="fake") as engine:
        ...     _ = engine.add(folder / "note.txt")
        ...     read_contents(engine).vectors.shape
        (1, 64)
    """
    with _reading(engine.store, catalog_url) as reader:
        space = _pick_space(reader, space_id)
        only = None if item_id is None else reader.part_ids(item_id=item_id)
        ids, vectors = _read_vectors(reader, store=engine.store, space=space, only=only)
        known = reader.parts(ids.tolist())
        order = [row for row, id_ in enumerate(ids.tolist()) if id_ in known]
        parts = tuple(known[int(ids[row])] for row in order)
        items = reader.items(sorted({part.item_id for part in parts}))
    return Contents(space=space, parts=parts, vectors=vectors[order], items=items)


def stored_vectors(
    engine: Engine, *, paths: Sequence[str], space: Space, catalog_url: str = ""
) -> dict[str, Vectors]:
    """Look up the vectors of files that are in the store and unchanged since.

    Args:
        engine: whose store.
        paths: absolute.
        space: whose vectors.
        catalog_url: see `read_contents`.

    Returns:
        Path -> float32 [D], unit length: the mean of the file's own parts. Files that are not
        there, have changed, or hold several records are left out.
    """
    with _reading(engine.store, catalog_url) as reader:
        if space.id not in {known.id for known in reader.spaces()}:
            return {}
        wanted: dict[int, str] = {}
        for path, record in reader.known_files(paths).items():
            if record.content_hash and _is_same(path, record.size_bytes, record.mtime_ns):
                items = reader.items_by_hash(record.content_hash)
                if list(items) == [0]:
                    wanted[items[0][0]] = path
        if not wanted:
            return {}
        part_ids = np.concatenate([reader.part_ids(item_id=id_) for id_ in wanted])
        ids, vectors = _read_vectors(reader, store=engine.store, space=space, only=part_ids)
        known = reader.parts(ids.tolist())
    parts = tuple(known[id_] for id_ in ids.tolist())
    found = Contents(space=space, parts=parts, vectors=vectors, items={})
    item_ids, means = found.item_vectors()
    return {wanted[int(id_)]: mean for id_, mean in zip(item_ids, means, strict=True)}


@contextmanager
def _reading(store: Store, url: str) -> Iterator[Reader]:
    catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=url)
    try:
        with catalog.reading() as reader:
            yield reader
    finally:
        catalog.close()


def _pick_space(reader: Reader, space_id: str | None) -> Space:
    spaces = {space.id: space for space in reader.spaces()}
    if space_id is not None:
        if space_id not in spaces:
            raise NotFoundError(
                f"the store has no space {space_id}; it has {', '.join(spaces) or 'none yet'}",
                code="no_such_space",
            )
        return spaces[space_id]
    counts = dict.fromkeys(spaces, 0)
    for entry in reader.segments():
        counts[entry.space_id] += entry.info.n_vectors
    if not any(counts.values()):
        raise UsageError(
            "the store is empty; add files with: crossfind index add PATH", code="empty_store"
        )
    return spaces[max(counts, key=lambda id_: counts[id_])]


def _read_vectors(
    reader: Reader, *, store: Store, space: Space, only: Ids | None = None
) -> tuple[Ids, Vectors]:
    """Read the live vectors of a space, ascending by id."""
    snapshot = reader.snapshot()
    dead = np.fromiter(sorted(snapshot.tombstones), dtype=np.int64)
    ids: list[Ids] = [np.zeros(0, np.int64)]
    rows: list[Vectors] = [np.zeros((0, space.dim), np.float32)]
    for entry in snapshot.segments:
        if entry.space_id != space.id:
            continue
        segment = open_segment(store.segments / entry.info.name, sha256=entry.info.sha256)
        taken = ~np.isin(segment.ids, dead)
        if only is not None:
            taken &= np.isin(segment.ids, only)
        if taken.any():
            ids.append(segment.ids[taken])
            rows.append(segment.vectors()[taken])
    joined = np.concatenate(ids)
    order = np.argsort(joined, kind="stable")
    return joined[order], np.concatenate(rows)[order]


def _is_same(path: str, size_bytes: int, mtime_ns: int) -> bool:
    try:
        seen = os.stat(path)
    except OSError:
        return False
    return (seen.st_size, seen.st_mtime_ns) == (size_bytes, mtime_ns)


def _unit(rows: Vectors) -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms > 1e-6, rows / np.maximum(norms, 1e-6), 0.0).astype(np.float32)
