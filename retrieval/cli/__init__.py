"""The command line: parse, one Engine call, print.

Commands are imported when they are used, so `crossfind --help` stays quick.
"""

from __future__ import annotations

from retrieval.cli.main import main

__all__ = ["main"]
