"""Names of files, fit to be shown on a page."""

from __future__ import annotations

import os

__all__ = ["readable"]


def readable(path: str) -> str:
    """Write names that are no UTF-8, control characters and text directions visibly.

    Example:
        >>> readable("a" + chr(0x202E) + ".png")
        'a\\\\u202e.png'
    """
    whole = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)
