"""Media files: found, told apart by their bytes, and decoded in guarded processes.

    scan -> Found -> Loader.load_many -> Loaded or Failure

Importing this package imports no decoder: each child imports the one it needs. Nor does a child
import the parent's side of it, `Loader`: that would double the cost of replacing one that died.
"""

from typing import TYPE_CHECKING, Any

from retrieval.media.load import load_file
from retrieval.media.scan import Found, find_file, scan

if TYPE_CHECKING:
    from retrieval.media.workers import Loader

__all__ = ["Found", "Loader", "find_file", "load_file", "scan"]


def __getattr__(name: str) -> Any:  # Any: what a module's attribute is
    if name == "Loader":
        from retrieval.media.workers import Loader

        return Loader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
