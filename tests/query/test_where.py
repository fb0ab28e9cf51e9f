"""Filters: read, refused with a column, and equal to a Python predicate over random conditions."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from item_rows import (
    COLUMNS,
    HOSTILE,
    Row,
    condition,
    file_records,
    item_record,
    make_rows,
    quote,
)
from postgres import postgres

from retrieval.catalog.conditions import (
    AllOf,
    AnyOf,
    Comparison,
    Like,
    Member,
    Missing,
    Not,
)
from retrieval.catalog.records import Batch
from retrieval.catalog.store import Catalog
from retrieval.errors import UsageError
from retrieval.query.where import parse_where


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(60, seed=3)


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def catalog(request: pytest.FixtureRequest, rows: list[Row]) -> Iterator[Catalog]:
    with tempfile.TemporaryDirectory(prefix="wh") as folder, ExitStack() as stack:
        url = stack.enter_context(postgres(Path(folder))) if request.param == "postgres" else ""
        catalog = Catalog.open(Path(folder) / "catalog.sqlite", uuid="u", url=url, create=True)
        with catalog.writing() as writer:
            writer.apply(
                Batch(files=tuple(file_records(rows)), items=tuple(map(item_record, rows)))
            )
            own = [(r.id, {name: getattr(r, name) for name in COLUMNS}) for r in rows]
            writer.put_columns(COLUMNS, own)
            writer.put_tags([(r.id, r.given_tags) for r in rows])
        yield catalog
        catalog.close()


@pytest.mark.parametrize("n", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_filters_agree_with_a_python_predicate_over_random_conditions(
    catalog: Catalog, rows: list[Row], n: int
) -> None:
    rng = random.Random(n)
    n_mixed = 0
    with catalog.reading() as reader:
        columns = reader.columns()
        for _ in range(n):
            text, test = condition(rng, rng.choice([0, 0, 0, 1, 2, 3]))
            expected = [row.id for row in rows if test(row)]
            found = reader.part_ids_where(parse_where(text, columns=columns))
            assert found.tolist() == expected, text
            n_mixed += 0 < len(expected) < len(rows)
    assert n_mixed > 0.3 * n  # the conditions tell items apart


def test_500_hostile_strings_match_literally_or_are_refused(
    catalog: Catalog, rows: list[Row]
) -> None:
    rng = random.Random(12)
    alphabet = [*"'\"%_\\;-()=, ", "OR", "1=1", "--", "\x00", "\ud800", "\n", "DROP", "x"]
    with catalog.reading() as reader:
        for text in [*HOSTILE, *("".join(rng.choices(alphabet, k=9)) for _ in range(500))]:
            for field in ("caption", "mood", "tag"):
                refused, found = "bad_filter", []
                try:
                    condition = parse_where(f"{field} = {quote(text)}", columns=COLUMNS)
                    found = reader.part_ids_where(condition).tolist()
                except UsageError as error:
                    refused = error.code
                assert refused == "bad_filter"
                has = [getattr(r, field) for r in rows]
                right = [text in one if isinstance(one, set) else text == one for one in has]
                assert found == [r.id for r, fits in zip(rows, right, strict=True) if fits]
            with pytest.raises(UsageError):
                parse_where(f"{text} = 'a'")
        assert reader.counts()["parts"] == len(rows)


@pytest.mark.parametrize(
    ("text", "column", "word"),
    [
        ("", 1, "field"),
        ("yaer = 2020", 1, "did you mean year"),
        ("ratings = 2", 1, "did you mean rating"),
        ("kept = 'yes'", 8, "such as true"),
        ("kept < true", 6, "use = or !="),
        ("rating = true", 10, "such as 30"),
        ("true = 1", 1, "field"),
        ("tag < 'a'", 5, "is a text"),
        ("taken_at = 2020", 12, "2020-05-31"),
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
        parse_where(text, columns=COLUMNS)
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
