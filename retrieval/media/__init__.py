"""Media files: found, told apart by their bytes, and decoded in guarded processes.

    scan -> Found -> Loader.load_many -> Loaded or Failure

Importing this package imports no decoder: each child imports the one it needs.
"""

from retrieval.media.load import load_file
from retrieval.media.scan import Found, find_file, scan
from retrieval.media.workers import Loader

__all__ = ["Found", "Loader", "find_file", "load_file", "scan"]
