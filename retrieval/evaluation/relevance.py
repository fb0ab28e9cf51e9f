"""Who is right for what: queries with their right items, read from a table."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import UsageError
from retrieval.media.kinds import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from retrieval.types import Modality

__all__ = ["Direction", "Judgement", "modality_of", "read_relevance"]

Direction = tuple[Modality, Modality]
"""(modality of the query, modality of the items)."""

_Row = Mapping[str, object]


@dataclass(frozen=True)
class Judgement:
    """A query and its right answers of one modality.

    Attributes:
        query: a text, or the path of a media file.
        direction: modalities of query and items.
        right: absolute path of an item -> grade > 0.
        group: of the query, for figures per group, or None.
    """

    query: str | Path
    direction: Direction
    right: Mapping[str, float]
    group: str | None = None


@dataclass
class _Query:
    right: dict[str, float] = field(default_factory=dict)
    group: str | None = None


def read_relevance(table: Path) -> list[Judgement]:
    """Read a csv, tsv or jsonl table of right answers.

    Two forms; paths are relative to the table, and rows of the same query add up:

    - `query` (a text) or `query_path` (a file), `item` (a path), and if wanted `grade` (above 0;
      1 if left out) and `group`.
    - training pairs: `image`, `audio`, `text`, any two of them. Each text is a query for its
      picture and its sound, each picture for its sound and the other way round.

    Args:
        table: the file.

    Returns:
        One judgement per query and item modality, in order of first appearance.

    Raises:
        UsageError: no such file (`path_missing`), not a table of these forms, a wrong cell
            (`bad_relevance`), or nothing to judge (`no_queries`).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "pairs.csv")
        ...     _ = table.write_text("query,item\\na cat,1.png\\na cat,2.png\\n")
        ...     [(j.query, j.direction, len(j.right)) for j in read_relevance(table)]
        [('a cat', ('text', 'image'), 2)]
    """
    queries: dict[tuple[str | Path, Direction], _Query] = {}
    for number, row in _rows(table):
        where = f"{table} row {number}"
        for query, item, grade, group in _judged(row, base=table.parent.absolute(), where=where):
            source: Modality = modality_of(query) if isinstance(query, Path) else "text"
            entry = queries.setdefault((query, (source, modality_of(item))), _Query())
            entry.right[os.path.normpath(item)] = grade
            entry.group = group or entry.group
    if not queries:
        raise UsageError(f"{table} names no query with a right item", code="no_queries")
    return [Judgement(q, d, entry.right, entry.group) for (q, d), entry in queries.items()]


def modality_of(path: Path) -> Modality:
    """Tell an item's modality from its name; a record `table.csv#3` is a text.

    Example:
        >>> modality_of(Path("a.PNG")), modality_of(Path("t.csv#3"))
        ('image', 'text')
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in AUDIO_SUFFIXES:
        return "audio"
    return "video" if suffix in VIDEO_SUFFIXES else "text"


def _rows(table: Path) -> Iterator[tuple[int, _Row]]:
    """Read the table's rows; the first row of a csv names the columns."""
    if not table.is_file():
        raise UsageError(f"no table at {table}; name a csv, tsv or jsonl file", code="path_missing")
    suffix = table.suffix.lower()
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            if suffix in (".jsonl", ".ndjson"):
                yield from _jsonl(lines, table)
            else:
                delimiter = "\t" if suffix == ".tsv" else ","
                reader = csv.DictReader(lines, delimiter=delimiter, restkey="", restval="")
                yield from enumerate(reader, start=1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {table}: {error}", code="bad_relevance") from error


def _jsonl(lines: Iterable[str], table: Path) -> Iterator[tuple[int, _Row]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(
                f"{table} line {number} is not JSON ({error}); fix it", code="bad_relevance"
            ) from error
        if not isinstance(row, dict):
            raise UsageError(f"{table} line {number} is no object", code="bad_relevance")
        yield number, row


def _judged(
    row: _Row, *, base: Path, where: str
) -> Iterator[tuple[str | Path, Path, float, str | None]]:
    """Turn a row of either form into (query, item, grade, group)."""
    cells = {name: _cell(row, name, where=where) for name in _COLUMNS}
    item, group = cells["item"], cells["group"]
    if item:
        query = base / cells["query_path"] if cells["query_path"] else cells["query"]
        if not query:
            raise UsageError(f"{where} has an item but no query or query_path",
                             code="bad_relevance")  # fmt: skip
        yield query, base / item, _grade(cells["grade"], where=where), group
        return
    if "item" in row or not {"image", "audio", "text"} & row.keys():
        raise UsageError(
            f"{where} has {sorted(map(str, row))}; give query (or query_path) and item, "
            "or two of image, audio and text",
            code="bad_relevance",
        )
    sides = [base / cells[side] for side in ("image", "audio") if cells[side]]  # type: ignore[operator]
    for target in sides:
        for source in (cells["text"], *sides):
            if source and source != target:
                yield source, target, 1.0, group


_COLUMNS = ("query", "query_path", "item", "grade", "group", "image", "audio", "text")


def _cell(row: _Row, name: str, *, where: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, (str, int, float)):
        raise UsageError(f"{where}: {name} is {value!r}; expected text", code="bad_relevance")
    return str(value).strip() or None if value is not None else None


def _grade(raw: str | None, *, where: str) -> float:
    try:
        grade = float(raw or 1)
    except ValueError:
        grade = math.nan
    if not 0 < grade < math.inf:
        raise UsageError(f"{where}: grade is {raw!r}; expected a number above 0, or nothing",
                         code="bad_relevance")  # fmt: skip
    return grade
