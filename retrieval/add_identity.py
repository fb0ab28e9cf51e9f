"""Which items the contents of a batch are: known ones, changed ones that keep their ids, new ones.

It is decided within the transaction that writes them. Who loaded them may have looked a while ago,
and other writers may have come between (on PostgreSQL many write at the same time).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from retrieval.add_plan import is_transcribed
from retrieval.catalog.read import Reader
from retrieval.catalog.records import FileRecord, ItemRecord

Known = Mapping[int, tuple[int, str | None]]
"""Items of one content: record -> (item id, caption)."""


@dataclass(frozen=True, slots=True)
class Content:
    """A content that was loaded, and its items; neither they nor their parts have ids yet.

    Attributes:
        path: where it was loaded from.
        caption: of all its items.
        is_heard: whether what is said in it was written down.
        items: of id 0; the ids of their parts are keys of the batch, which find their vectors.
    """

    path: str
    caption: str | None
    is_heard: bool
    items: tuple[ItemRecord, ...]


@dataclass(frozen=True, slots=True)
class Identified:
    """A batch whose items have ids.

    Attributes:
        items: with the parts that they had.
        keys: part id -> key of the batch.
        changed: ids of items that were there before.
        copies: contents that the store holds by now.
        lost: contents of the batch's files that the store does not hold any more.
        next_item_id, next_part_id: first ids not used.
    """

    items: tuple[ItemRecord, ...]
    keys: Mapping[int, int]
    changed: frozenset[int]
    copies: frozenset[str]
    lost: frozenset[str]
    next_item_id: int
    next_part_id: int


def is_known(known: Known, *, content: Content, before: FileRecord | None) -> bool:
    """Tell whether a content needs nothing: it is there with its caption, and was listened to.

    Args:
        known: the items of the content.
        content: that was loaded.
        before: what the catalog knows of its path.
    """
    same_caption = {caption for _, caption in known.values()} == {content.caption}
    return same_caption and not (content.is_heard and not is_transcribed(before))


def identify(
    contents: Mapping[str, Content], *, files: Sequence[FileRecord], reader: Reader
) -> Identified:
    """Give the items and parts of a batch their ids, in the order they were taken.

    A path's item keeps its id when the content changes, unless a path still holds the old content.

    Args:
        contents: by hash, in the order they were taken.
        files: the paths of the batch.
        reader: of the transaction that will write it.
    """
    held = {file.content_hash for file in files if file.content_hash}
    known = reader.items_by_hashes({*contents, *held})
    before = reader.known_files([content.path for content in contents.values()])
    previous = {file.content_hash for file in before.values() if file.content_hash} - held
    holders = reader.paths_by_hash(previous)
    replaced = reader.items_by_hashes(previous)
    item_id, part_id = reader.next_ids()
    items: list[ItemRecord] = []
    keys: dict[int, int] = {}
    changed: set[int] = set()
    copies: set[str] = set()
    for content_hash, content in contents.items():
        file, own = before.get(content.path), known.get(content_hash, {})
        if is_known(own, content=content, before=file):
            copies.add(content_hash)
            continue
        old = file.content_hash if file is not None else None
        if not own and old and holders.get(old) == [content.path]:
            own = replaced.get(old, {})
        for item in content.items:
            number = own[item.record][0] if item.record in own else item_id
            if item.record in own:
                changed.add(number)
            item_id += item.record not in own
            parts = [replace(p, id=part_id + n, item_id=number) for n, p in enumerate(item.parts)]
            keys |= {part.id: key.id for part, key in zip(parts, item.parts, strict=True)}
            part_id += len(parts)
            items.append(replace(item, id=number, parts=tuple(parts)))
    return Identified(
        items=tuple(items),
        keys=keys,
        changed=frozenset(changed),
        copies=frozenset(copies),
        lost=frozenset(held - set(contents) - set(known)),
        next_item_id=item_id,
        next_part_id=part_id,
    )
