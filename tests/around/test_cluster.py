"""Groups and strangers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli import crossfind
from colour_shades import shades
from PIL import Image

from retrieval.around.cluster import cluster_items, find_outliers, spherical_k_means
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.errors import UsageError


@pytest.fixture
def palette(tmp_path: Path) -> Path:
    folder = tmp_path / "palette"
    for name, colour in (("red", (235, 20, 20)), ("blue", (20, 20, 235))):
        shades(folder, name=name, colour=colour, n=8, seed=len(name))
    shades(folder, name="green", colour=(20, 235, 20), n=5, seed=9)
    return folder


def test_clusters_are_the_colours_with_their_words(engine: Engine, palette: Path) -> None:
    engine.add(palette)
    clusters = cluster_items(read_contents(engine), encoder=engine.encoder, n_clusters=3)
    found = {frozenset(Path(p).stem.rstrip("0123456789") for p in c.paths) for c in clusters}
    assert found == {frozenset({"red"}), frozenset({"green"}), frozenset({"blue"})}
    assert [len(c.ids) for c in clusters] == [8, 8, 5]
    for cluster in clusters:
        assert cluster.keywords[0] == Path(cluster.paths[0]).stem.rstrip("0123456789")
        assert cluster.modalities == {"image": len(cluster.ids)}
        assert cluster.cohesion > 0.9
    assert sum(len(c.ids) for c in clusters) == 21


def test_k_means_reaches_a_point_that_no_move_improves() -> None:
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((300, 5)).astype(np.float32)
    vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    labels, centres = spherical_k_means(vectors, k=7, seed=3)
    again, _ = spherical_k_means(vectors, k=7, seed=3)
    assert np.array_equal(labels, again)
    assert set(labels.tolist()) == set(range(7))
    for row in range(300):
        assert labels[row] == int(np.argmax([vectors[row] @ c for c in centres]))
    for number in range(7):
        mean = vectors[labels == number].mean(axis=0)
        assert np.allclose(centres[number], mean / np.linalg.norm(mean), atol=1e-5)


def test_k_means_of_equal_rows_ends() -> None:
    rows = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))
    labels, centres = spherical_k_means(rows, k=3)
    assert len(labels) == 4
    assert np.isfinite(centres).all()


def test_the_stranger_comes_first(engine: Engine, palette: Path) -> None:
    Image.new("RGB", (20, 20), (240, 240, 0)).save(palette / "odd.png")
    engine.add(palette)
    contents = read_contents(engine)
    first, *others = find_outliers(contents, n=100)
    assert Path(first.path).name == "odd.png"
    assert len(others) == 21
    ids, vectors = contents.item_vectors()
    row = ids.tolist().index(first.id)
    near = np.sort(np.delete(vectors @ vectors[row], row))[-5:].mean()
    assert first.similarity == pytest.approx(near, abs=1e-3)


def test_too_few_items_are_refused(engine: Engine, world: Path) -> None:
    engine.add(world / "red.png", world / "blue.png")
    with pytest.raises(UsageError, match="three are needed"):
        find_outliers(read_contents(engine))
    engine.add(world)
    with pytest.raises(UsageError, match="give 2 to"):
        cluster_items(read_contents(engine), encoder=engine.encoder, n_clusters=100)


def test_the_commands_print_groups_and_strangers(palette: Path, tmp_path: Path) -> None:
    crossfind("index", "add", palette, "--model", "fake", cwd=tmp_path)
    done = crossfind("cluster", "-k", "3", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [len(c["ids"]) for c in json.loads(done.out)["clusters"]] == [8, 8, 5]
    assert "8 items" in crossfind("cluster", "-k", "3", cwd=tmp_path).out
    done = crossfind("outliers", "-n", "2", "--json", cwd=tmp_path)
    assert len(json.loads(done.out)["outliers"]) == 2
