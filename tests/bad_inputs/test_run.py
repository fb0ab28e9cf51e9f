"""One bad file never costs another, and no changed bit of a catalog goes unnoticed; in small."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli import crossfind

from tests.bad_inputs.flips import flip, make_store
from tests.bad_inputs.run import run


@pytest.mark.slow
def test_good_files_get_the_same_vectors_and_bad_ones_their_code(tmp_path: Path) -> None:
    outcome = run(tmp_path, n_files=500, seed=8, timeout_s=5.0)
    assert outcome.is_met, outcome


def test_a_run_in_which_every_file_is_bad_exits_1(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for number in range(3):
        (tmp_path / "m" / f"{number}.jpg").write_text("no picture")
    done = crossfind("index", "build", "m", "--model", "fake", cwd=tmp_path)
    assert done.code == 1, done.err
    assert "3 bad files" in done.err


def test_flipped_bits_that_change_a_protected_value_are_found(tmp_path: Path) -> None:
    flips = flip(make_store(tmp_path, n_files=9), n_changed=6, seed=4)
    assert (flips.n_found, flips.missed, flips.crashed) == (flips.n_changed, [], [])


@pytest.mark.slow
def test_a_hundred_flipped_bits_are_found(tmp_path: Path) -> None:
    flips = flip(make_store(tmp_path), n_changed=100, seed=9)
    assert (flips.n_found, flips.missed, flips.crashed) == (flips.n_changed, [], [])
