"""Finding or making a store, opening its catalog and its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index.types import Vectors
from retrieval.catalog.store import Catalog
from retrieval.config import Settings, expand_home
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.errors import ModelError, NotFoundError
from retrieval.query.bank import TEXTS
from retrieval.remote import Remote
from retrieval.store import STORE_NAME, Store, create_store, find_store, open_store
from retrieval.types import Space


def locate(explicit: str, *, create: bool) -> Store:
    """Find the store, or make it: where it is named, else in the working directory."""
    try:
        return open_store(find_store(Path.cwd(), explicit=explicit))
    except NotFoundError:
        if not create:
            raise
    return create_store(expand_home(explicit or STORE_NAME).absolute())


def open_catalog(store: Store, *, url: str) -> Catalog:
    """Open a store's catalog; an empty store gets one, under the writer lock."""
    if not url and not store.catalog_path.exists():
        with store.lock():
            if not any(store.segments.iterdir()) and not store.catalog_path.exists():
                Catalog.create(store.catalog_path, uuid=store.uuid, tmp=store.tmp)
    return Catalog.open(store.catalog_path, uuid=store.uuid, url=url, create=bool(url))


def encode_bank(encoder: Encoder, space: Space) -> Vectors:
    """Encode the bank of everyday searches, float32 [B, D]; none where texts have no vectors."""
    if "text" not in space.modalities:
        return np.zeros((0, space.dim), np.float32)
    vectors = encoder.encode(list(TEXTS), modality="text", space=space)
    return np.ascontiguousarray(vectors[vectors.any(axis=1)])


def open_own_encoder(name: str, *, catalog: Catalog, settings: Settings) -> Encoder:
    """Open the model that a store was made with.

    Raises:
        ModelError: it is not to be had, or its weights are others by now (`space_mismatch`).
    """
    encoder = open_encoder(name, threads=settings.threads, models_dir=settings.models_dir)
    with catalog.reading() as reader:
        known = {space.id: space for space in reader.spaces()}
    for space in encoder.spaces:
        if space.id in known and known[space.id].fingerprint != space.fingerprint:
            raise ModelError(
                f"the store was made with model {known[space.id].model} "
                f"({known[space.id].fingerprint[:12]}); this one is {encoder.name} "
                f"({space.fingerprint[:12]}): run 'crossfind index migrate --to "
                f"{encoder.name}' or build a new store with --store",
                code="space_mismatch",
            )
    return encoder


def remote_of(settings: Settings) -> Remote | None:
    """Read where Milvus is; None where indexes are files of the store."""
    return Remote(settings.index, settings.milvus_token) if settings.index else None


def other_model(own: str, wanted: str) -> ModelError:
    """Make the error of a model that is not the store's own."""
    return ModelError(
        f"the store was made with model {own}, not {wanted}; their vectors cannot be mixed: run "
        f"'crossfind index migrate --to {wanted}' or name a new store with --store",
        code="space_mismatch",
    )
