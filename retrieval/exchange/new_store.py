"""What every import ends in: vectors that are checked, written into a new store in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index.segments import write_segment
from retrieval.catalog.records import Batch, FileRecord, ItemRecord
from retrieval.catalog.store import Catalog
from retrieval.errors import InputError, ModelError, UsageError
from retrieval.exchange.own_fields import NO_FIELDS, OwnFields
from retrieval.store import create_store
from retrieval.types import Space

__all__ = ["Imported", "read_matrix", "unit_rows", "write_new_store"]

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was brought in.

    Attributes:
        store: the new store.
        space: the space of its vectors.
        n_vectors, n_items: how many.
        n_bad: what could not be used, each named by `crossfind index errors`.
    """

    store: str
    space: Space
    n_vectors: int
    n_items: int
    n_bad: int = 0


def read_matrix(path: Path, *, dim: int) -> Vectors:
    """Read a .npy file of finite floats. float32 [N, dim], of any length."""
    try:
        raw = np.load(path)  # numpy refuses pickled objects unless asked
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing", code="not_an_export") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no array of numbers: {error}", code="bad_export") from error
    if not isinstance(raw, np.ndarray) or raw.ndim != 2 or raw.dtype.kind != "f":
        raise InputError(f"{path} is no float array [N, D]", code="bad_export")
    if raw.shape[1] != dim:
        raise ModelError(
            f"{path} has vectors of {raw.shape[1]} numbers; the model's have {dim}: name the "
            "model that made them with --model",
            code="dim_mismatch",
        )
    if not np.isfinite(raw).all():
        raise InputError(f"{path} holds numbers that are not finite", code="bad_export")
    return np.asarray(raw, dtype=np.float32)


def unit_rows(rows: Vectors) -> Vectors:
    """Bring vectors to unit length; one without a length is an error."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if (norms < 1e-6).any():
        raise InputError("a vector has no length", code="bad_export")
    return np.asarray(rows / norms, dtype=np.float32)


def write_new_store(
    root: Path,
    *,
    space: Space,
    vectors: Vectors,
    items: list[ItemRecord],
    files: tuple[FileRecord, ...],
    url: str,
    own: OwnFields = NO_FIELDS,
) -> Imported:
    """Write everything in one commit; a store that holds something is refused."""
    if not items:
        raise InputError("there is no vector to import", code="bad_export")
    store = create_store(root)
    with store.lock():
        new = not store.catalog_path.exists()
        catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=url, create=new)
        try:
            with catalog.reading() as reader:
                if reader.spaces() or reader.segments():
                    raise UsageError(
                        f"{root} holds something already; import into a new store",
                        code="store_in_use",
                    )
            part_ids = np.array([p.id for item in items for p in item.parts], dtype=np.int64)
            info = write_segment(
                store.segments, vectors, ids=part_ids, fingerprint=space.fingerprint,
                tmp=store.tmp, dtype="float32",
            )  # fmt: skip
            with catalog.writing() as writer:
                writer.ensure_space(space)
                writer.apply(
                    Batch(
                        files=files,
                        items=tuple(items),
                        segments=((space.id, info),),
                        next_item_id=max(item.id for item in items) + 1,
                        next_part_id=int(part_ids.max()) + 1,
                    )
                )
                own.write(writer)
        finally:
            catalog.close()
    return Imported(str(root), space, len(vectors), len(items))
