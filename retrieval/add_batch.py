"""Collecting loaded files until a commit: ids, full batches, segments, one transaction."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from index.segments import write_segment
from index.storage import failpoint
from index.types import Ids, SegmentInfo
from retrieval.add_identity import Content, Identified, identify, is_known
from retrieval.add_plan import file_stamp
from retrieval.catalog.records import Batch, FileRecord, ItemRecord, printable
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.encoders.base import Encoder, Vectors
from retrieval.encoders.waiting_parts import WaitingParts
from retrieval.media import Found
from retrieval.media.speech import TRANSCRIBED_FLAG
from retrieval.store import Store
from retrieval.types import Failure, Loaded, LoadedPart, Part, Space


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit made true."""

    n_added: int
    n_changed: int
    n_copies: int
    n_bad: int
    n_removed: int
    n_parts: int


class Collector:
    """Hold what has been loaded and encoded since the last commit.

    Attributes:
        lost: files that were taken for copies of a content whose items went before the commit;
            they are to be loaded.
    """

    def __init__(self, *, catalog: Catalog, store: Store, encoder: Encoder) -> None:
        self._catalog = catalog
        self._store = store
        self._encoder = encoder
        self.lost: deque[Found] = deque()
        self._clear()

    def _clear(self) -> None:
        self._files: dict[str, tuple[Found | None, FileRecord]] = {}
        self._contents: dict[str, Content] = {}
        self._vanished: list[str] = []
        self._unasked: list[str] = []  # contents that the catalog was not asked for
        self._waiting = WaitingParts(self._encoder, spaces=self._encoder.spaces)
        self._n_keys = 0
        self._n_copies = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether a commit would change nothing."""
        return not (self._files or self._vanished)

    def take_failure(self, failure: Failure, *, size_bytes: int, mtime_ns: int, stamp: str) -> None:
        """Remember a bad file, so that it is named and not tried again until it changes."""
        bad = FileRecord(
            path=failure.path,
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            caption_stamp=stamp,
            content_hash=None,
            code=failure.code,
            reason=failure.reason,
        )
        self._files[bad.path] = (None, bad)

    def take_copy(self, found: Found, file: FileRecord, *, vanished: Iterable[str]) -> None:
        """Remember a path whose content is known, and those of its paths that are gone."""
        self._files[file.path] = (found, file)
        self._vanished += vanished
        self._n_copies += 1

    def take_vanished(self, path: str) -> None:
        """Forget a path that is gone."""
        self._vanished.append(path)

    def take(self, found: Found, loaded: Loaded) -> None:
        """Take a loaded file: its parts wait for a full batch, in which only news are encoded."""
        is_heard = TRANSCRIBED_FLAG in loaded.flags
        file = FileRecord(
            path=found.path,
            size_bytes=loaded.size_bytes,
            mtime_ns=loaded.mtime_ns,
            caption_stamp=file_stamp(found, is_transcribed=is_heard),
            content_hash=loaded.content_hash,
        )
        self._files[file.path] = (found, file)
        content_hash = loaded.content_hash
        if content_hash in self._contents:
            self._n_copies += 1
            return
        items = self._items_of(loaded)
        self._contents[content_hash] = Content(found.path, loaded.caption, is_heard, items=items)
        self._unasked.append(content_hash)
        if self._waiting.has_full:
            self._leave_out_known()
            self._waiting.encode_full()

    def _leave_out_known(self) -> None:
        """Leave out the contents that the catalog has by now.

        It is asked for many at once: a question costs as much as decoding a small picture.
        """
        if not self._unasked:
            return
        asked = {content_hash: self._contents[content_hash] for content_hash in self._unasked}
        self._unasked.clear()
        with self._catalog.reading() as reader:
            held = reader.items_by_hashes(asked)
            before = reader.known_files([asked[h].path for h in held if asked[h].is_heard])
        known = {
            content_hash
            for content_hash, items in held.items()
            if is_known(
                items, content=asked[content_hash], before=before.get(asked[content_hash].path)
            )
        }
        self._n_copies += len(known)
        for content_hash in known:
            del self._contents[content_hash]
        if known:
            self._waiting.leave_out(known)

    def _items_of(self, loaded: Loaded) -> tuple[ItemRecord, ...]:
        by_record: dict[int, list[LoadedPart]] = defaultdict(list)
        for part in loaded.parts:
            by_record[part.record].append(part)
        return tuple(
            ItemRecord(
                id=0,
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
                parts=tuple(self._take_part(part, loaded.content_hash) for part in parts),
            )
            for record, parts in by_record.items()
        )

    def _take_part(self, part: LoadedPart, content_hash: str) -> Part:
        key, self._n_keys = self._n_keys, self._n_keys + 1
        self._waiting.put(key, part.payload, modality=part.modality, content_hash=content_hash)
        return Part(
            id=key,
            item_id=0,
            modality=part.modality,
            start_s=part.start_s,
            end_s=part.end_s,
            text=part.payload if isinstance(part.payload, str) else None,
        )

    def commit(self) -> Committed:
        """Encode what waits, write the segments, and make everything true in one transaction."""
        self._leave_out_known()
        self._waiting.encode_all()
        done, lost = self._catalog.write(self._write)
        failpoint("commit.after")
        self.lost += [found for path in lost if (found := self._files[path][0]) is not None]
        self._clear()
        return done

    def _write(self, writer: Writer) -> tuple[Committed, list[str]]:
        """Write the batch, segments first; give what is done and the paths that were lost.

        Whoever commits is alone meanwhile: nobody can have deleted the new segments for garbage,
        nor given their ids to others.
        """
        known = [file for _, file in self._files.values()]
        batch = identify(self._contents, files=known, reader=writer)
        items = self._placed_items(batch)
        refused = set(self._contents) - batch.copies - {item.content_hash for item in items}
        lost = [file.path for file in known if file.content_hash in batch.lost]
        files = [
            _refuse(file) if file.content_hash in refused else file
            for file in known
            if file.content_hash not in batch.lost
        ]
        segments = self._write_segments(items, batch.keys)
        failpoint("commit.before")
        for space in self._encoder.spaces:
            writer.ensure_space(space)
        n_removed = writer.apply(
            Batch(
                files=tuple(files),
                items=tuple(items),
                segments=tuple(segments),
                vanished=tuple(self._vanished),
                next_item_id=batch.next_item_id,
                next_part_id=batch.next_part_id,
            )
        )
        n_changed = sum(item.id in batch.changed for item in items)
        done = Committed(
            n_added=len(items) - n_changed,
            n_changed=n_changed,
            n_copies=self._n_copies + len(batch.copies) - len(lost),
            n_bad=sum(bool(file.code) for file in files),
            n_removed=n_removed,
            n_parts=sum(len(item.parts) for item in items),
        )
        return done, lost

    def _placed_items(self, batch: Identified) -> list[ItemRecord]:
        """Drop the parts the model could not place, and the items that have no other."""
        unplaced = {
            key
            for vectors in self._waiting.vectors.values()
            for key, vector in vectors.items()
            if not vector.any()
        }
        if not unplaced:
            return list(batch.items)
        items = [
            replace(item, parts=tuple(p for p in item.parts if batch.keys[p.id] not in unplaced))
            for item in batch.items
        ]
        return [item for item in items if item.parts]

    def _write_segments(
        self, items: Iterable[ItemRecord], keys: Mapping[int, int]
    ) -> list[tuple[str, SegmentInfo]]:
        """Write one segment per space; vectors are matched to ids by key, never by position."""
        part_ids = sorted(part.id for item in items for part in item.parts)
        written = []
        for space in self._encoder.spaces:
            vectors = self._waiting.vectors.get(space.id, {})
            ids = np.array([id_ for id_ in part_ids if keys[id_] in vectors], dtype=np.int64)
            if len(ids):
                matrix = np.stack([vectors[keys[int(id_)]] for id_ in ids])
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
