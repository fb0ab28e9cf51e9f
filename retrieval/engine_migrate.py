"""Setting a migration up: which model comes, how its media are cut, and what going back means."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

from retrieval.catalog.store import Catalog
from retrieval.config import Settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import canonical_name, open_encoder
from retrieval.errors import ModelError, NotFoundError, UsageError
from retrieval.garbage import collect_garbage
from retrieval.media.opened import open_loader
from retrieval.migrate import MigrateReport, OnParts, abandon, drop_kept, migrate
from retrieval.store import Store
from retrieval.types import MediaSpec


def run_migration(
    to: str,
    *,
    catalog: Catalog,
    store: Store,
    settings: Settings,
    partial: bool = False,
    on_parts: OnParts | None = None,
    stop: Event | None = None,
) -> MigrateReport:
    """Migrate a store whose writer lock is held; see `retrieval.migrate.migrate`.

    Args:
        to: name of the new model.
        catalog, store, settings: of the store.
        partial, on_parts, stop: see there.

    Raises:
        ModelError: the model cannot be opened, or it serves already (`same_model`).
        UsageError: another migration was begun and not finished (`migration_pending`).
    """
    collect_garbage(catalog, store=store)
    encoder = open_encoder(
        canonical_name(to), threads=settings.threads, models_dir=settings.models_dir
    )
    try:
        _check_target(encoder, catalog=catalog)
        spec = _media(encoder, catalog=catalog, settings=settings)
        with open_loader(spec, settings=settings, n_workers=settings.workers) as loader:
            return migrate(
                catalog=catalog, store=store, encoder=encoder, loader=loader, partial=partial,
                commit_s=settings.commit_s, on_parts=on_parts, stop=stop,
            )  # fmt: skip
    finally:
        encoder.close()


def kept_model(catalog: Catalog) -> str:
    """Name the model one can go back to; empty where a begun migration was given up instead.

    Raises:
        NotFoundError: there is neither (`nothing_to_roll_back`).
    """
    with catalog.reading() as reader:
        kept = reader.spaces(state="kept")
    n_abandoned = abandon(catalog)
    if kept:
        return kept[0].model
    if n_abandoned:
        return ""
    raise NotFoundError(
        "this store has no model to go back to: it was never migrated, or the vectors of the model "
        "before were dropped",
        code="nothing_to_roll_back",
    )


def drop_old(catalog: Catalog, *, store: Store) -> int:
    """Drop the vectors of the model before; return how many files went."""
    drop_kept(catalog)
    return collect_garbage(catalog, store=store)


def _check_target(encoder: Encoder, *, catalog: Catalog) -> None:
    wanted = {(space.id, space.fingerprint) for space in encoder.spaces}
    with catalog.reading() as reader:
        serving = reader.spaces()
        pending = reader.spaces(state="pending")
    if wanted == {(space.id, space.fingerprint) for space in serving}:
        raise ModelError(f"model {encoder.name} serves already; nothing to do", code="same_model")
    prints = {space.fingerprint for space in encoder.spaces}
    others = [space for space in pending if space.fingerprint not in prints]
    if others:
        raise UsageError(
            f"a migration to {others[0].model} was begun, this one is to {encoder.name}; finish "
            f"that one first, or give it up with: crossfind index migrate --rollback",
            code="migration_pending",
        )


def _media(encoder: Encoder, *, catalog: Catalog, settings: Settings) -> MediaSpec:
    """Ask for media in the new model's form, cut where the store's parts were cut."""
    with catalog.reading() as reader:
        spaces = reader.spaces()
    if not spaces:
        return encoder.media
    try:
        old = open_encoder(spaces[0].model, threads=1, models_dir=settings.models_dir)
    except ModelError:  # gone: its cuts are then the usual ones, or the parts are told to differ
        return encoder.media
    cuts = old.media
    old.close()
    return replace(
        encoder.media,
        window_s=cuts.window_s,
        hop_s=cuts.hop_s,
        text_max_words=cuts.text_max_words,
        text_overlap_words=cuts.text_overlap_words,
        frame_every_s=cuts.frame_every_s,
    )
