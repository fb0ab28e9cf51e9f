"""The report of an analysis: its figures against loops, and a page that asks nobody."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import media_files
import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.errors import BackendMissingError
from retrieval.visualize.analyze import analyze, hub_counts
from retrieval.visualize.details import look_closer
from retrieval.visualize.map import make_map
from retrieval.visualize.project import kept_neighbours, neighbour_plane
from retrieval.visualize.report import analysis_html


@pytest.fixture
def filled(engine: Engine, tmp_path: Path) -> Engine:
    """12 pictures, 8 with a caption, a sound, two texts."""
    folder = tmp_path / "world"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(12):
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        Image.new("RGB", (20, 20), colour).save(folder / f"{n} <b>&.png")
        if n < 8:
            (folder / f"{n} <b>&.txt").write_text(["red sea", "green", "a blue day"][n % 3])
    media_files.wav(folder / "low.wav", samples=media_files.tone(seconds=1.0))
    (folder / "rows.csv").write_text("text\nblue sea\ngreen grass\n")
    engine.add(folder)
    return engine


def test_hub_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(25, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    counts = [0] * 25
    for i in range(25):
        order = sorted(
            (j for j in range(25) if j != i), key=lambda j: (-float(rows[i] @ rows[j]), j)
        )
        for j in order[:4]:
            counts[j] += 1
    assert hub_counts(rows, k=4).tolist() == counts


def test_the_plots_show_what_loops_over_the_store_give(filled: Engine) -> None:
    contents = read_contents(filled)
    found = look_closer(contents)
    by_kind = {
        kind: [contents.vectors[r] for r, p in enumerate(contents.parts) if p.modality == kind]
        for kind in ("image", "audio", "text")
    }
    assert {kind: len(points) for kind, points in found.places.items()} == {
        kind: len(own) for kind, own in by_kind.items()
    }
    cosines = [float(a @ b) for a in by_kind["image"] for b in by_kind["text"]]
    binned = [0.0] * 40
    for cosine in cosines:
        binned[min(39, int((cosine + 1) / 2 * 40))] += 1 / len(cosines)
    assert found.cosines["image-text"] == pytest.approx(binned, abs=0.03)
    assert sum(found.cosines["image"]) == pytest.approx(1.0)
    assert "audio" not in found.cosines  # there is only one
    assert found.counts["image"].sum() == 12 * 10
    assert found.hubs[0].n_times == max(int(c.max()) for c in found.counts.values())
    assert found.likeness["image-text"].shape == (28, 2)  # pairs of the 8 with a caption


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        self.tags.append(tag)


def test_the_page_is_complete_and_asks_nobody(filled: Engine) -> None:
    contents = read_contents(filled)
    page = analysis_html(analyze(contents), details=look_closer(contents))
    tags = Tags()
    tags.feed(page)
    assert tags.tags.count("svg") == 4
    assert not {"script", "img", "link", "b", "iframe"} & set(tags.tags)
    assert "://" not in page
    assert "&lt;b&gt;&amp;.png" in page
    pairing = next(p for p in analyze(contents).pairings if p.modalities == "image-text")
    assert f"{pairing.gap:.3f}" in page
    assert f"{pairing.alignment:.3f}" in page
    assert not re.search(r"\bnan\b|\binf\b", page)


def test_the_command_writes_the_page(filled: Engine, tmp_path: Path) -> None:
    assert filled.store
    done = crossfind("analyze", "--out", "a.html", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "hubness" in done.out
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_without_umap_the_extra_is_named(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(BackendMissingError, match=r"crossfind\[viz\]"):
        make_map(read_contents(filled), method="umap")
    done = crossfind("map", "--method", "umap", cwd=tmp_path)
    assert done.code != 0
    assert "pip install 'crossfind[viz]'" in done.err


def test_umap_is_asked_for_cosine_and_a_seed_and_its_points_are_centred(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    class Umap:
        def __init__(self, **options: object) -> None:
            asked.update(options)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            return np.stack([np.arange(len(rows)), 3 * np.arange(len(rows))], axis=1) + 7.0

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))  # type: ignore[arg-type]
    found = make_map(read_contents(filled), method="umap", seed=4)
    assert (asked["metric"], asked["random_state"]) == ("cosine", 4)
    assert max(dot.y for dot in found.dots) == 1.0 == -min(dot.y for dot in found.dots)
    assert found.method == "umap"
    assert 0.0 <= found.kept <= 1.0


def test_kept_neighbours_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(30, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points = rng.normal(size=(30, 2)).astype(np.float32)
    shares = []
    for i in range(30):
        others = [j for j in range(30) if j != i]
        near = sorted(others, key=lambda j: -float(rows[i] @ rows[j]))[:4]
        flat = sorted(others, key=lambda j: float(np.linalg.norm(points[i] - points[j])))[:4]
        shares.append(len(set(near) & set(flat)) / 4)
    assert kept_neighbours(rows, points=points, k=4) == pytest.approx(np.mean(shares))


@pytest.mark.slow
def test_umap_itself_keeps_groups_together() -> None:
    pytest.importorskip("umap")
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(3, 32)) * 3
    rows = np.concatenate([c + rng.normal(size=(40, 32)) for c in centres]).astype(np.float32)
    points, kept = neighbour_plane(rows, seed=1)
    means = points.reshape(3, 40, 2).mean(axis=1)
    own = np.linalg.norm(points[:, None] - means[None], axis=2).argmin(axis=1)
    assert (own == np.repeat([0, 1, 2], 40)).mean() > 0.95
    assert kept > 0.3
    assert np.array_equal(points, neighbour_plane(rows, seed=1)[0])
