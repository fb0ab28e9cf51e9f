"""Which index Milvus is to build, by count, memory and device, and what Milvus Lite can do."""

from __future__ import annotations

import pytest

from index.errors import InputError
from index.remote_plan import ALGORITHMS, choose_remote

GB = 1 << 30


@pytest.mark.parametrize(
    ("n", "dim", "memory_bytes", "device", "expected"),
    [
        (10_000, 512, None, "cpu", "FLAT"),
        (10_001, 512, None, "cpu", "HNSW"),
        (31_000_000, 512, None, "cpu", "HNSW"),  # 31e6 x 2,188 B = 67.8 GB of 68.7
        (32_000_000, 512, None, "cpu", "IVF_RABITQ"),
        (32_000_000, 256, None, "cpu", "HNSW"),
        (62_000_000, 512, None, "cpu", "IVF_RABITQ"),  # x 1,096 B = 68.0 GB
        (63_000_000, 512, None, "cpu", "DISKANN"),
        (1_000_000, 512, 4 * GB, "cpu", "HNSW"),
        (1_000_000, 512, 2 * GB, "cpu", "IVF_RABITQ"),
        (1_000_000, 512, 1 * GB, "cpu", "DISKANN"),
        (1_000_000_000, 512, None, "cpu", "DISKANN"),
        (5_000, 512, None, "gpu", "GPU_CAGRA"),
        (50_000_000, 512, 141 * GB, "gpu", "GPU_CAGRA"),
    ],
)
def test_a_servers_index_follows_the_table(
    n: int, dim: int, memory_bytes: int | None, device: str, expected: str
) -> None:
    plan = choose_remote(n, dim=dim, memory_bytes=memory_bytes, device=device)
    assert (plan.kind, plan.factory) == ("milvus", expected)
    fixed, per_dim = ALGORITHMS[expected].bytes_per_vector
    assert plan.memory_bytes == int(n * (fixed + per_dim * dim))


@pytest.mark.parametrize(
    ("n", "device", "wished", "built"),
    [
        (1_000_000, "gpu", "GPU_CAGRA", "HNSW"),
        (40_000_000, "cpu", "IVF_RABITQ", "IVF_FLAT"),
        (100_000_000, "cpu", "DISKANN", "IVF_FLAT"),
    ],
)
def test_milvus_lite_builds_another_and_the_plan_says_which(
    n: int, device: str, wished: str, built: str
) -> None:
    plan = choose_remote(n, dim=512, device=device, is_lite=True)
    assert plan.factory == built
    assert f"Milvus Lite has no {wished}" in plan.reason
    assert "Lite" not in choose_remote(n, dim=512, device=device).reason


def test_lists_are_as_many_as_four_roots_up_to_milvus_limit() -> None:
    assert choose_remote(40_000_000, dim=512).parameters["n_lists"] == 32_768
    assert choose_remote(900_000_000, dim=16).parameters["n_lists"] == 65_536


@pytest.mark.parametrize("is_lite", [False, True])
def test_what_cannot_fit_is_refused(is_lite: bool) -> None:
    with pytest.raises(InputError, match="allow more memory") as caught:
        choose_remote(1_000_000, dim=512, memory_bytes=100 << 20, is_lite=is_lite)
    assert caught.value.code == "too_little_memory"
