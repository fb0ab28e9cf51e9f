"""Vectors, ids and scores: indexes, segments and storage. Knows no media, models or SQL.

Importing this package imports no faiss; making an index of one of its kinds does.
"""

from index.base import Index
from index.choose import choose, make_index
from index.derived import load_index, save_index
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.merge import merge
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
    "choose",
    "failpoint",
    "fsync_dir",
    "hash_file",
    "is_network_filesystem",
    "load_index",
    "make_index",
    "measure_recall",
    "merge",
    "open_segment",
    "publish",
    "quantize",
    "recall_at_k",
    "save_index",
    "write_segment",
]
