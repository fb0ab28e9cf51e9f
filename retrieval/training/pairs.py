"""Where training pairs come from: folders, tables and webdataset shards, as rows of up to three.

A row may have any of a picture, a sound and a text; what it lacks is None. Reading pairs opens no
picture and no sound: whether a file is any good, its decoder says later.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import UsageError
from retrieval.media.kinds import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from retrieval.training.shards import SHARD_SUFFIXES, read_shard

__all__ = ["Pair", "read_pairs"]

_TEXT_SUFFIXES = frozenset({".txt", ".caption"})
_TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
# A text of a pair is a caption; a longer one is a mistake in the file.
_MAX_TEXT_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: things that belong together.

    Attributes:
        id: where it came from, for messages.
        image, audio: files, or None.
        text: a text, or None.
        group: rows of one group never lie on both sides of a train/test split, or None.
    """

    id: str
    image: Path | None = None
    audio: Path | None = None
    text: str | None = None
    group: str | None = None

    @property
    def n_sides(self) -> int:
        """How many of the three it has."""
        return sum(side is not None for side in (self.image, self.audio, self.text))


def read_pairs(source: Path, *, spool: Path) -> list[Pair]:
    """Read pairs from a folder, a table or webdataset shards.

    - A folder: files with the same name but the suffix are one row (`a.jpg a.wav a.txt`); a folder
      that holds `.tar` shards is read as those.
    - csv or tsv with the columns `image`, `audio`, `text` and `group`, or jsonl with these keys;
      any may be absent or empty. Paths are relative to the table.
    - webdataset: one `.tar` or a folder of them; members with the same name up to the first dot
      are one row.

    Args:
        source: folder or file.
        spool: folder where media of shards are put, under names of our own.

    Returns:
        The rows with at least two sides, in a stable order.

    Raises:
        UsageError: no such path (`path_missing`), not readable as any of these (`bad_pairs`), or no
            row has two sides (`no_pairs`).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "pairs.csv")
        ...     _ = table.write_text("image,text\\na.png,a cat\\n,alone\\n")
        ...     [(p.image.name, p.text) for p in read_pairs(table, spool=Path(folder))]
        [('a.png', 'a cat')]
    """
    if not source.exists():
        raise UsageError(
            f"no pairs at {source}; name a folder, csv, jsonl or tar", code="path_missing"
        )
    pairs = [pair for pair in _read(source, spool=spool) if pair.n_sides >= 2]
    if not pairs:
        raise UsageError(
            f"{source} has no row with two of image, audio and text; see `crossfind train heads "
            "--help` for the forms that are read",
            code="no_pairs",
        )
    return pairs


def _read(source: Path, *, spool: Path) -> Iterator[Pair]:
    if source.is_dir():
        shards = sorted(p for p in source.iterdir() if p.suffix in SHARD_SUFFIXES)
        for shard in shards:
            yield from _from_shard(shard, spool=spool)
        if not shards:
            yield from _from_folder(source)
    elif source.suffix in SHARD_SUFFIXES:
        yield from _from_shard(source, spool=spool)
    elif source.suffix.lower() in _TABLE_SUFFIXES:
        yield from _from_table(source)
    else:
        raise UsageError(
            f"{source} is no folder, csv, tsv, jsonl or tar; convert it to one of these",
            code="bad_pairs",
        )


def _from_folder(folder: Path) -> Iterator[Pair]:
    """Pair files by their path without the suffix."""
    rows: dict[Path, dict[str, Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        side = _side(path.suffix.lower())
        if side is not None:
            rows.setdefault(path.with_suffix(""), {}).setdefault(side, path)
    for stem, sides in rows.items():
        text = None
        if "text" in sides and len(sides) > 1:
            text = _clean(_read_text(sides["text"]))
        yield Pair(str(stem), image=sides.get("image"), audio=sides.get("audio"), text=text)


def _from_table(table: Path) -> Iterator[Pair]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            read = _jsonl if table.suffix.lower() in (".jsonl", ".ndjson") else _csv
            for number, row in read(lines, table):
                yield _pair_of(row, id=f"{table}#{number}", base=table.parent)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read pairs from {table}: {error}", code="bad_pairs") from error


def _csv(lines: Iterator[str], table: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    delimiter = "\t" if table.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(lines, delimiter=delimiter, restkey="", restval="")
    known = {"image", "audio", "text"} & set(reader.fieldnames or ())
    if len(known) < 2:
        raise UsageError(
            f"{table} has columns {list(reader.fieldnames or ())}; "
            "two of image, audio and text are needed",
            code="bad_pairs",
        )
    yield from enumerate(reader, start=1)


def _jsonl(lines: Iterator[str], table: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{table} line {number} is not JSON ({error}); fix or remove it",
                             code="bad_pairs") from error  # fmt: skip
        if not isinstance(row, dict):
            raise UsageError(f"{table} line {number} is no object with image, audio or text",
                             code="bad_pairs")  # fmt: skip
        yield number, row


def _pair_of(row: Mapping[str, object], *, id: str, base: Path) -> Pair:
    cells = {name: row.get(name) or None for name in ("image", "audio", "text", "group")}
    for name, value in cells.items():
        if value is not None and not isinstance(value, (str, int)):
            raise UsageError(f"{id}: {name} is {value!r}; expected text", code="bad_pairs")
    image, audio, text, group = (None if v is None else str(v) for v in cells.values())
    return Pair(
        id,
        image=None if image is None else base / image,
        audio=None if audio is None else base / audio,
        text=_clean(text),
        group=group,
    )


def _from_shard(shard: Path, *, spool: Path) -> Iterator[Pair]:
    def wanted(suffix: str) -> bool:
        return _side(suffix) in ("image", "audio")

    for name, row in read_shard(shard, spool=spool, is_media=wanted):
        sides = {_side(path.suffix): path for path in row.files}
        image, audio = sides.get("image"), sides.get("audio")
        yield Pair(f"{shard}#{name}", image=image, audio=audio, text=_clean(row.text))


def _side(suffix: str) -> str | None:
    places: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("image", IMAGE_SUFFIXES.__contains__),
        ("audio", AUDIO_SUFFIXES.__contains__),
        ("text", _TEXT_SUFFIXES.__contains__),
    )
    return next((side for side, holds in places if holds(suffix)), None)


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(_MAX_TEXT_CHARS)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}", code="bad_pairs") from error


def _clean(text: str | None) -> str | None:
    """Squeeze white space; a text of nothing else is no text."""
    return " ".join(text[:_MAX_TEXT_CHARS].split()) or None if text else None
