"""Vectors, ids and scores: indexes, segments and storage. Knows no media, models or SQL.

Importing this package imports no faiss; the adapter does, when an index of its kinds is made.
"""

from index.base import Index
from index.exact import ExactIndex
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
    "open_segment",
    "publish",
    "quantize",
    "write_segment",
]
