"""Vectors of other programs with little around them: rclip's database, a matrix with a table."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.catalog.records import FileRecord, ItemRecord
from retrieval.encoders.base import Encoder
from retrieval.errors import InputError, ModelError, UsageError
from retrieval.exchange.new_store import Imported, read_matrix, unit_rows, write_new_store
from retrieval.types import Modality, Part, Space

__all__ = ["find_matrix", "import_matrix", "import_rclip", "is_rclip"]

Vectors = npt.NDArray[np.float32]

_SQLITE_MAGIC = b"SQLite format 3\x00"
_PART_MODALITIES: dict[str, Modality] = {"image": "image", "audio": "audio", "text": "text"}


@dataclass(frozen=True, slots=True)
class _Row:
    """An item with one vector."""

    path: str
    modality: Modality = "image"
    size_bytes: int = 0
    caption: str | None = None
    text: str | None = None
    start_s: float | None = None
    end_s: float | None = None


def is_rclip(path: Path) -> bool:
    """Tell whether a file is an SQLite database, as rclip keeps (`db.sqlite3`)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC


def import_rclip(
    database: Path, *, store: Path, encoder: Encoder, catalog_url: str = ""
) -> Imported:
    """Read the database of rclip into a new store; it is opened read-only and never changed.

    Pictures that rclip marks as deleted are left out.

    Args:
        database: rclip's `db.sqlite3`.
        store: the new store's directory.
        encoder: of the model that made the vectors; rclip's is OpenAI's CLIP ViT-B/32.
        catalog_url: of a catalog that is not the store's own SQLite file.

    Returns:
        What was brought in; item ids count from 1 in the order of rclip's.

    Raises:
        UsageError: not such a database (`not_an_export`), or the store is not new.
        ModelError: the vectors have another length than the encoder's (`dim_mismatch`).
        InputError: a vector is damaged (`bad_export`).
    """
    space = encoder.space_for("text", "image")
    rows, blobs = [], []
    for path, size, blob in _rclip_rows(database):
        if not isinstance(blob, bytes) or len(blob) % 4 or not isinstance(path, str):
            raise InputError(f"{database}: the vector of {path!r} is damaged", code="bad_export")
        rows.append(_Row(path=str(Path("/") / path), size_bytes=int(size or 0)))
        blobs.append(np.frombuffer(blob, dtype="<f4"))
    lengths = {len(vector) for vector in blobs}
    if lengths - {space.dim}:
        raise ModelError(
            f"{database} has vectors of {sorted(lengths)} numbers; the model's have {space.dim}: "
            "name the model that made them with --model",
            code="dim_mismatch",
        )
    if not rows:
        raise InputError(f"{database} holds no picture", code="bad_export")
    vectors = np.stack(blobs)
    if not np.isfinite(vectors).all():
        raise InputError(f"{database} holds numbers that are not finite", code="bad_export")
    return _write(rows, vectors, space=space, store=store, url=catalog_url)


def find_matrix(folder: Path) -> tuple[Path, Path] | None:
    """Find the one .npy file and the one .jsonl file of a folder; None where it has not just one.

    An export of our own has a `space.json` too and is none.
    """
    if not folder.is_dir() or (folder / "space.json").exists():
        return None
    matrices, tables = sorted(folder.glob("*.npy")), sorted(folder.glob("*.jsonl"))
    return (matrices[0], tables[0]) if len(matrices) == len(tables) == 1 else None


def import_matrix(
    vectors: Path, *, table: Path, store: Path, encoder: Encoder, catalog_url: str = ""
) -> Imported:
    """Read a matrix and a table of its rows into a new store.

    Args:
        vectors: a .npy file, float [N, D].
        table: a .jsonl file of N objects: `path`, and if wanted `modality` (image, audio or text;
            image if left out), `caption`, `text` (of a text), `start_s`, `end_s`, `size_bytes`.
        store: the new store's directory.
        encoder: of the model that made the vectors.
        catalog_url: of a catalog that is not the store's own SQLite file.

    Returns:
        What was brought in; item ids count from 1 in the order of the rows.

    Raises:
        UsageError: a file is missing (`not_an_export`), or the store is not new.
        ModelError: the vectors have another length than the encoder's (`dim_mismatch`).
        InputError: the two do not fit together (`bad_export`); the message names the line.
    """
    rows = list(_table_rows(table))
    space = encoder.space_for("text", rows[0].modality) if rows else encoder.spaces[0]
    matrix = read_matrix(vectors, dim=space.dim)
    if len(rows) != len(matrix) or not rows:
        raise InputError(
            f"{table} has {len(rows)} lines for {len(matrix)} vectors; they must be as many",
            code="bad_export",
        )
    foreign = sorted({row.modality for row in rows} - set(space.modalities))
    if foreign:
        raise InputError(f"{table}: the model has no {foreign[0]} vectors", code="bad_export")
    return _write(rows, matrix, space=space, store=store, url=catalog_url)


def _rclip_rows(database: Path) -> Iterator[tuple[object, int | None, object]]:
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as link:
            yield from link.execute(
                "SELECT filepath, size, vector FROM images"
                " WHERE deleted IS NULL OR deleted = 0 ORDER BY id"
            )
    except sqlite3.Error as error:
        raise UsageError(
            f"{database} is no database of rclip: {error}", code="not_an_export"
        ) from (error)


def _table_rows(table: Path) -> Iterator[_Row]:
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UsageError(f"{table} is missing", code="not_an_export") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{table} cannot be read: {error}", code="bad_export") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            modality = _PART_MODALITIES[row.get("modality") or "image"]
            text = row.get("text")
            yield _Row(
                path=str(Path("/") / str(row["path"])),
                modality=modality,
                size_bytes=int(row.get("size_bytes") or 0),
                caption=_text(row.get("caption") or (text if modality != "text" else None)),
                text=_text(text) if modality == "text" else None,
                start_s=_seconds(row.get("start_s")),
                end_s=_seconds(row.get("end_s")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{table} line {number}: {error!r}", code="bad_export") from error


def _text(value: object) -> str | None:
    return str(value) if value else None


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no time in seconds")
    return float(value)


def _write(
    rows: Sequence[_Row], vectors: Vectors, *, space: Space, store: Path, url: str
) -> Imported:
    items, files, seen = [], [], set()
    for number, row in enumerate(rows, start=1):
        # Two rows of one path are two items: the second gets a name of its own.
        name = row.path if row.path not in seen else f"{row.path} ({number})"
        seen.add(name)
        digest = hashlib.sha256(f"{number}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()
        content_hash = f"imported:{digest[:48]}"
        part = Part(number, number, row.modality, row.start_s, row.end_s, row.text)
        items.append(
            ItemRecord(
                id=number, content_hash=content_hash, record=0, modality=row.modality,
                format=Path(name).suffix.lower().lstrip(".") or "unknown",
                size_bytes=row.size_bytes, width_px=None, height_px=None, duration_s=None,
                caption=row.caption, flags=("imported",), parts=(part,),
            )
        )  # fmt: skip
        files.append(FileRecord(name, row.size_bytes, -1, "", content_hash))
    return write_new_store(
        store, space=space, vectors=unit_rows(vectors), items=items, files=tuple(files), url=url
    )
