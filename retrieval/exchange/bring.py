"""Vectors made elsewhere, or exported before, into a new store: no media is read or encoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.catalog.records import FileRecord, ItemRecord
from retrieval.encoders.base import Encoder
from retrieval.errors import BackendMissingError, InputError, TooNewError, UsageError
from retrieval.exchange.export import EXPORT_VERSION
from retrieval.exchange.new_store import Imported, read_matrix, unit_rows, write_new_store
from retrieval.exchange.own_fields import read_fields
from retrieval.types import NOTHING, Modality, Part, Space

__all__ = ["import_clip_retrieval", "import_export", "is_clip_retrieval"]

Vectors = npt.NDArray[np.float32]


def is_clip_retrieval(folder: Path) -> bool:
    """Tell whether a folder looks like one of clip-retrieval: `img_emb/` and `metadata/`."""
    return (folder / "img_emb").is_dir() and (folder / "metadata").is_dir()


def import_export(folder: Path, *, store: Path, catalog_url: str = "") -> Imported:
    """Read what `export_store` wrote into a new store; ids, paths and vectors stay the same.

    Args:
        folder: with `space.json`, `vectors.npy`, `parts.jsonl` and `files.jsonl`.
        store: the new store's directory.
        catalog_url: of a catalog that is not the store's own SQLite file.

    Returns:
        What was brought in.

    Raises:
        UsageError: not such a folder (`not_an_export`), or the store is not new (`store_in_use`).
        TooNewError: a newer crossfind wrote it.
        InputError: the files do not fit together (`bad_export`).
    """
    try:
        head = json.loads((folder / "space.json").read_text(encoding="utf-8"))
        version, raw = int(head["version"]), dict(head["space"])
        space = Space(**{**raw, "modalities": tuple(raw["modalities"])})
        rows = [json.loads(line) for line in _lines(folder / "parts.jsonl")]
        files = tuple(FileRecord(**json.loads(line)) for line in _lines(folder / "files.jsonl"))
    except FileNotFoundError as error:
        raise UsageError(f"{folder} is no export: {error}", code="not_an_export") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is damaged: {error}", code="bad_export") from error
    if version > EXPORT_VERSION:
        raise TooNewError(
            f"{folder} has version {version}; this crossfind reads up to {EXPORT_VERSION}"
        )
    vectors = read_matrix(folder / "vectors.npy", dim=space.dim)
    if len(rows) != len(vectors):
        raise InputError(
            f"{folder}: {len(rows)} lines for {len(vectors)} vectors", code="bad_export"
        )
    try:
        items, own = _items(rows), read_fields(folder)
        items = [replace(item, details=own.details.get(item.id, NOTHING)) for item in items]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: a row lacks {error}", code="bad_export") from error
    return write_new_store(
        store, space=space, vectors=vectors, items=items, files=files, url=catalog_url, own=own
    )


def import_clip_retrieval(
    folder: Path, *, store: Path, encoder: Encoder, catalog_url: str = ""
) -> Imported:
    """Read a folder of clip-retrieval into a new store.

    Pictures come from `img_emb/*.npy`, their paths and captions from `metadata/*.parquet`
    (`image_path`, `caption`), the captions' vectors from `text_emb/*.npy` where there are any.

    Args:
        folder: of `clip-retrieval inference`.
        store: the new store's directory.
        encoder: of the model that made the vectors; searches of the store use it.
        catalog_url: of a catalog that is not the store's own SQLite file.

    Returns:
        What was brought in; item ids count from 1 in the order of the files.

    Raises:
        UsageError: not such a folder (`not_an_export`), or the store is not new (`store_in_use`).
        ModelError: the vectors have another length than the encoder's (`dim_mismatch`).
        InputError: the files do not fit together (`bad_export`).
        BackendMissingError: pyarrow is not installed.
    """
    if not is_clip_retrieval(folder):
        raise UsageError(
            f"{folder} has no img_emb/ and metadata/; name a folder of clip-retrieval",
            code="not_an_export",
        )
    space = encoder.space_for("text", "image")
    pictures = _read_all(folder / "img_emb", space=space)
    texts = _read_all(folder / "text_emb", space=space) if (folder / "text_emb").is_dir() else None
    rows = list(_metadata(folder / "metadata"))
    if len(rows) != len(pictures) or (texts is not None and len(texts) != len(pictures)):
        raise InputError(
            f"{folder}: {len(rows)} rows of metadata, {len(pictures)} picture vectors, "
            f"{'no' if texts is None else len(texts)} text vectors; they must be as many",
            code="bad_export",
        )
    items, kept = _clip_items(rows, with_texts=texts is not None)
    both = pictures if texts is None else np.concatenate([pictures, texts])
    files = _file_rows(items, rows)
    vectors = unit_rows(both[kept])
    return write_new_store(
        store, space=space, vectors=vectors, items=items, files=files, url=catalog_url
    )


def _clip_items(
    rows: list[tuple[str, str | None]], *, with_texts: bool
) -> tuple[list[ItemRecord], list[int]]:
    """Make items with consecutive part ids, and the row of [pictures; texts] of each part."""
    items: list[ItemRecord] = []
    kept: list[int] = []
    for position, (path, caption) in enumerate(rows):
        item_id = position + 1
        parts = [Part(len(kept) + 1, item_id, "image")]
        kept.append(position)
        if with_texts and caption:
            parts.append(Part(len(kept) + 1, item_id, "text", text=caption))
            kept.append(len(rows) + position)
        digest = hashlib.sha256(f"{position}\0{path}".encode("utf-8", "surrogateescape"))
        items.append(
            ItemRecord(
                id=item_id, content_hash=f"imported:{digest.hexdigest()[:48]}", record=0,
                modality="image", format=Path(path).suffix.lower().lstrip(".") or "unknown",
                size_bytes=0, width_px=None, height_px=None, duration_s=None, caption=caption,
                flags=("imported",), parts=tuple(parts),
            )
        )  # fmt: skip
    return items, kept


def _file_rows(
    items: list[ItemRecord], rows: list[tuple[str, str | None]]
) -> tuple[FileRecord, ...]:
    seen: set[str] = set()
    files = []
    for item, (path, _) in zip(items, rows, strict=True):
        # Two rows of one path are two items: the second gets a name of its own.
        name = path if path not in seen else f"{path} ({item.id})"
        seen.add(name)
        files.append(FileRecord(name, 0, -1, "", item.content_hash))
    return tuple(files)


def _metadata(folder: Path) -> Iterator[tuple[str, str | None]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise BackendMissingError(
            "clip-retrieval's metadata is parquet and needs pyarrow; "
            "pip install 'crossfind[parquet]'"
        ) from error
    for number, path in enumerate(sorted(folder.glob("*.parquet"), key=_order)):
        try:
            table = pyarrow.parquet.read_table(path).to_pydict()
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(f"{path} cannot be read: {error}", code="bad_export") from error
        n_rows = len(next(iter(table.values()), []))
        paths = table.get("image_path") or [f"row-{number}-{i}" for i in range(n_rows)]
        captions = table.get("caption") or [None] * n_rows
        for name, caption in zip(paths, captions, strict=True):
            yield str(Path("/") / str(name)), str(caption) if caption else None


def _read_all(folder: Path, *, space: Space) -> Vectors:
    names = sorted(folder.glob("*.npy"), key=_order)
    if not names:
        raise InputError(f"{folder} holds no .npy file", code="bad_export")
    return np.concatenate([read_matrix(name, dim=space.dim) for name in names], dtype=np.float32)


def _order(path: Path) -> tuple[int, str]:
    """Sort img_emb_10 behind img_emb_9."""
    digits = "".join(c for c in path.stem if c.isdigit())
    return int(digits or 0), path.name


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()


def _items(rows: list[dict[str, Any]]) -> list[ItemRecord]:  # Any: values of JSON
    by_item: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_item.setdefault(int(row["item_id"]), []).append(row)
    items = []
    for item_id, own in by_item.items():
        first = own[0]
        modality: Modality = first["modality"]
        items.append(
            ItemRecord(
                id=item_id, content_hash=str(first["content_hash"]), record=int(first["record"]),
                modality=modality, format=first["format"], size_bytes=int(first["size_bytes"]),
                width_px=first["width_px"], height_px=first["height_px"],
                duration_s=first["duration_s"], caption=first["caption"],
                flags=tuple(first["flags"]),
                parts=tuple(
                    Part(int(r["part_id"]), item_id, r["part_modality"], r["start_s"], r["end_s"],
                         r["text"])
                    for r in own
                ),
            )
        )  # fmt: skip
    return items
