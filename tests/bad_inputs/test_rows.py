"""Every row of BAD_INPUTS has a test that exists, and every row of files a generator."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.bad_inputs.files import BAD, SLOW
from tests.bad_inputs.rows import N_ROWS, ROWS

TESTS = Path(__file__).parents[1]
MADE = {kind.row for kind in (*BAD, *SLOW)}
# Too large to be made (V7, P8), or a race rather than a file (P4, P5), or an archive (P7).
NOT_MADE = {"V7", "P4", "P5", "P7", "P8", "TX5"}


@cache
def names_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_table_has_all_91_rows() -> None:
    expected = [f"{letter}{n}" for letter, last in N_ROWS.items() for n in range(1, last + 1)]
    assert list(ROWS) == expected
    assert len(ROWS) == 91


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_held_by_tests_that_exist(row: str) -> None:
    assert ROWS[row].tests
    for name in ROWS[row].tests:
        file, _, test = name.partition("::")
        assert test in names_in(TESTS / file), name


def test_every_row_of_files_has_a_generator() -> None:
    rows = {row for row in ROWS if row.rstrip("0123456789") in ("I", "A", "V", "TX", "P")}
    assert rows - MADE == NOT_MADE
    assert rows >= MADE


def test_no_two_kinds_share_a_name() -> None:
    names = [kind.name for kind in (*BAD, *SLOW)]
    assert len(set(names)) == len(names)


def test_every_code_of_a_bad_file_is_explained_in_the_readme() -> None:
    readme = (TESTS.parent / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Files that are skipped")[2].partition("\n## ")[0]
    codes = {kind.code for kind in BAD if kind.code} - {"symlink_not_followed"}
    assert {code for code in codes if f"`{code}`" not in table} == set()
