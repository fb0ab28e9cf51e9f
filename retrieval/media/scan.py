"""Find the media files under some roots: streamed, in bounded memory, opening none."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import BadMediaError, UsageError
from retrieval.media.ignore import Rule, is_ignored, parse_rules
from retrieval.media.kinds import (
    ARCHIVE_SUFFIXES,
    CAPTION_SUFFIXES,
    CAPTIONED_SUFFIXES,
    MEDIA_SUFFIXES,
    OFF_SUFFIXES,
    archive_reason,
    off_reason,
)
from retrieval.types import Failure

IGNORE_FILE = ".crossfindignore"

# A folder of a million files must not fill the memory: this many entries are held at a time.
_CHUNK = 50_000
_MAX_IGNORE_FILE_BYTES = 1 << 20
JUNK = frozenset(
    {"__pycache__", "node_modules", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "@eaDir"}
)

OnSkip = Callable[[Failure], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that looks like media, with the stamp it had when it was seen.

    Attributes:
        path: absolute, as bytes decoded with surrogateescape.
        size_bytes, mtime_ns, inode, device: its stamp.
        caption_path: `dog.caption` or `dog.txt` beside `dog.jpg`, or None.
        caption_size_bytes, caption_mtime_ns: the stamp of that file.
        row, row_paths, row_text: of a row of a table that names media (see `rows`): its stamp, the
            files it names, what it says. Its path is TABLE#ROW.
        stamp: of a file that has to be fetched (see `roots`), what else tells its state; its path
            is a URL, or SHARD/MEMBER.
        offset, caption_offset: of a member and its caption, the first byte in the shard; else 0.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    inode: int
    device: int
    caption_path: str | None = None
    caption_size_bytes: int | None = None
    caption_mtime_ns: int | None = None
    row: str = ""
    row_paths: tuple[str, ...] = ()
    row_text: str = ""
    stamp: str = ""
    offset: int = 0
    caption_offset: int = 0


@dataclass(slots=True)
class _Folder:
    """A folder that is being read: what is left of it, and what holds in it."""

    path: str
    rules: tuple[Rule, ...]
    entries: Iterator[os.DirEntry[str]] | None = None
    pending: list[str] | None = None  # folders of the current chunk, last one first


def scan(
    roots: Sequence[Path], *, exclude: Sequence[Path] = (), on_skip: OnSkip
) -> Iterator[Found]:
    """Find the media files under some roots.

    A folder's own files come first, sorted by name, then its folders. Hidden names, store
    directories, junk and what a `.crossfindignore` names are passed over in silence; a file that
    is named as a root is always taken.

    Args:
        roots: files and folders.
        exclude: files and folders that are never entered, such as the store.
        on_skip: is told of each file or folder that cannot be taken, with a code:
            `symlink_not_followed`, `not_regular_file`, `unreadable`, `vanished`,
            `archive_not_enabled`, `format_not_enabled`, `path_too_long`.

    Returns:
        An iterator over the files; each path comes once.

    Raises:
        UsageError: a root does not exist (`path_missing`), is the whole machine (`path_too_wide`)
            or is never entered (`path_excluded`); raised by the call itself.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.png").write_bytes(b"...")
        ...     [Path(found.path).name for found in scan([Path(folder)], on_skip=print)]
        ['a.png']
    """
    check_exist(roots)
    paths = list(dict.fromkeys(os.path.abspath(root) for root in roots))
    barred = {os.path.abspath(path) for path in exclude}
    _check_roots(paths, barred=barred)
    return _scan_roots(paths, barred=barred, on_skip=on_skip)


def check_exist(roots: Iterable[Path]) -> None:
    """Refuse roots that do not exist.

    Raises:
        UsageError: one does not (`path_missing`).
    """
    for path in map(os.path.abspath, roots):
        if not os.path.lexists(path):
            raise UsageError(
                f"{path} does not exist; name a file or folder that does", code="path_missing"
            )


def _check_roots(roots: list[str], *, barred: set[str]) -> None:
    for root in roots:
        if root == os.sep:
            raise UsageError(
                f"{root} is the whole machine; name the folders that hold media",
                code="path_too_wide",
            )
        if root in barred:
            raise UsageError(
                f"{root} is the store itself; name the folders that hold media",
                code="path_excluded",
            )


def find_file(path: Path) -> Found:
    """Find one file, named by the user, such as a query.

    Args:
        path: the file; a link is followed. Or TABLE#ROW, see `rows`.

    Returns:
        The file with its stamp and caption.

    Raises:
        UsageError: it does not exist (`path_missing`) or is a folder (`not_a_file`).
        BadMediaError: it cannot be taken; the codes of `scan`.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
        ...     find_file(Path(file.name)).size_bytes
        0
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file", code="not_a_file")
    if not os.path.lexists(path):
        from retrieval.media.rows import find_row  # which itself makes use of `Found`

        row = find_row(os.path.abspath(path))
        if row is not None:
            return row
    failures: list[Failure] = []
    for found in scan([path], on_skip=failures.append):
        return found
    raise BadMediaError(failures[0].reason, code=failures[0].code)


def _scan_roots(roots: list[str], *, barred: set[str], on_skip: OnSkip) -> Iterator[Found]:
    # A root inside another root is scanned once, on its own turn.
    barred_below = barred.union(roots)
    for root in roots:
        if os.path.isdir(root):
            yield from _scan_folder(root, barred=barred_below, on_skip=on_skip)
        else:
            yield from _take_root_file(root, on_skip=on_skip)


def _take_root_file(root: str, *, on_skip: OnSkip) -> Iterator[Found]:
    # The loader follows no link; the user who names one means what it points to.
    path = os.path.realpath(root)
    suffix = os.path.splitext(path)[1].lower()
    try:
        seen = os.stat(path)
    except OSError as error:
        on_skip(os_failure(path, error))
        return
    if not stat.S_ISREG(seen.st_mode):
        on_skip(_not_regular(path))
    elif failure := refuse_suffix(path, suffix):
        on_skip(failure)
    else:
        yield _found(path, seen, _probe_caption(path) if suffix in CAPTIONED_SUFFIXES else None)


def _scan_folder(root: str, *, barred: set[str], on_skip: OnSkip) -> Iterator[Found]:
    stack = [_Folder(root, ())]
    while stack:
        folder = stack[-1]
        if folder.pending:
            stack.append(_Folder(folder.pending.pop(), folder.rules))
            continue
        chunk, is_first = _next_chunk(folder, on_skip=on_skip)
        if not chunk:
            stack.pop()
            continue
        yield from _scan_chunk(
            folder, chunk, whole=is_first and len(chunk) < _CHUNK, barred=barred, on_skip=on_skip
        )


def _next_chunk(folder: _Folder, *, on_skip: OnSkip) -> tuple[list[os.DirEntry[str]], bool]:
    is_first = folder.entries is None
    try:
        if folder.entries is None:
            folder.rules += _read_rules(folder.path)
            folder.entries = os.scandir(folder.path)
        chunk = list(itertools.islice(folder.entries, _CHUNK))
    except OSError as error:
        on_skip(os_failure(folder.path, error))
        return [], is_first
    chunk.sort(key=lambda entry: entry.name)
    return chunk, is_first


def _scan_chunk(
    folder: _Folder,
    chunk: list[os.DirEntry[str]],
    *,
    whole: bool,
    barred: set[str],
    on_skip: OnSkip,
) -> Iterator[Found]:
    """Yield the media files of a chunk and leave its folders in `folder.pending`."""
    folders: list[str] = []
    media: list[os.DirEntry[str]] = []
    texts: dict[str, os.DirEntry[str]] = {}  # possible captions by file name
    for entry in chunk:
        name = entry.name
        if name[0] == "." or name in JUNK or entry.path in barred:
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if folder.rules and is_ignored(entry.path, rules=folder.rules, is_folder=is_folder):
            continue
        if is_folder:
            folders.append(entry.path)
            continue
        suffix = os.path.splitext(name)[1].lower()
        if failure := _refuse_entry(entry, suffix):
            on_skip(failure)
            continue
        if suffix in CAPTION_SUFFIXES:
            texts[name] = entry
        if suffix in MEDIA_SUFFIXES:
            media.append(entry)
    folder.pending = folders[::-1]
    yield from _pair(media, texts, whole=whole, on_skip=on_skip)


def _pair(
    media: list[os.DirEntry[str]],
    texts: dict[str, os.DirEntry[str]],
    *,
    whole: bool,
    on_skip: OnSkip,
) -> Iterator[Found]:
    """Attach captions to their media; `whole` says that the folder fits into one chunk."""
    captioned = {
        os.path.splitext(entry.name)[0]
        for entry in media
        if os.path.splitext(entry.name)[1].lower() in CAPTIONED_SUFFIXES
    }
    for entry in media:
        stem, suffix = os.path.splitext(entry.name)
        caption: os.DirEntry[str] | str | None = None
        if suffix.lower() in CAPTIONED_SUFFIXES:
            caption = next((texts[n] for s in CAPTION_SUFFIXES if (n := stem + s) in texts), None)
            if caption is None and not whole:
                caption = _probe_caption(entry.path)
        elif suffix.lower() in CAPTION_SUFFIXES and (
            stem in captioned or (not whole and _has_media(entry.path))
        ):
            continue
        try:
            yield _found(entry.path, entry.stat(follow_symlinks=False), caption)
        except OSError as error:
            on_skip(os_failure(entry.path, error))


def _found(path: str, seen: os.stat_result, caption: os.DirEntry[str] | str | None = None) -> Found:
    stamp = (path, seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_dev)
    if caption is None:
        return Found(*stamp)
    beside = os.stat(caption, follow_symlinks=False)
    return Found(*stamp, os.fspath(caption), beside.st_size, beside.st_mtime_ns)


def _probe_caption(path: str) -> str | None:
    stem = os.path.splitext(path)[0]
    return next((stem + s for s in CAPTION_SUFFIXES if _is_regular(stem + s)), None)


def _has_media(path: str) -> bool:
    stem = os.path.splitext(path)[0]
    return any(_is_regular(stem + s) or _is_regular(stem + s.upper()) for s in CAPTIONED_SUFFIXES)


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _read_rules(folder: str) -> tuple[Rule, ...]:
    path = os.path.join(folder, IGNORE_FILE)
    if not _is_regular(path):
        return ()
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return parse_rules(file.read(_MAX_IGNORE_FILE_BYTES), folder=folder)


def _refuse_entry(entry: os.DirEntry[str], suffix: str) -> Failure | None:
    if entry.is_symlink():
        reason = f"{entry.path} is a symbolic link; links are not followed: name its target instead"
        return Failure(entry.path, "symlink_not_followed", reason)
    if not entry.is_file(follow_symlinks=False):
        return _not_regular(entry.path)
    return refuse_suffix(entry.path, suffix)


def refuse_suffix(path: str, suffix: str) -> Failure | None:
    """Refuse archives and formats that are left closed, by the suffix; None for others."""
    if suffix in ARCHIVE_SUFFIXES:
        return Failure(path, "archive_not_enabled", archive_reason(path))
    if suffix in OFF_SUFFIXES:
        return Failure(path, "format_not_enabled", off_reason(path, suffix[1:]))
    return None


def _not_regular(path: str) -> Failure:
    reason = f"{path} is a pipe, socket or device; only regular files can be added"
    return Failure(path, "not_regular_file", reason)


def os_failure(path: str, error: OSError) -> Failure:
    """Name what the operating system said about a file.

    Args:
        path: the file's.
        error: what was raised.

    Returns:
        `vanished`, `path_too_long` or `unreadable`, with the remedy.

    Example:
        >>> os_failure("/gone.png", FileNotFoundError(2, "No such file or directory")).code
        'vanished'
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Failure(path, "vanished", f"{path} was gone when it was opened; scan again")
    why = (error.strerror or type(error).__name__).lower()
    if error.errno == 36:  # ENAMETOOLONG
        reason = f"{path} is longer than the system's limit of 4,096 bytes; use shorter names"
        return Failure(path, "path_too_long", reason)
    return Failure(path, "unreadable", f"{path} cannot be read ({why}); check its permissions")
