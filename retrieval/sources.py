"""Where stored parts came from: their files, and which piece of a file is which part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from retrieval.catalog.chunks import chunks
from retrieval.catalog.store import Catalog
from retrieval.errors import BadMediaError
from retrieval.media import Found, find_file
from retrieval.types import Failure, Loaded, LoadedPart, Part


def media_parts(catalog: Catalog, part_ids: Iterable[int]) -> dict[int, list[Part]]:
    """Group pictures and sounds by their items; texts, which the catalog holds, are left out."""
    wanted: dict[int, list[Part]] = defaultdict(list)
    for chunk in chunks(part_ids):
        with catalog.reading() as reader:
            for part in reader.parts(chunk).values():
                if part.modality != "text":
                    wanted[part.item_id].append(part)
    return dict(wanted)


def find_sources(
    catalog: Catalog, item_ids: Sequence[int], *, failures: list[Failure]
) -> Iterator[tuple[int, str, Found]]:
    """Find a file for each item: the first of its paths that is still there.

    Args:
        catalog: of the store.
        item_ids: of items that have files of their own.
        failures: gets those without one.

    Returns:
        Item id, the content hash it was added with, and the file.
    """
    for item_id in item_ids:
        with catalog.reading() as reader:
            paths = sorted(reader.item_files(item_id))
            files = reader.known_files(paths)
        there = next((path for path in paths if Path(path).is_file()), None)
        if there is None:
            path = paths[0] if paths else f"(no file of item {item_id})"
            failures.append(Failure(path, "path_missing", f"{path}: the file is gone"))
            continue
        try:
            yield item_id, files[there].content_hash or "", find_file(Path(there))
        except BadMediaError as error:
            failures.append(Failure(there, error.code, str(error)))


def match_pieces(loaded: Loaded, parts: Sequence[Part]) -> dict[int, LoadedPart]:
    """Find the loaded piece of each part: same modality, same place in time, same order.

    Returns:
        Part id -> piece; parts without one are left out.
    """
    waiting: dict[tuple[str, float, float], list[LoadedPart]] = defaultdict(list)
    for piece in loaded.parts:
        waiting[_place(piece)].append(piece)
    matched: dict[int, LoadedPart] = {}
    for part in sorted(parts, key=lambda part: part.id):
        pieces = waiting.get(_place(part))
        if pieces:
            matched[part.id] = pieces.pop(0)
    return matched


def _place(part: Part | LoadedPart) -> tuple[str, float, float]:
    return part.modality, round(part.start_s or 0.0, 3), round(part.end_s or 0.0, 3)
