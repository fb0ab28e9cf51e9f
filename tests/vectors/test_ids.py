"""The id table answers like a dict, whatever came and went."""

from __future__ import annotations

import numpy as np
import pytest

from index.ids import IdTable


@pytest.mark.parametrize("seed", range(5))
def test_the_table_agrees_with_a_dict_over_many_small_changes(seed):
    rng = np.random.default_rng(seed)
    table, alive, n_positions = IdTable(), {}, 0
    for _ in range(300):
        ids = rng.permutation(50)[: rng.integers(1, 6)]
        if rng.random() < 0.5:
            ids = np.array([i for i in ids.tolist() if i not in alive], np.int64)
            table.append(ids)
            alive.update({i: n_positions + at for at, i in enumerate(ids.tolist())})
            n_positions += len(ids)
        else:
            gone = [i for i in ids.tolist() if i in alive]
            assert table.remove(ids) == len(gone)
            for i in gone:
                del alive[i]
        assert sorted(table.find(np.arange(60)).tolist()) == sorted(alive.values())
        assert table.live_ids().tolist() == sorted(alive)
        assert table.n_live == len(alive)
        assert table.n_positions == n_positions


def test_a_restored_table_goes_on_like_the_saved_one():
    table, copy = IdTable(), IdTable()
    table.append(np.array([5, 3, 9]))
    table.remove(np.array([3]))
    copy.restore(table.ids.copy(), table.live.copy())
    assert copy.live_ids().tolist() == [5, 9]
    assert copy.remove(np.array([3, 9])) == 1
    copy.append(np.array([3]))
    assert copy.find(np.array([3])).tolist() == [3]


def test_single_appends_keep_few_runs():
    table = IdTable()
    for i in range(1_000):
        table.append(np.array([i]))
    assert len(table._runs) <= 12
