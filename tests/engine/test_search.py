"""Searching: ranks, ties, filters, times, against a numpy oracle over every stored vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hit_names import names
from PIL import Image

from index.segments import open_segment
from retrieval.engine import Engine
from retrieval.errors import BadMediaError, NotFoundError, UsageError


def oracle(engine: Engine, vector: np.ndarray) -> list[tuple[float, int]]:
    """Rank items the slow obvious way: (score, item id) by best part over all segments."""
    best: dict[int, float] = {}
    with engine._catalog.reading() as reader:
        for entry in reader.segments():
            segment = open_segment(engine.store.segments / entry.info.name)
            parts = reader.parts(segment.ids.tolist())
            for position, part_id in enumerate(segment.ids.tolist()):
                if part_id in parts:
                    score = float(segment.vectors(position, position + 1)[0] @ vector)
                    item = parts[part_id].item_id
                    best[item] = max(score, best.get(item, -2.0))
    return sorted(((s, i) for i, s in best.items()), key=lambda pair: (-pair[0], pair[1]))


def check(engine: Engine, hits, vector: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    expected = oracle(engine, vector)[: len(hits)]
    assert [h.id for h in hits] == [i for _, i in expected]
    assert np.allclose([h.score for h in hits], [s for s, _ in expected], atol=1e-5)
    assert [h.rank for h in hits] == list(range(1, len(hits) + 1))


@pytest.mark.parametrize("text", ["red", "blue sea", "a green and white thing", "zanzibar"])
def test_search_ranks_as_the_oracle_does(engine: Engine, world: Path, text: str) -> None:
    engine.add(world)
    vector = engine.encoder.encode([text], modality="text")[0]
    check(engine, engine.search(text, k=100, hybrid=False), vector)
    engine.build()
    check(engine, engine.search(text, k=100, hybrid=False), vector)


def test_each_modality_finds_each_other(engine: Engine, world: Path) -> None:
    engine.add(world)
    assert names(engine.search("red", k=1, modality="image")) == ["red.png"]
    assert names(engine.search("red", k=1, modality="audio")) == ["low.wav"]
    assert names(engine.search(world / "red.png", k=1, modality="audio")) == ["low.wav"]
    assert names(engine.search(world / "red.png", k=1, modality="text")) == ["day.txt"]
    assert names(engine.search(world / "low.wav", k=1, modality="image")) == ["red.png"]
    assert names(engine.search(world / "low.wav", k=1, modality="text")) == ["day.txt"]


def test_equal_scores_are_ordered_by_id(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for number in range(30):
        (tmp_path / "t" / f"{number:02}.txt").write_text("red" + " " * number)
    engine.add(tmp_path / "t")
    hits = engine.search("red", k=12)
    assert len({hit.score for hit in hits}) == 1
    assert [hit.id for hit in hits] == sorted(hit.id for hit in engine.search("red", k=100))[:12]


def test_long_sounds_do_not_crowd_out_others(engine: Engine, tmp_path: Path) -> None:
    import media_files

    folder = tmp_path / "long"
    folder.mkdir()
    time_s = np.arange(16_000 * 120) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 100 * time_s)).astype(np.float32)[:, None]
    media_files.wav(folder / "long.wav", samples=tone, rate_hz=16_000)
    media_files.wav(folder / "short.wav", samples=tone[: 16_000 * 3] * 0.4, rate_hz=16_000)
    Image.new("RGB", (9, 9), (255, 30, 0)).save(folder / "red.png")
    engine.add(folder)
    hits = engine.search("red", k=3)
    assert sorted(names(hits)) == ["long.wav", "red.png", "short.wav"]
    long = next(hit for hit in hits if hit.path.endswith("long.wav"))
    assert long.start_s is not None
    assert long.end_s is not None
    assert 0 <= long.start_s < long.end_s <= 120


def test_new_files_are_found_before_the_next_build(engine: Engine, world: Path) -> None:
    engine.add(world)
    engine.build()
    Image.new("RGB", (9, 9), (255, 255, 0)).save(world / "yellow.png")
    engine.add(world)
    assert names(engine.search("yellow", k=1)) == ["yellow.png"]


def test_another_engine_sees_a_commit_at_once(engine: Engine, world: Path, settings) -> None:  # type: ignore[no-untyped-def]
    with Engine.open(engine.store.root, settings=settings) as reader:
        assert reader.search("red", k=3) == [] if reader.status().spaces else True
        engine.add(world)
        assert names(reader.search("red", k=1, modality="image")) == ["red.png"]


def test_a_stored_item_is_searched_by_its_id_without_itself(engine: Engine, world: Path) -> None:
    engine.add(world)
    red = engine.item(world / "red.png")
    assert red is not None
    hits = engine.search(red.id, k=100)
    assert red.id not in [hit.id for hit in hits]
    assert len(hits) == 8
    assert hits == engine.similar(world / "red.png", k=100)
    vector = engine.encoder.encode([np.full((32, 32, 3), (255, 0, 0), np.uint8)], modality="image")[
        0
    ]
    expected = [i for _, i in oracle(engine, vector) if i != red.id]
    assert [hit.id for hit in hits] == expected


def test_similar_takes_a_file_that_is_not_stored(
    engine: Engine, world: Path, tmp_path: Path
) -> None:
    engine.add(world)
    Image.new("RGB", (9, 9), (250, 0, 0)).save(tmp_path / "new.png")
    assert names(engine.similar(tmp_path / "new.png", k=1)) == ["red.png"]


@pytest.mark.parametrize("k", [0, -1, 1001, 2**64, 1.5, "ten", None, True])
def test_k_outside_its_limits_is_refused(engine: Engine, world: Path, k: object) -> None:
    engine.add(world)
    with pytest.raises(UsageError, match="1000") as caught:
        engine.search("red", k=k)  # type: ignore[arg-type]
    assert caught.value.code == "bad_k"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_query_is_refused(engine: Engine, world: Path, text: str) -> None:
    engine.add(world)
    with pytest.raises(UsageError) as caught:
        engine.search(text)
    assert caught.value.code == "empty_query"


def test_a_lone_surrogate_in_a_query_is_harmless(engine: Engine, world: Path) -> None:
    engine.add(world)
    assert names(engine.search("red \ud800", k=1, modality="image")) == ["red.png"]


def test_an_unknown_item_and_a_bad_query_file_are_named(engine: Engine, world: Path) -> None:
    engine.add(world)
    with pytest.raises(NotFoundError, match="#999"):
        engine.search(999)
    (world / "broken.png").write_bytes(b"nothing")
    with pytest.raises(BadMediaError) as caught:
        engine.search(world / "broken.png")
    assert caught.value.code == "not_an_image"


def test_an_empty_store_answers_with_nothing(engine: Engine) -> None:
    assert engine.search("red") == []
    assert engine.status().n_parts == 0


def test_pages_of_a_list_join_to_the_whole_list(engine: Engine, world: Path) -> None:
    engine.add(world)
    whole = engine.search("a red day", k=9)
    pages = [engine.search("a red day", k=3, offset=offset) for offset in (0, 3, 6)]
    assert [hit for page in pages for hit in page] == whole
    assert engine.search("a red day", k=3, offset=9) == []


def test_a_page_too_deep_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="at most 10000") as caught:
        engine.search("red", k=1000, offset=9001)
    assert caught.value.code == "bad_offset"
