"""Media elsewhere: tar shards made from files, and a small HTTP server with ranges."""

from __future__ import annotations

import io
import re
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def shard(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar of named bytes."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def files_of(folder: Path) -> list[tuple[str, bytes]]:
    """List the files of a folder by name, for `shard`."""
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, with ranges and without a log; counts what it sends."""

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        self.server.asked.append((self.command, self.path))
        if wanted is None or not path.is_file():
            return super().send_head()
        data = path.read_bytes()
        first = int(wanted[1])
        last = min(int(wanted[2]) if wanted[2] else len(data), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        return io.BytesIO(data[first : last + 1])

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def http_server(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve a folder; gives its URL, and the list of what it is asked."""
    asked: list[tuple[str, str]] = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: _Handler(*args, directory=str(folder))
    )
    server.asked = asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
