"""Where stored parts came from: their files, and which piece of a file is which part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from retrieval.catalog.chunks import chunks
from retrieval.catalog.store import Catalog
from retrieval.errors import BadMediaError
from retrieval.media import Found, find_file
from retrieval.media.roots import find_url, list_place, place_of
from retrieval.media.shards import shard_of
from retrieval.media.urls import is_url
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
    catalog: Catalog, item_ids: Sequence[int], *, failures: list[Failure], fetches: bool = False
) -> Iterator[tuple[int, str, Found]]:
    """Find a file for each item: the first of its paths that is still there.

    Args:
        catalog: of the store.
        item_ids: of items that have files of their own.
        failures: gets those without one.
        fetches: also ask for files at URLs. A store may come from elsewhere, and shall not have
            this computer call somebody unless its user wants the sources read.

    Returns:
        Item id, the content hash it was added with, and the file.
    """
    places = _Places(fetches=fetches)
    for item_id in item_ids:
        with catalog.reading() as reader:
            paths = sorted(reader.item_files(item_id))
            files = reader.known_files(paths)
        try:
            found = next(filter(None, map(places.find, paths)), None)
        except BadMediaError as error:
            failures.append(Failure(paths[0], error.code, str(error)))
            continue
        if found is None:
            path = paths[0] if paths else f"(no file of item {item_id})"
            failures.append(Failure(path, "path_missing", f"{path}: the file is gone"))
            continue
        yield item_id, files[found.path].content_hash or "", found


class _Places:
    """Find files where they lie; the last shard or folder elsewhere is listed once for all."""

    def __init__(self, *, fetches: bool) -> None:
        self._fetches = fetches
        self._listed: tuple[str, dict[str, Found]] = ("", {})

    def find(self, path: str) -> Found | None:
        if Path(path).is_file():
            return find_file(Path(path))
        place = place_of(path)
        if not place or (is_url(place) and not self._fetches):
            return None
        if path.startswith(("http://", "https://")) and not shard_of(path):
            return find_url(path)  # not every server lists its folders
        if place != self._listed[0]:
            self._listed = (place, list_place(place))
        return self._listed[1].get(path)


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
