"""Decoders that misbehave on purpose, so that tests can watch the guard hold.

Only reached when the parent has CROSSFIND_TEST_DECODER=1 in its environment; the file's name then
says what happens: `segfault-*`, `abort-*`, `exit-*`, `hang-*` (asleep), `spin-*` (busy),
`eat-memory-*`, `lie-length-*`, `lie-shape-*`, `lie-json-*`, `lie-magic-*`.
"""

from __future__ import annotations

import os
import signal
import time

from retrieval.media.wire import pack_header

ENVIRONMENT_NAME = "CROSSFIND_TEST_DECODER"


def misbehave(path: str) -> bytes | None:
    """Do what the file's name asks for.

    Args:
        path: of the file that would be decoded.

    Returns:
        The bytes of a lie to send instead of an answer, or None for a file that is to be loaded.
    """
    name = os.path.basename(path)
    for prefix, lie in _LIES.items():
        if name.startswith(prefix):
            return lie
    if name.startswith("segfault-"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("abort-"):
        os.abort()
    if name.startswith("exit-"):
        os._exit(7)
    if name.startswith("hang-"):
        time.sleep(3600)
    while name.startswith("spin-"):
        pass
    if name.startswith("eat-memory-"):
        hoard = []
        while True:
            hoard.append(bytearray(64 << 20))
    return None


_LOADED: dict[str, object] = {
    "modality": "image",
    "format": "png",
    "content_hash": "0" * 64,
    "size_bytes": 1,
    "mtime_ns": 1,
    "inode": 1,
    "width_px": 1,
    "height_px": 1,
    "duration_s": None,
    "caption": None,
    "flags": [],
    "shared": False,
}
_LIES = {
    "lie-length-": pack_header({"loaded": _LOADED | {"parts": [], "sizes": [1 << 40, 0, 0]}}),
    "lie-shape-": pack_header(
        {"loaded": _LOADED | {"parts": [["image", 3, 1, None, None, 0, False]], "sizes": [0, 0, 0]}}
    ),
    "lie-json-": b"CFW1\0\0\0\4oops",
    "lie-magic-": b"\x7fELF\0\0\0\0" * 4,
}
