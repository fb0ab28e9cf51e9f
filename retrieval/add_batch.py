"""Collecting loaded files until a commit: ids, full batches, segments, one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from index.segments import write_segment
from index.storage import failpoint
from index.types import Ids, SegmentInfo
from retrieval.add_plan import file_stamp, is_transcribed
from retrieval.catalog.records import Batch, FileRecord, ItemRecord, printable
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder, Vectors
from retrieval.media import Found
from retrieval.media.speech import TRANSCRIBED_FLAG
from retrieval.store import Store
from retrieval.types import Failure, Loaded, LoadedPart, Modality, Part, Payload, Space


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit made true."""

    n_added: int
    n_changed: int
    n_copies: int
    n_bad: int
    n_removed: int
    n_parts: int


@dataclass
class _Pending:
    """Parts of one modality that wait for a full batch."""

    ids: list[int] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)


class Collector:
    """Hold what has been loaded and encoded since the last commit.

    One writer uses one Collector for a whole run, under the writer lock: it hands out ids.
    """

    def __init__(self, *, catalog: Catalog, store: Store, encoder: Encoder) -> None:
        self._catalog = catalog
        self._store = store
        self._encoder = encoder
        with catalog.reading() as reader:
            self._next_item_id, self._next_part_id = reader.next_ids()
        self._clear()

    def _clear(self) -> None:
        self._files: list[FileRecord] = []
        self._items: dict[int, ItemRecord] = {}
        self._new_contents: set[str] = set()
        self._vanished: list[str] = []
        self._waiting: dict[Modality, _Pending] = defaultdict(_Pending)
        self._vectors: dict[str, dict[int, Vectors]] = defaultdict(dict)
        self._n_changed = 0
        self._n_copies = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether a commit would change nothing."""
        return not (self._files or self._items or self._vanished)

    def take_failure(self, failure: Failure, *, size_bytes: int, mtime_ns: int, stamp: str) -> None:
        """Remember a bad file, so that it is named and not tried again until it changes."""
        self._files.append(
            FileRecord(
                path=failure.path,
                size_bytes=size_bytes,
                mtime_ns=mtime_ns,
                caption_stamp=stamp,
                content_hash=None,
                code=failure.code,
                reason=failure.reason,
            )
        )

    def take_copy(self, file: FileRecord, *, vanished: Iterable[str]) -> None:
        """Remember a path whose content is known, and those of its paths that are gone."""
        self._files.append(file)
        self._vanished += vanished
        self._n_copies += 1

    def take_vanished(self, path: str) -> None:
        """Forget a path that is gone."""
        self._vanished.append(path)

    def take(self, found: Found, loaded: Loaded) -> None:
        """Take a loaded file: give it ids and let its parts wait for a full batch."""
        is_heard = TRANSCRIBED_FLAG in loaded.flags
        file = FileRecord(
            path=found.path,
            size_bytes=loaded.size_bytes,
            mtime_ns=loaded.mtime_ns,
            caption_stamp=file_stamp(found, is_transcribed=is_heard),
            content_hash=loaded.content_hash,
        )
        self._files.append(file)
        if loaded.content_hash in self._new_contents:
            self._n_copies += 1
            return
        with self._catalog.reading() as reader:
            same_content = reader.items_by_hash(loaded.content_hash)
            known = reader.known_files([found.path]).get(found.path)
            is_news = is_heard and not is_transcribed(known)
            if same_content and _captions(same_content) == {loaded.caption} and not is_news:
                self._n_copies += 1
                return
            reuse = {record: id_ for record, (id_, _) in same_content.items()}
            old = known.content_hash if known is not None else None
            # The path's item keeps its id, unless another path still holds the old content.
            if not reuse and old and reader.paths_by_hash([old]) == {old: [found.path]}:
                before = reader.items_by_hash(old)
                reuse = {record: id_ for record, (id_, _) in before.items()}
        self._new_contents.add(loaded.content_hash)
        self._take_items(loaded, reuse)

    def _take_items(self, loaded: Loaded, reuse: dict[int, int]) -> None:
        by_record: dict[int, list[LoadedPart]] = defaultdict(list)
        for part in loaded.parts:
            by_record[part.record].append(part)
        for record, parts in by_record.items():
            item_id = reuse.get(record, 0)
            self._n_changed += bool(item_id)
            if not item_id:
                item_id, self._next_item_id = self._next_item_id, self._next_item_id + 1
            self._items[item_id] = ItemRecord(
                id=item_id,
                content_hash=loaded.content_hash,
                record=record,
                modality=loaded.modality,
                format=loaded.format,
                size_bytes=loaded.size_bytes,
                width_px=loaded.width_px,
                height_px=loaded.height_px,
                duration_s=loaded.duration_s,
                caption=loaded.caption,
                flags=loaded.flags,
                details=loaded.details,
                parts=tuple(self._take_part(item_id, part) for part in parts),
            )

    def _take_part(self, item_id: int, part: LoadedPart) -> Part:
        part_id, self._next_part_id = self._next_part_id, self._next_part_id + 1
        waiting = self._waiting[part.modality]
        waiting.ids.append(part_id)
        waiting.payloads.append(part.payload)
        if len(waiting.ids) >= self._encoder.batch_size.get(part.modality, 32):
            self._encode(part.modality)
        return Part(
            id=part_id,
            item_id=item_id,
            modality=part.modality,
            start_s=part.start_s,
            end_s=part.end_s,
            text=part.payload if isinstance(part.payload, str) else None,
        )

    def _encode(self, modality: Modality) -> None:
        waiting = self._waiting.pop(modality)
        for space in self._encoder.spaces:
            if modality in space.modalities:
                vectors = self._encoder.encode(waiting.payloads, modality=modality, space=space)
                assert len(vectors) == len(waiting.ids)
                self._vectors[space.id].update(zip(waiting.ids, vectors, strict=True))

    def commit(self) -> Committed:
        """Encode what waits, write the segments, and make everything true in one transaction."""
        for modality in list(self._waiting):
            self._encode(modality)
        items = self._placed_items()
        refused = self._new_contents - {item.content_hash for item in items}
        files = [_refuse(f) if f.content_hash in refused else f for f in self._files]
        segments = self._write_segments(items)
        failpoint("commit.before")
        with self._catalog.writing() as writer:
            for space in self._encoder.spaces:
                writer.ensure_space(space)
            n_removed = writer.apply(
                Batch(
                    files=tuple(files),
                    items=tuple(items),
                    segments=tuple(segments),
                    vanished=tuple(self._vanished),
                    next_item_id=self._next_item_id,
                    next_part_id=self._next_part_id,
                )
            )
        failpoint("commit.after")
        done = Committed(
            n_added=len(items) - self._n_changed,
            n_changed=self._n_changed,
            n_copies=self._n_copies,
            n_bad=sum(bool(file.code) for file in files),
            n_removed=n_removed,
            n_parts=sum(len(item.parts) for item in items),
        )
        self._clear()
        return done

    def _placed_items(self) -> list[ItemRecord]:
        """Drop the parts the model could not place, and the items that have no other."""
        unplaced = {
            part_id
            for vectors in self._vectors.values()
            for part_id, vector in vectors.items()
            if not vector.any()
        }
        items = [
            replace(item, parts=tuple(part for part in item.parts if part.id not in unplaced))
            for item in self._items.values()
        ]
        return [item for item in items if item.parts]

    def _write_segments(self, items: list[ItemRecord]) -> list[tuple[str, SegmentInfo]]:
        """Write one segment per space; vectors are matched to ids by key, never by position."""
        part_ids = [part.id for item in items for part in item.parts]
        written = []
        for space in self._encoder.spaces:
            vectors = self._vectors.get(space.id, {})
            ids = np.array(sorted(id_ for id_ in part_ids if id_ in vectors), dtype=np.int64)
            if len(ids):
                matrix = np.stack([vectors[int(id_)] for id_ in ids])
                written.append((space.id, self._write_segment(space, ids, matrix)))
        return written

    def _write_segment(self, space: Space, ids: Ids, vectors: Vectors) -> SegmentInfo:
        return write_segment(
            self._store.segments,
            vectors,
            ids=ids,
            fingerprint=space.fingerprint,
            tmp=self._store.tmp,
        )


def _refuse(file: FileRecord) -> FileRecord:
    """Turn a file whose every part was refused by the model into a bad one."""
    return replace(
        file,
        content_hash=None,
        code="non_finite_vector",
        reason=f"{printable(file.path)}: the model gave no finite vector for it; "
        "look at the file, or use another model",
    )


def _captions(items: dict[int, tuple[int, str | None]]) -> set[str | None]:
    return {caption for _, caption in items.values()}
