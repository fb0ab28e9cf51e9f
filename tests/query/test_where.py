"""Filters: read, refused with a column, and equal to a Python predicate over random conditions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from retrieval.catalog.conditions import AllOf, AnyOf, Comparison, Like, Member, Missing, Not
from retrieval.catalog.records import Batch, FileRecord, ItemRecord
from retrieval.catalog.store import Catalog
from retrieval.errors import UsageError
from retrieval.query.where import parse_where
from retrieval.types import Part

HOSTILE = [
    "x')::text OR 1=1 --", "%' OR 1=1", "'; DROP TABLE items; --", "a\\%b", "100%", "_", "\\",
    "O'Hara", '"', "é\u202e", "a,b", "NULL", "1=1", "", "🙂", "%%", "Photo",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One item with its files, as the predicate sees it."""

    id: int
    modality: str
    format: str
    size_bytes: int
    width_px: int | None
    duration_s: float | None
    caption: str | None
    flags: tuple[str, ...]
    files: tuple[tuple[str, int], ...]


def _stamp(rng: random.Random) -> int:
    year, month, hour = rng.choice([1969, 2019, 2020, 2021]), rng.randint(1, 12), rng.randint(0, 23)
    second = int(datetime(year, month, 15, hour, tzinfo=UTC).timestamp())
    return second * 10**9 + rng.randint(0, 10**9 - 1)


def make_rows(n: int, *, seed: int) -> list[Row]:
    rng = random.Random(seed)
    rows = []
    for number in range(1, n + 1):
        stamps = [_stamp(rng) for _ in range(rng.choice([1, 1, 2]))]
        folders = ["/media/holiday", "/media/Work", "/media/100%"]
        rows.append(
            Row(
                id=number,
                modality=rng.choice(["image", "audio", "text", "video"]),
                format=rng.choice(["png", "jpeg", "wav"]),
                size_bytes=rng.choice([0, 10, 500, 2**40]),
                width_px=rng.choice([None, 10, 640, 4000]),
                duration_s=rng.choice([None, 0.5, 30.0, 1e4]),
                caption=rng.choice([None, *HOSTILE]),
                flags=tuple(sorted(rng.sample(["silent", "bad_caption", "a"], rng.randint(0, 2)))),
                files=tuple(
                    (f"{rng.choice(folders)}/{number}-{copy}.png", stamp)
                    for copy, stamp in enumerate(stamps)
                ),
            )
        )
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(60, seed=3)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Iterator[Catalog]:
    path = tmp_path_factory.mktemp("where") / "catalog.sqlite"
    catalog = Catalog.open(path, uuid="u", create=True)
    with catalog.writing() as writer:
        writer.apply(Batch(files=tuple(_files(rows)), items=tuple(map(_item, rows))))
    yield catalog
    catalog.close()


def _files(rows: list[Row]) -> Iterator[FileRecord]:
    for row in rows:
        for path, stamp in row.files:
            yield FileRecord(path, row.size_bytes, stamp, "", f"{row.id:064}")


def _item(row: Row) -> ItemRecord:
    return ItemRecord(
        id=row.id, content_hash=f"{row.id:064}", record=0, modality=row.modality,  # type: ignore[arg-type]
        format=row.format, size_bytes=row.size_bytes, width_px=row.width_px, height_px=None,
        duration_s=row.duration_s, caption=row.caption, flags=row.flags,
        parts=(Part(row.id, row.id, "text"),),
    )  # fmt: skip


Test = Callable[[Row], bool]


def like(pattern: str) -> Callable[[str], bool]:
    """LIKE in Python: ignores ASCII case, backslash takes the next character plainly."""
    parts = []
    characters = iter(pattern)
    for c in characters:
        parts.append(
            ".*"
            if c == "%"
            else "."
            if c == "_"
            else re.escape(next(characters) if c == "\\" else c)
        )
    found = re.compile("".join(parts), re.IGNORECASE | re.ASCII | re.DOTALL)
    return lambda text: found.fullmatch(text) is not None


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def atom(rng: random.Random) -> tuple[str, Test]:  # noqa: PLR0911
    kind = rng.choice(["number", "text", "in", "like", "year", "path", "paths", "flag", "null"])
    if kind == "number":
        field, sign = (
            rng.choice(["size_bytes", "width_px", "duration_s", "id"]),
            rng.choice([*COMPARE]),
        )
        value = rng.choice([0, 10, 30, 640, 0.5, -3, 1e4, 2**40])
        return (
            f"{field} {sign} {value!r}",
            lambda r: getattr(r, field) is not None and COMPARE[sign](getattr(r, field), value),
        )
    if kind == "text":
        field, equal = rng.choice(["caption", "format", "modality"]), rng.random() < 0.5
        text = rng.choice([*HOSTILE, "png", "image", "photo"])
        return (
            f"{field} {'=' if equal else '!='} {quote(text)}",
            lambda r: getattr(r, field) is not None and (getattr(r, field) == text) == equal,
        )
    if kind == "in":
        values = rng.sample([*HOSTILE, "png", "audio"], 3)
        field = rng.choice(["caption", "format", "modality"])
        listed = ", ".join(map(quote, values))
        return f"{field} IN ({listed})", lambda r: getattr(r, field) in values
    if kind == "like":
        pattern = rng.choice(["%", "_", "%o%", "p%", "100\\%", "%\\_", "\\\\", "%'%", "PHOTO", ""])
        return (
            f"caption LIKE {quote(pattern)}",
            lambda r: r.caption is not None and like(pattern)(r.caption),
        )
    if kind == "year":
        year, sign = rng.choice([1969, 2019, 2020, 2022]), rng.choice([*COMPARE])
        years = lambda r: [datetime.fromtimestamp(s // 10**9, UTC).year for _, s in r.files]  # noqa: E731
        if sign == "!=":
            return f"year != {year}", lambda r: year not in years(r)
        return f"year {sign} {year}", lambda r: any(COMPARE[sign](y, year) for y in years(r))
    if kind == "path":
        pattern = rng.choice(["holiday/%", "/media/%", "%-1.png", "100\\%/%", "HOLIDAY/%", "%"])
        whole = pattern if pattern[0] in "/%" else f"%/{pattern}"
        return f"path LIKE {quote(pattern)}", lambda r: any(like(whole)(p) for p, _ in r.files)
    if kind == "paths":
        name = rng.choice(["holiday/3-0.png", "5-0.png", "/media/Work/7-0.png", "Holiday/3-0.png"])
        return f"path = {quote(name)}", lambda r: any(
            p == name if name[0] == "/" else p.endswith("/" + name) for p, _ in r.files
        )
    if kind == "flag":
        flag = rng.choice(["silent", "a", "bad", ""])
        return f"flags = {quote(flag)}", lambda r: flag in r.flags
    field, negated = rng.choice(["caption", "width_px", "duration_s", "flags"]), rng.random() < 0.5
    return f"{field} IS {'NOT ' if negated else ''}NULL", lambda r: (
        (not getattr(r, field) and getattr(r, field) != "") != negated
        if field != "flags" else (not r.flags) != negated
    )  # fmt: skip


def condition(rng: random.Random, depth: int) -> tuple[str, Test]:
    if depth == 0 or rng.random() < 0.3:
        return atom(rng)
    (left, one), (right, other) = condition(rng, depth - 1), condition(rng, depth - 1)
    kind = rng.choice(["and", "OR", "not"])
    if kind == "not":
        return f"NOT ({left})", lambda r: not one(r)
    if kind == "and":
        return f"({left}) and ({right})", lambda r: one(r) and other(r)
    return f"({left}) OR ({right})", lambda r: one(r) or other(r)


def test_filters_agree_with_a_python_predicate_over_10000_conditions(
    catalog: Catalog, rows: list[Row]
) -> None:
    rng = random.Random(11)
    n_mixed = 0
    with catalog.reading() as reader:
        for _ in range(10_000):
            text, test = condition(rng, rng.choice([0, 0, 1, 2, 3]))
            expected = [row.id for row in rows if test(row)]
            assert reader.part_ids_where(parse_where(text)).tolist() == expected, text
            n_mixed += 0 < len(expected) < len(rows)
    assert n_mixed > 3_000  # the conditions tell items apart


def test_500_hostile_strings_match_literally_or_are_refused(
    catalog: Catalog, rows: list[Row]
) -> None:
    rng = random.Random(12)
    alphabet = [*"'\"%_\\;-()=, ", "OR", "1=1", "--", "\x00", "\ud800", "\n", "DROP", "x"]
    with catalog.reading() as reader:
        for text in [*HOSTILE, *("".join(rng.choices(alphabet, k=9)) for _ in range(500))]:
            for field in ("caption", "format"):
                refused, found = "bad_filter", []
                try:
                    found = reader.part_ids_where(parse_where(f"{field} = {quote(text)}")).tolist()
                except UsageError as error:
                    refused = error.code
                assert refused == "bad_filter"
                assert found == [r.id for r in rows if getattr(r, field) == text]
            with pytest.raises(UsageError):
                parse_where(f"{text} = 'a'")
        assert reader.counts()["parts"] == len(rows)


@pytest.mark.parametrize(
    ("text", "column", "word"),
    [
        ("", 1, "field"),
        ("yaer = 2020", 1, "did you mean year"),
        ("duration_s < 'a'", 14, "such as 30"),
        ("duration_s <", 13, "such as 30"),
        ("caption < 'a'", 9, "is a text"),
        ("duration_s LIKE 'a'", 17, "no text"),
        ('caption = "a"', 11, "single quotes"),
        ("caption = 'a' caption = 'b'", 15, "AND, OR or the end"),
        ("(caption = 'a'", 15, r"\)"),
        ("caption IN ('a' 'b')", 17, r"\)"),
        ("modified > 'yesterday'", 12, "2020-05-31"),
        ("year = 0", 8, "1 to 9998"),
        ("size_bytes > 99999999999999999999", 14, "too large"),
        ("caption LIKE 'a\\b'", 14, "only before"),
        ("NOT " * 60 + "id = 1", 161, "nested"),
        ("id=1 OR " * 300 + "id=1", 1601, "200"),
        ("x')::text OR 1=1 --", 1, "unknown field|not expected"),
    ],
)
def test_a_bad_filter_names_its_column(text: str, column: int, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        parse_where(text)
    assert caught.value.code in ("bad_filter", "unknown_field")
    if "x')" not in text:
        assert str(caught.value).startswith(f"filter column {column}:")


def test_text_is_read_as_the_condition_it_says() -> None:
    assert parse_where("NOT format IN ('png') OR caption IS NULL AND flags LIKE 's%'") == AnyOf(
        (
            Not(Member("format", ("png",))),
            AllOf((Missing("caption"), Like("flags", "s%"))),
        )
    )
    assert parse_where("caption <> 'it''s'") == Comparison("caption", "!=", "it's")


def test_days_and_seconds_are_ranges(catalog: Catalog, rows: list[Row]) -> None:
    stamps = sorted(s for r in rows for _, s in r.files)
    day = datetime.fromtimestamp(stamps[40] // 10**9, UTC).strftime("%Y-%m-%d")
    on_day = {
        row.id: [datetime.fromtimestamp(s // 10**9, UTC).strftime("%Y-%m-%d") == day
                 for _, s in row.files]
        for row in rows
    }  # fmt: skip
    expected = [id_ for id_, days in on_day.items() if any(days)]
    with catalog.reading() as reader:
        found = reader.part_ids_where(parse_where(f"modified = '{day}'")).tolist()
        ranged = f"modified >= '{day}' AND modified <= '{day}T23:59:59'"
        within = reader.part_ids_where(parse_where(ranged)).tolist()
    assert found == expected
    # Of an item with two files, one may fit one half and the other the other.
    alone = {id_ for id_, days in on_day.items() if len(days) == 1}
    assert [i for i in within if i in alone] == [i for i in expected if i in alone]
    assert expected
