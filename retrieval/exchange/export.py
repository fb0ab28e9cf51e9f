"""A store's vectors and what they belong to, in files that anything can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from retrieval.catalog.records import FileRecord
from retrieval.catalog.store import Catalog
from retrieval.contents import Contents, read_contents
from retrieval.engine import Engine
from retrieval.errors import BackendMissingError, StorageError, UsageError
from retrieval.exchange.own_fields import FIELDS_FILE, field_rows

__all__ = ["EXPORT_VERSION", "Exported", "export_store"]

EXPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        files: names in it.
        n_vectors, n_items: how many.
    """

    folder: str
    files: tuple[str, ...]
    n_vectors: int
    n_items: int


def export_store(
    engine: Engine,
    *,
    to: Path,
    catalog_url: str = "",
    space_id: str | None = None,
    with_faiss: bool = False,
    with_parquet: bool = False,
) -> Exported:
    """Write one space of a store to a new or empty folder.

    `space.json` says whose vectors they are; `vectors.npy` is float32 [N, D], unit length; line i
    of `parts.jsonl` tells of row i; `fields.jsonl` has details of files, tags and the user's own
    columns; `files.jsonl` has the paths with size, time and hash, so that
    an import knows what need not be encoded again. `import_export` reads it all back.

    Args:
        engine: of the store.
        to: the folder.
        catalog_url, space_id: see `read_contents`.
        with_faiss: also write `index.faiss`, a flat inner product index; its ids are part ids.
        with_parquet: also write `parts.parquet`, the same rows as `parts.jsonl`.

    Returns:
        What was written.

    Raises:
        UsageError: the folder holds something (`not_empty`), or the store nothing.
        BackendMissingError: faiss or pyarrow is wanted and not installed.
        StorageError: the folder cannot be written.
    """
    contents = read_contents(engine, catalog_url=catalog_url, space_id=space_id)
    files, own = _files(engine, contents, catalog_url)
    hashes = {record.path: record.content_hash for record in files}
    rows = list(_rows(contents, hashes))
    try:
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise UsageError(f"{to} is not empty; name a new folder", code="not_empty")
        np.save(to / "vectors.npy", contents.vectors)
        _write_lines(to / "parts.jsonl", rows)
        _write_lines(to / "files.jsonl", [asdict(record) for record in files])
        _write_lines(to / FIELDS_FILE, own)
        names = ["vectors.npy", "parts.jsonl", "files.jsonl", FIELDS_FILE]
        if with_parquet:
            _write_parquet(to / "parts.parquet", rows)
            names.append("parts.parquet")
        if with_faiss:
            _write_faiss(to / "index.faiss", contents)
            names.append("index.faiss")
        head = {"version": EXPORT_VERSION, "space": asdict(contents.space), "n": len(rows)}
        # Last: a folder with space.json is complete.
        (to / "space.json").write_text(json.dumps(head, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {to}: {error}") from error
    return Exported(str(to), (*names, "space.json"), len(rows), len(contents.items))


def _files(
    engine: Engine, contents: Contents, catalog_url: str
) -> tuple[list[FileRecord], list[dict[str, object]]]:
    paths: list[str] = []
    for item in contents.items.values():
        cut = len(f"#{item.record}") if item.record else 0
        paths += [path[:-cut] if cut else path for path in (item.path, *item.copies)]
    store = engine.store
    catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=catalog_url)
    try:
        with catalog.reading() as reader:
            known = reader.known_files(list(dict.fromkeys(paths)))
            own = field_rows(reader, contents.items)
    finally:
        catalog.close()
    return [known[path] for path in sorted(known)], own


def _rows(contents: Contents, hashes: dict[str, str | None]) -> Iterator[dict[str, object]]:
    for part in contents.parts:
        item = contents.items[part.item_id]
        base = item.path[: -len(f"#{item.record}")] if item.record else item.path
        yield {
            "part_id": part.id, "part_modality": part.modality, "start_s": part.start_s,
            "end_s": part.end_s, "text": part.text, "item_id": item.id, "path": base,
            "record": item.record, "content_hash": hashes.get(base), "modality": item.modality,
            "format": item.format, "size_bytes": item.size_bytes, "width_px": item.width_px,
            "height_px": item.height_px, "duration_s": item.duration_s, "caption": item.caption,
            "flags": list(item.flags),
        }  # fmt: skip


def _write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    # ASCII escapes also carry the surrogates of names that are no UTF-8.
    with path.open("w", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def _write_faiss(path: Path, contents: Contents) -> None:
    try:
        import faiss
    except ImportError as error:
        raise BackendMissingError(
            "a faiss file needs faiss; pip install 'crossfind[cpu]'"
        ) from error
    flat = faiss.IndexIDMap(faiss.IndexFlatIP(contents.space.dim))
    flat.add_with_ids(contents.vectors, np.array([p.id for p in contents.parts], dtype=np.int64))
    faiss.write_index(flat, str(path))


def _write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendMissingError(
            "parquet needs pyarrow; pip install 'crossfind[parquet]'"
        ) from error
    # A name that is no UTF-8 is written with its odd bytes visible.
    safe = [
        {k: v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v
         for k, v in row.items()}
        for row in rows
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(safe), path)
