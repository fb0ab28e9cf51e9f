"""The plan on paper is its constants times its counts."""

from __future__ import annotations

from benchmarks.plan_scale import CONSTANTS, plan


def test_a_plan_is_what_a_calculator_gives() -> None:
    made = plan(1_000_000_000, dim=512, gpu_hour=2.0, gb_hour=0.01, gb_month=0.02)
    assert made["segments, float16"] == "1.02 TB"  # 1e9 x 512 x 2 bytes
    assert made["Milvus builds, with 256 GB of memory"] == "DISKANN, 128.0 GB"  # 1e9 x 512 / 4
    assert made["encode with `starter`, pictures, on CPUs"] == "6,944.4 core-hours"  # 1e9 / 40
    assert made["encode with ViT-B-32, one GPU"] == "24.4 GPU-hours, $49"  # 1e9 / (.9 x 12,645)
    # 730 h x $0.01 x (128 + 2 x 26) GB; $0.02 x (1,024 + 800 + 2,048) GB
    assert made["memory and storage a month, two servers"] == "$1,314 + $77"


def test_every_constant_says_where_it_is_from() -> None:
    for constant in CONSTANTS.values():
        assert constant.source.partition(",")[0].partition(":")[0].partition(" ")[0] in (
            "measured", "cited", "counted", "estimated",
        )  # fmt: skip
