"""What exports carry beside vectors and files: details of files, tags, columns of the user."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from retrieval.catalog.conditions import Kind, Value
from retrieval.catalog.read import Reader
from retrieval.catalog.write import Writer
from retrieval.types import Details

FIELDS_FILE = "fields.jsonl"
_KINDS: dict[str, Kind] = {"text": "text", "number": "number", "bool": "bool"}


@dataclass(frozen=True, slots=True)
class OwnFields:
    """What is known of items beyond their own rows, by item id.

    Attributes:
        kinds: the user's columns and their kinds.
        details: of items whose files say something of themselves.
        tags: that the user gave.
        values: in the user's columns.
    """

    kinds: dict[str, Kind] = field(default_factory=dict)
    details: dict[int, Details] = field(default_factory=dict)
    tags: dict[int, tuple[str, ...]] = field(default_factory=dict)
    values: dict[int, dict[str, Value]] = field(default_factory=dict)

    def write(self, writer: Writer) -> None:
        """Write what the user gave; details go with the items themselves."""
        if self.kinds:
            writer.put_columns(self.kinds, list(self.values.items()))
        if self.tags:
            writer.put_tags(list(self.tags.items()))


NO_FIELDS = OwnFields()


def field_rows(reader: Reader, item_ids: Iterable[int]) -> list[dict[str, object]]:
    """List the lines of `fields.jsonl`: the columns first, then a line per item that has any."""
    ids = sorted(item_ids)
    details, given = reader.details(ids), reader.given_tags(ids)
    values = {id_: item.columns for id_, item in reader.items(ids).items() if item.columns}
    rows: list[dict[str, object]] = [{"columns": reader.columns()}]
    for id_ in ids:
        if id_ in details or id_ in given or id_ in values:
            row: dict[str, object] = {"item_id": id_}
            row |= {"details": asdict(details[id_])} if id_ in details else {}
            row |= {"tags": list(given[id_])} if id_ in given else {}
            row |= {"values": dict(values[id_])} if id_ in values else {}
            rows.append(row)
    return rows


def read_fields(folder: Path) -> OwnFields:
    """Read `fields.jsonl`; exports of the first releases have none.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    path = folder / FIELDS_FILE
    if not path.exists():
        return OwnFields()
    head, *rows = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    own = OwnFields(kinds={str(name): _KINDS[kind] for name, kind in head["columns"].items()})
    for row in rows:
        id_ = int(row["item_id"])
        if "details" in row:
            said = row["details"]
            own.details[id_] = Details(**{**said, "tags": tuple(said["tags"])})
        if "tags" in row:
            own.tags[id_] = tuple(map(str, row["tags"]))
        if "values" in row:
            own.values[id_] = {
                name: row["values"][name] for name in own.kinds & row["values"].keys()
            }
    return own
