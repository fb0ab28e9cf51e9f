"""Figures of geometry against their definitions, written out slowly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli import crossfind

from retrieval.contents import Contents
from retrieval.errors import UsageError
from retrieval.types import Item, Part, Space
from retrieval.visualize.analyze import analyze, hubness, uniformity


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rows() -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((24, 6)) + 0.3)


def test_uniformity_is_the_log_mean_kernel_over_pairs(rows: np.ndarray) -> None:
    slow = [
        np.exp(-2 * float(np.sum((rows[a] - rows[b]) ** 2))) for a in range(24) for b in range(a)
    ]
    assert uniformity(rows) == pytest.approx(float(np.log(np.mean(slow))), abs=1e-4)


def test_hubness_is_the_skewness_of_neighbour_counts(rows: np.ndarray) -> None:
    counts = np.zeros(24)
    for a in range(24):
        others = sorted((b for b in range(24) if b != a), key=lambda b: -float(rows[a] @ rows[b]))
        for b in others[:3]:
            counts[b] += 1
    slow = np.mean((counts - counts.mean()) ** 3) / np.std(counts) ** 3
    assert hubness(rows, k=3) == pytest.approx(float(slow))


def contents_of(pictures: np.ndarray, captions: np.ndarray) -> Contents:
    space = Space("s", "m", "f", pictures.shape[1], ("image", "text"))
    parts, vectors, items = [], [], {}
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        items[number] = Item(number, f"/{number}.png", "image", "png", 1)
        parts += [Part(2 * number, number, "image"), Part(2 * number + 1, number, "text", text="x")]
        vectors += [picture, caption]
    return Contents(space, tuple(parts), np.stack(vectors), items)


def test_pairs_of_picture_and_caption_give_alignment_gap_and_consistency(rows: np.ndarray) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    found = analyze(contents_of(rows, (rows @ turn).astype(np.float32)))
    (pairing,) = found.pairings
    other = rows @ turn
    assert (pairing.modalities, pairing.n_pairs) == ("image-text", 24)
    assert pairing.gap == pytest.approx(
        float(np.linalg.norm(rows.mean(axis=0) - other.mean(axis=0))), abs=1e-3
    )
    slow = np.mean([np.sum((a - b) ** 2) for a, b in zip(rows, other, strict=True)])
    assert pairing.alignment == pytest.approx(float(slow), abs=1e-3)
    assert pairing.consistency == pytest.approx(1.0, abs=1e-3)  # a rotation keeps every likeness
    assert [s.modality for s in found.spreads] == ["image", "text"]
    same = analyze(contents_of(rows, rows)).pairings[0]
    assert (same.gap, same.alignment, same.consistency) == (0.0, 0.0, 1.0)


def test_effective_dimension_counts_the_directions_in_use() -> None:
    flat = np.zeros((40, 6), np.float32)
    flat[:, :2] = unit(np.random.default_rng(2).standard_normal((40, 2)))
    found = analyze(contents_of(flat, flat))
    assert 1.5 < found.effective_dim <= 2.01


def test_too_little_is_refused() -> None:
    one = np.eye(2, dtype=np.float32)[:1]
    with pytest.raises(UsageError, match="three"):
        analyze(contents_of(one, one))


def test_the_command_prints_and_writes_json(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\nred\nblue\ngreen sea\nwhite\n")
    crossfind("index", "add", "rows.csv", "--model", "fake", cwd=tmp_path)
    found = json.loads(crossfind("analyze", "--json", cwd=tmp_path).out)
    assert (found["n_parts"], found["spreads"][0]["n_items"]) == (4, 4)
    assert "uniformity" in crossfind("analyze", cwd=tmp_path).out
