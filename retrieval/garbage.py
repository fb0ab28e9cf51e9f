"""Deleting what no generation needs any more; only ever under the writer lock.

A reader must not do this: it would delete what a writer has published and not yet committed.
"""

from __future__ import annotations

import logging

from index.storage import storing
from retrieval.asked import ASKED_KIND
from retrieval.catalog.store import Catalog
from retrieval.media.listings import LISTING_KIND
from retrieval.store import BANK_KIND, HUBS_KIND, Store

_log = logging.getLogger(__name__)

# Readers of the generations before may still open a retired segment.
_KEEP_GENERATIONS = 2
_LASTING = (f"{BANK_KIND}-", f"{ASKED_KIND}-", f"{HUBS_KIND}-", f"{LISTING_KIND}-")


def collect_garbage(catalog: Catalog, *, store: Store) -> int:
    """Delete partial files and those of generations nobody can be reading.

    Returns:
        How many files were deleted.

    Raises:
        StorageError: the disk refused.
    """
    with catalog.writing() as writer:
        writer.forget_segments(retired_before=writer.generation() - _KEEP_GENERATIONS)
        kept = writer.file_names()
    n_deleted = 0
    for folder in (store.segments, store.derived, store.tmp):
        for path in folder.iterdir():
            lasts = folder == store.derived and path.name.startswith(_LASTING)
            if path.is_file() and path.name not in kept and not lasts:
                _log.info("deleting %s: no generation names it", path.name)
                with storing(f"delete {path}"):
                    path.unlink(missing_ok=True)
                n_deleted += 1
    return n_deleted
