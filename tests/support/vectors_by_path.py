"""What a store holds, as bytes by file name, for comparing two stores."""

from __future__ import annotations

from pathlib import Path

from index.segments import open_segment
from retrieval.engine import Engine


def vectors_by_path(store: Path) -> dict[str, bytes]:
    """Map each path of an item to the bytes of its vectors, in order of their ids."""
    found: dict[str, bytes] = {}
    with Engine.open(store) as engine, engine._catalog.reading() as reader:
        for entry in reader.segments():
            segment = open_segment(engine.store.segments / entry.info.name)
            vectors = segment.vectors(0, len(segment.ids))
            parts = reader.parts(segment.ids.tolist())
            items = reader.items({part.item_id for part in parts.values()})
            for row, part_id in enumerate(segment.ids.tolist()):
                if part_id in parts:
                    item = items[parts[part_id].item_id]
                    for path in (item.path, *item.copies):
                        found[path] = found.get(path, b"") + vectors[row].tobytes()
    return found
