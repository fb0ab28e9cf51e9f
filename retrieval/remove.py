"""Taking items out of a store; the files themselves are never touched."""

from __future__ import annotations

import os
from collections.abc import Sequence

from retrieval.catalog.read import Reader
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.config import expand_home
from retrieval.errors import NotFoundError, UsageError
from retrieval.media.urls import is_url

Target = str | os.PathLike[str] | int


def remove(targets: Sequence[Target], *, catalog: Catalog) -> int:
    """Remove items by path, folder or id from a store whose writer lock is held.

    Args:
        targets: paths of files or folders, or item ids.

    Returns:
        How many items went.

    Raises:
        NotFoundError: a target is not in the store; nothing is removed.
    """

    def forget(writer: Writer) -> int:
        paths = [path for target in targets for path in _paths(target, writer)]
        return writer.remove_paths(paths)

    return catalog.write(forget)


def resolve_item(target: Target, *, reader: Reader) -> int | None:
    """Find the item a path or id names; None for a path that is not in the store.

    Raises:
        NotFoundError: an id that does not exist.
    """
    if isinstance(target, int):
        if target not in reader.items([target]):
            raise NotFoundError(f"no item #{target} in the store", code="no_such_item")
        return target
    try:
        return reader.item_at(_absolute(target))
    except NotFoundError:
        return None


def _paths(target: Target, reader: Reader) -> list[str]:
    if isinstance(target, int):
        resolve_item(target, reader=reader)
        if reader.items([target])[target].record:
            raise UsageError(
                f"item #{target} is a row of a file; remove the whole file by its path, "
                "or take the row out of it and add the file again",
                code="item_is_row",
            )
        return reader.item_files(target)
    path = _absolute(target)
    if reader.known_files([path]):
        return [path]
    below = [*reader.rows_of(path), *reader.files_below(path)]
    if not below:
        raise NotFoundError(
            f"{path} is not in the store, and nothing below it is", code="not_in_store"
        )
    return below


def _absolute(target: str | os.PathLike[str]) -> str:
    named = os.fspath(target)
    return named if is_url(named) else str(expand_home(target).absolute())
