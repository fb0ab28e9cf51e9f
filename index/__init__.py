"""Vectors, ids and scores: indexes, segments and storage. Knows no media, models or SQL.

Importing this package imports neither numpy nor faiss: a name brings what it needs on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from index.base import Index
    from index.choose import make_index
    from index.derived import load_index, save_index
    from index.exact import ExactIndex
    from index.faiss_index import FaissIndex
    from index.recall import measure_recall, recall_at_k
    from index.rows import quantize
    from index.segments import Segment, check_segment, open_segment, write_segment
    from index.storage import (
        PUBLISH_FAILPOINTS,
        WriterLock,
        failpoint,
        fsync_dir,
        hash_file,
        is_network_filesystem,
        publish,
    )
    from index.types import Neighbors, Plan, SearchParameters, SegmentInfo

__all__ = [
    "PUBLISH_FAILPOINTS",
    "ExactIndex",
    "FaissIndex",
    "Index",
    "Neighbors",
    "Plan",
    "SearchParameters",
    "Segment",
    "SegmentInfo",
    "WriterLock",
    "check_segment",
    "failpoint",
    "fsync_dir",
    "hash_file",
    "is_network_filesystem",
    "load_index",
    "make_index",
    "measure_recall",
    "open_segment",
    "publish",
    "quantize",
    "recall_at_k",
    "save_index",
    "write_segment",
]

_HOMES = {
    "ExactIndex": "index.exact",
    "FaissIndex": "index.faiss_index",
    "Index": "index.base",
    "Neighbors": "index.types",
    "PUBLISH_FAILPOINTS": "index.storage",
    "Plan": "index.types",
    "SearchParameters": "index.types",
    "Segment": "index.segments",
    "SegmentInfo": "index.types",
    "WriterLock": "index.storage",
    "check_segment": "index.segments",
    "failpoint": "index.storage",
    "fsync_dir": "index.storage",
    "hash_file": "index.storage",
    "is_network_filesystem": "index.storage",
    "load_index": "index.derived",
    "make_index": "index.choose",
    "measure_recall": "index.recall",
    "open_segment": "index.segments",
    "publish": "index.storage",
    "quantize": "index.rows",
    "recall_at_k": "index.recall",
    "save_index": "index.derived",
    "write_segment": "index.segments",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'index' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
