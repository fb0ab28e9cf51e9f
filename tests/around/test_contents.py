"""Reading a store's vectors back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.contents import read_contents, stored_vectors
from retrieval.engine import Engine
from retrieval.errors import NotFoundError, UsageError


def test_contents_hold_the_vector_of_every_live_part(engine: Engine, world: Path) -> None:
    engine.add(world)
    engine.remove(world / "white.png")
    Image.new("RGB", (40, 30), (0, 255, 255)).save(world / "green.png")
    engine.add(world)
    contents = read_contents(engine)
    names = {Path(item.path).name for item in contents.items.values()}
    # green.png is cyan now; sun.png owns its picture and its caption.
    assert names == {
        "red.png", "green.png", "blue.png", "white.png", "low.wav", "high.wav", "day.txt",
        "rows.csv#1", "rows.csv#2", "sun.png",
    }  # fmt: skip
    assert len(contents.parts) == 11
    assert sorted({p.item_id for p in contents.parts}) == sorted(contents.items)
    for part, vector in zip(contents.parts, contents.vectors, strict=True):
        if part.text is not None:
            wanted = engine.encoder.encode([part.text], modality="text")[0]
            assert np.abs(vector - wanted).max() < 2e-3  # stored as float16


def test_an_item_speaks_by_its_picture_not_by_its_caption(engine: Engine, world: Path) -> None:
    engine.add(world)
    contents = read_contents(engine)
    ids, vectors = contents.item_vectors()
    sun = next(id_ for id_, item in contents.items.items() if item.path.endswith("sun.png"))
    pixels = np.full((32, 32, 3), (250, 250, 0), np.uint8)
    wanted = engine.encoder.encode([pixels], modality="image")[0]
    assert np.abs(vectors[ids.tolist().index(sun)] - wanted).max() < 2e-3
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_stored_vectors_leave_out_what_changed_and_what_is_unknown(
    engine: Engine, world: Path, tmp_path: Path
) -> None:
    engine.add(world)
    Image.new("RGB", (41, 30), (0, 255, 255)).save(world / "green.png")
    paths = [str(world / n) for n in ("red.png", "green.png", "rows.csv", "nothing.png")]
    found = stored_vectors(engine, paths=paths, space=engine.encoder.spaces[0])
    assert list(found) == [str(world / "red.png")]
    wanted = engine.encoder.encode([np.full((32, 32, 3), (255, 0, 0), np.uint8)], modality="image")
    assert np.abs(found[str(world / "red.png")] - wanted[0]).max() < 2e-3


def test_an_empty_store_and_an_unknown_space_are_refused(engine: Engine, world: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        read_contents(engine)
    engine.add(world / "red.png")
    with pytest.raises(NotFoundError, match="it has fake"):
        read_contents(engine, space_id="other")
