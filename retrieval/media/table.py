"""Tables of the user as rows of named cells: csv, tsv, jsonl and parquet, read strictly."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import BackendMissingError, BadMediaError, InputError
from retrieval.media.text import decode_text

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

Cells = dict[str, Any]  # Any: what a table's reader gives: text, number, bool, list or None


def read_table(table: Path) -> Iterator[Cells]:
    """Read a table row by row.

    Args:
        table: a csv or tsv file whose first row names the columns, a jsonl file with one object a
            line, or a parquet file.

    Yields:
        Each row, by the names of its columns.

    Raises:
        InputError: it cannot be read, or a row does not fit (`bad_table`).
        BackendMissingError: a parquet file, and pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> _ = table.write_text("image,caption\\na.jpg,a dog\\n")
        >>> list(read_table(table))
        [{'image': 'a.jpg', 'caption': 'a dog'}]
    """
    suffix = table.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from _read_parquet(table)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _read_jsonl(decode_text(table.read_bytes()))
        elif suffix in (".csv", ".tsv"):
            yield from _read_csv(decode_text(table.read_bytes()), is_tsv=suffix == ".tsv")
        else:
            raise InputError(
                f"{table} is no csv, tsv, jsonl or parquet file; write the table as one of them",
                code="bad_table",
            )
    except (OSError, ValueError, csv.Error, RecursionError, BadMediaError) as error:
        raise InputError(f"{table} cannot be read: {error}", code="bad_table") from error


def _read_csv(text: str, *, is_tsv: bool) -> Iterator[Cells]:
    head = text.partition("\n")[0]
    delimiter = "\t" if is_tsv else max(",;\t|", key=head.count)
    csv.field_size_limit(max(len(text), 131_072))
    for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
        if None in row:
            raise ValueError(f"a row has more fields than the first: {row[None]!r:.60}")
        yield {str(name): value for name, value in row.items()}


def _read_jsonl(text: str) -> Iterator[Cells]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object")
            yield row


def _read_parquet(table: Path) -> Iterator[Cells]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise BackendMissingError(
            "a parquet table needs pyarrow; pip install 'crossfind[parquet]'"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(table) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
