"""What a user names to be added: files and folders here, URLs, and shards of webdataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from retrieval.config import expand_home
from retrieval.errors import BadMediaError, UsageError
from retrieval.media import urls
from retrieval.media.kinds import CAPTION_SUFFIXES, CAPTIONED_SUFFIXES, MEDIA_SUFFIXES
from retrieval.media.listings import Listings
from retrieval.media.scan import JUNK, Found, refuse_suffix
from retrieval.media.shards import is_shard, scan_shard, shard_of
from retrieval.types import Failure

_UNREAD = frozenset({"unreadable", "vanished", "truncated"})  # codes of what is not known whole

OnSkip = Callable[[Failure], None]
OnRoot = Callable[[str, frozenset[str]], None]
"""Is told of each root that was read to its end, and what was found in it."""


@dataclass(frozen=True, slots=True)
class Roots:
    """What is to be added.

    Attributes:
        local: absolute paths of files and folders.
        elsewhere: URLs, and absolute paths of shards.
    """

    local: tuple[Path, ...] = ()
    elsewhere: tuple[str, ...] = ()


def read_roots(named: Iterable[str | os.PathLike[str]]) -> Roots:
    """Read what a user named; braces stand for several names unless a file is called so.

    Args:
        named: paths, `file://` and other URLs, and shards such as `s3://b/{00..09}.tar`.

    Raises:
        UsageError: a URL that is not read (`bad_address`), or a shard that does not exist
            (`path_missing`).

    Example:
        >>> read_roots(["s3://b/{0..1}.tar", "file:///data/a%20b"]).elsewhere
        ('s3://b/0.tar', 's3://b/1.tar')
    """
    local: list[Path] = []
    elsewhere: dict[str, None] = {}
    for one in named:
        text = os.fspath(one)
        if text.startswith("file://"):
            text = unquote(urlsplit(text).path)
        if urls.is_url(text):
            for url in urls.expand_braces(text):
                elsewhere[urls.check_url(url)] = None
            continue
        whole = expand_home(text).absolute()
        names = [text] if os.path.lexists(whole) else urls.expand_braces(text)
        for path in (expand_home(name).absolute() for name in names):
            if not is_shard(str(path)) or path.is_dir():
                local.append(path)
                continue
            if not path.exists():
                missing = f"{path} does not exist; name a shard that does"
                raise UsageError(missing, code="path_missing")
            elsewhere[str(path)] = None
    return Roots(tuple(local), tuple(elsewhere))


def scan_elsewhere(
    roots: Sequence[str], *, on_skip: OnSkip, on_root: OnRoot, listings: Listings | None = None
) -> Iterator[Found]:
    """Find the media at URLs and in shards, in the order named; of a folder its own files first.

    As in a folder here hidden names, junk and what is no media are passed over in silence.

    Args:
        roots: `Roots.elsewhere`.
        on_skip: is told of what cannot be read, with a code; the other roots are read all the same.
        on_root: see `OnRoot`.
        listings: where it is kept what shards at URLs hold; None: nowhere.

    Yields:
        Each file; one that was found before is left out.
    """
    for named in roots:
        root = urls.canonical(named) if urls.is_url(named) else named
        failures: list[Failure] = []
        paths: set[str] = set()
        for found in _scan_root(root, on_skip=failures.append, listings=listings):
            if found.path not in paths:
                paths.add(found.path)
                yield found
        for failure in failures:
            on_skip(failure)
        if not any(failure.code in _UNREAD for failure in failures):
            on_root(root, frozenset(paths))


def find_url(url: str) -> Found:
    """Find one file at a URL, without what lies beside it.

    Raises:
        BadMediaError: it is gone, or cannot be asked for.
    """
    return _found(replace(urls.look(url), url=url), None)


def place_of(path: str) -> str:
    """Give the shard of a member, or the folder of a URL; empty for a file here.

    Example:
        >>> place_of("s3://b/0.tar/a.jpg"), place_of("s3://b/a/c.jpg"), place_of("/a/c.jpg")
        ('s3://b/0.tar', 's3://b/a', '')
    """
    return shard_of(path) or (path.rpartition("/")[0] if urls.is_url(path) else "")


def list_place(place: str) -> dict[str, Found]:
    """List the media in a shard or directly in a folder, by path; see `place_of`.

    Raises:
        BadMediaError: it cannot be read.
    """
    if not is_shard(place):
        return {found.path: found for found in _pair(urls.list_folder(f"{place}/"))}
    failures: list[Failure] = []
    listed = {found.path: found for found in _scan_root(place, on_skip=failures.append)}
    if not listed and failures:
        raise BadMediaError(failures[0].reason, code=failures[0].code)
    return listed


def _scan_root(root: str, *, on_skip: OnSkip, listings: Listings | None = None) -> Iterator[Found]:
    if not urls.is_url(root):
        yield from _scan_local_shard(root, on_skip=on_skip)
        return
    try:
        entry = urls.look(root)
    except BadMediaError as error:
        on_skip(Failure(root, error.code, f"{root}: {error}"))
        return
    if entry.is_folder:
        yield from _walk(root, on_skip=on_skip)
    elif is_shard(root):
        yield from _scan_shard_at(replace(entry, url=root), on_skip=on_skip, listings=listings)
    elif failure := refuse_suffix(root, urls.suffix_of(root)):
        on_skip(failure)
    else:
        yield _found(replace(entry, url=root), None)


def _scan_shard_at(
    entry: urls.Entry, *, on_skip: OnSkip, listings: Listings | None
) -> Iterator[Found]:
    """Find the media in a shard at a URL; what it holds is kept where all of it could be read."""
    kept = listings.read(entry) if listings is not None else None
    if kept is not None:
        yield from kept
        return
    found: list[Found] = []
    failures: list[Failure] = []
    for one in scan_shard(
        entry.url, opened=urls.open_url(entry.url), stamp=f"{entry.stamp}:{entry.size_bytes}",
        mtime_ns=entry.mtime_ns, on_skip=failures.append,
    ):  # fmt: skip
        found.append(one)
        yield one
    for failure in failures:
        on_skip(failure)
    if listings is not None and not failures:
        listings.keep(entry, found)


def _scan_local_shard(path: str, *, on_skip: OnSkip) -> Iterator[Found]:
    try:
        file = open(path, "rb")  # noqa: SIM115  # `scan_shard` closes it
        seen = os.fstat(file.fileno())
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror}); check its permissions"
        on_skip(Failure(path, "unreadable", reason))
        return
    yield from scan_shard(
        path, opened=file, stamp=f"{seen.st_size}:{seen.st_ino}", mtime_ns=seen.st_mtime_ns,
        on_skip=on_skip,
    )  # fmt: skip


def _walk(root: str, *, on_skip: OnSkip) -> Iterator[Found]:
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = [e for e in urls.list_folder(folder) if not _is_passed_over(e.url)]
        except BadMediaError as error:
            on_skip(Failure(folder, error.code, f"{folder}: {error}"))
            continue
        for entry in entries:
            failure = (
                None if entry.is_folder else refuse_suffix(entry.url, urls.suffix_of(entry.url))
            )
            if failure:
                on_skip(failure)
        yield from _pair(entries)
        folders += [entry.url for entry in reversed(entries) if entry.is_folder]


def _is_passed_over(url: str) -> bool:
    name = url.rstrip("/").rpartition("/")[2]
    return name.startswith(".") or name in JUNK


def _pair(entries: Sequence[urls.Entry]) -> Iterator[Found]:
    """Attach captions to their media."""
    files = {entry.url: entry for entry in entries if not entry.is_folder}
    captioned = {_stem(url) for url in files if urls.suffix_of(url) in CAPTIONED_SUFFIXES}
    for url, entry in files.items():
        if urls.suffix_of(url) in CAPTIONED_SUFFIXES:
            names = (_stem(url) + suffix for suffix in CAPTION_SUFFIXES)
            yield _found(entry, next((files[name] for name in names if name in files), None))
        elif urls.suffix_of(url) in MEDIA_SUFFIXES:
            is_caption = urls.suffix_of(url) in CAPTION_SUFFIXES and _stem(url) in captioned
            if not is_caption:
                yield _found(entry, None)


def _found(entry: urls.Entry, caption: urls.Entry | None) -> Found:
    found = Found(entry.url, entry.size_bytes, entry.mtime_ns, 0, 0, stamp=entry.stamp)
    if caption is None:
        return found
    return replace(
        found, caption_path=caption.url, caption_size_bytes=caption.size_bytes,
        caption_mtime_ns=caption.mtime_ns,
    )  # fmt: skip


def _stem(url: str) -> str:
    return os.path.splitext(url)[0]
