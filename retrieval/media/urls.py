"""Media at URLs: what lies there, and its bytes; fsspec behind our own errors.

Each protocol needs its package (`s3fs` for s3://, `gcsfs` for gs://, `aiohttp` for https://,
`huggingface_hub` for hf://), which fsspec imports when the first such URL comes, and takes its
credentials from where that package always looks for them.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from retrieval.errors import BackendMissingError, BadMediaError, UsageError

T = TypeVar("T")

PROTOCOLS = (
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "http", "https", "memory", "ftp",
    "sftp", "webdav", "webdavs", "hdfs",
)  # fmt: skip
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_EXPANDED = 1_000_000

# How the file systems of fsspec name what changes with a file's content, and when it changed.
_TAGS = ("ETag", "etag", "md5Hash", "md5", "Content-MD5", "sha256", "blob_id", "generation")
_TIMES = ("LastModified", "mtime", "updated", "last_modified", "modified", "Last-Modified",
          "last_commit", "created")  # fmt: skip
# Errors that are no OSError, by the module that must be loaded for them to come.
_FOREIGN = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("requests.exceptions", "RequestException"),
    ("httpx", "HTTPError"),
)
_TRIES = 3
_ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder at a URL.

    Attributes:
        url: as fsspec writes it.
        is_folder: it has entries of its own.
        size_bytes: -1 where nobody says.
        mtime_ns: when it was changed, nanoseconds since 1970; 0 where nobody says.
        stamp: what else tells one state of its content from another; never empty.
    """

    url: str
    is_folder: bool
    size_bytes: int
    mtime_ns: int
    stamp: str


def is_url(text: str) -> bool:
    """Tell whether a text is a URL, and no path.

    Example:
        >>> is_url("s3://bucket/a.jpg"), is_url("/data/a.jpg"), is_url("a:b.jpg")
        (True, False, False)
    """
    return _URL.match(text) is not None


def suffix_of(path: str) -> str:
    """Give the suffix that tells a kind, in small letters; a URL may have a query behind it.

    Example:
        >>> suffix_of("https://host/a.JPG?size=9"), suffix_of("s3://bucket/a.png")
        ('.jpg', '.png')
    """
    plain = urlsplit(path).path if path.startswith(("http://", "https://")) else path
    return os.path.splitext(plain)[1].lower()


def check_url(url: str) -> str:
    """Refuse URLs that are of no known protocol, or bring a password.

    Raises:
        UsageError: `bad_address`.
    """
    found = _URL.match(url)
    protocol = found[1].lower() if found else ""
    if protocol not in PROTOCOLS or "::" in url:
        raise UsageError(
            f"{url}: {protocol}:// is not read; use one of {', '.join(PROTOCOLS)}, or file",
            code="bad_address",
        )
    if "@" in urlsplit(url).netloc:
        raise UsageError(
            f"{url.replace(urlsplit(url).netloc, '...')} holds a password, which the store would "
            "keep; give it to the protocol's own package (see docs of fsspec)",
            code="bad_address",
        )
    return url


def expand_braces(text: str) -> list[str]:
    """Write out `{00..09}` and `{a,b}`, as shells and webdataset do.

    Raises:
        UsageError: more than a million texts come of it (`bad_address`).

    Example:
        >>> expand_braces("s/{08..10}-{a,b}.tar")
        ['s/08-a.tar', 's/08-b.tar', 's/09-a.tar', 's/09-b.tar', 's/10-a.tar', 's/10-b.tar']
        >>> expand_braces("plain{}.tar")
        ['plain{}.tar']
    """
    for found in _BRACES.finditer(text):
        words = _words(found[1])
        if len(words) > 1:
            head, rest = text[: found.start()], expand_braces(text[found.end() :])
            if len(words) * len(rest) > _MOST_EXPANDED:
                raise UsageError(f"{text} is over {_MOST_EXPANDED:,} names", code="bad_address")
            return [head + word + tail for word in words for tail in rest]
    return [text]


def _words(inside: str) -> list[str]:
    ends = _RANGE.fullmatch(inside)
    if ends is None:
        return inside.split(",")
    width = max(map(len, ends.groups())) if inside.startswith("0") else 0
    first, last = int(ends[1]), int(ends[2])
    if abs(last - first) >= _MOST_EXPANDED:
        raise UsageError(f"{{{inside}}} is over {_MOST_EXPANDED:,} names", code="bad_address")
    step = 1 if last >= first else -1
    return [str(number).zfill(width) for number in range(first, last + step, step)]


def look(url: str) -> Entry:
    """Look what is at a URL.

    Raises:
        BadMediaError: nothing (`vanished`), or it cannot be asked (`unreadable`).
        BackendMissingError: the package of the protocol is not installed.
    """
    fs, path = _open_system(url)
    if url.startswith("http") and url.endswith("/"):  # what a server shows for it is a page
        return Entry(url, is_folder=True, size_bytes=-1, mtime_ns=0, stamp="at:")
    with _reading():
        return _entry(fs, fs.info(path))


def canonical(url: str) -> str:
    """Write a URL as those of the files below it begin."""
    fs, path = _open_system(url)
    return str(fs.unstrip_protocol(path))


def list_folder(url: str) -> list[Entry]:
    """List what is in a folder, by name.

    Raises:
        BadMediaError: it cannot be listed.
    """
    fs, path = _open_system(url)
    with _reading():
        fs.invalidate_cache()
        infos = fs.ls(path, detail=True)
        below = [info for info in infos if info["name"].rstrip("/") != path.rstrip("/")]
        unsized = [i for i in below if i["type"] != "directory" and i.get("size") is None]
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:  # a page of links tells names alone
            sizes = pool.map(lambda info: fs.info(info["name"]), unsized)
            told = dict(zip(map(id, unsized), sizes, strict=True))
        entries = [_entry(fs, told.get(id(info), info)) for info in below]
    return sorted(entries, key=lambda entry: entry.url)


def read_range(url: str, *, start: int, n_bytes: int) -> bytes:
    """Read some bytes of a file; fewer where it ends before.

    Raises:
        BadMediaError: it is gone (`vanished`) or cannot be read (`unreadable`), in three tries.
    """

    def read() -> bytes:
        fs, path = _open_system(url)
        data = bytes(fs.cat_file(path, start=start, end=start + n_bytes))
        # A server without ranges sends everything.
        return data if len(data) <= n_bytes else data[start : start + n_bytes]

    return _tried(read) if n_bytes else b""


def copy_to(url: str, sink: IO[bytes], *, most_bytes: int) -> None:
    """Copy a whole file.

    Raises:
        BadMediaError: it cannot be read, or has more than `most_bytes` (`too_many_bytes`).
    """

    def copy() -> None:
        fs, path = _open_system(url)
        sink.seek(0)
        sink.truncate()
        with fs.open(path, "rb", cache_type="none", block_size=1 << 22) as source:
            while block := source.read(1 << 22):
                if sink.tell() + len(block) > most_bytes:
                    raise BadMediaError(
                        f"it has more than {most_bytes:,} bytes; leave it out",
                        code="too_many_bytes",
                    )
                sink.write(block)

    _tried(copy)


@contextmanager
def open_url(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading here and there, such as a tar.

    Raises:
        BadMediaError: it is gone or cannot be read, also later on.
    """
    fs, path = _open_system(url)
    with _reading(), fs.open(path, "rb", cache_type="readahead", block_size=1 << 20) as file:
        yield file


def _tried(work: Callable[[], T]) -> T:
    for number in range(1, _TRIES):
        try:
            with _reading():
                return work()
        except BadMediaError as error:
            if error.code != "unreadable":
                raise
            time.sleep(0.3 * number)
    with _reading():
        return work()


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what the packages of protocols raise into our own errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadMediaError(
            "nothing is at this URL any more; scan again", code="vanished"
        ) from error
    except _errors() as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadMediaError(
            f"it cannot be fetched ({why}); try again", code="unreadable"
        ) from error


def _errors() -> tuple[type[Exception], ...]:
    """List what a file system may raise; of packages, those that are loaded."""
    loaded = ((sys.modules.get(module), name) for module, name in _FOREIGN)
    foreign = (getattr(module, name) for module, name in loaded if hasattr(module, name))
    return (OSError, ValueError, RuntimeError, EOFError, *foreign)


def _open_system(url: str) -> tuple[Any, str]:  # Any: fsspec has no types
    """Open the file system of a URL; the same one for the same server."""
    try:
        import fsspec.core

        fs, path = fsspec.core.url_to_fs(url)
        return fs, str(path)
    except ImportError as error:
        raise BackendMissingError(
            f"{url} needs the package of its protocol: {error}; pip install 'crossfind[urls]' "
            "brings those of https, s3 and gs"
        ) from error


def _entry(fs: Any, info: dict[str, Any]) -> Entry:  # Any: fsspec has no types
    size = info.get("size")
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), "")
    return Entry(
        url=fs.unstrip_protocol(info["name"]),
        is_folder=info["type"] == "directory",
        size_bytes=-1 if size is None else int(size),
        mtime_ns=next((_ns(info[name]) for name in _TIMES if info.get(name)), 0),
        stamp=f"at:{tag}",
    )


def _ns(when: object) -> int:
    """Read a time in any of the forms that file systems give it; 0 for none of them."""
    if isinstance(when, str):
        when = _read_date(when)
    elif not isinstance(when, datetime | int | float):
        when = getattr(when, "date", None)  # of a commit
    if isinstance(when, datetime):
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e9)
    return int(when * 1e9) if isinstance(when, int | float) else 0


@cache
def _read_date(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except ValueError:
            continue
    return None
