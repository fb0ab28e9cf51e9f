"""The demo set: every file is small, decodes, is credited, and the searches name real files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import av
import pytest
from PIL import Image

from retrieval.demo.run import Demo, load_demo

ALLOWED = {"CC0-1.0", "MIT", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "public-domain"}
FOLDERS = {"image": "images", "audio": "sounds", "text": "texts"}


@pytest.fixture(scope="module")
def demo() -> Demo:
    return load_demo()


def _of(demo: Demo, modality: str) -> list[Path]:
    return [demo.path(item.name) for item in demo.items if item.modality == modality]


def test_the_set_has_about_80_pictures_40_sounds_and_40_texts(demo: Demo) -> None:
    counts = Counter(item.modality for item in demo.items)
    assert 75 <= counts["image"] <= 90
    assert 38 <= counts["audio"] <= 45
    assert 38 <= counts["text"] <= 45


def test_the_items_are_exactly_the_files_of_the_media_folder(demo: Demo) -> None:
    on_disk = {
        path.relative_to(demo.media).as_posix()
        for path in demo.media.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    names = [item.name for item in demo.items]
    assert sorted(names) == sorted(on_disk)


def test_each_item_lies_in_the_folder_of_its_modality(demo: Demo) -> None:
    assert all(item.name.split("/")[0] == FOLDERS[item.modality] for item in demo.items)


def test_the_set_is_at_most_8_mb_and_no_file_is_over_40_kb(demo: Demo) -> None:
    sizes = {item.name: demo.path(item.name).stat().st_size for item in demo.items}
    assert sum(sizes.values()) <= 8_000_000
    assert [name for name, size in sizes.items() if size > 40_000] == []


def test_no_two_files_have_the_same_bytes(demo: Demo) -> None:
    digests = Counter(
        hashlib.sha256(demo.path(item.name).read_bytes()).hexdigest() for item in demo.items
    )
    assert digests.most_common(1)[0][1] == 1


def test_every_picture_decodes_in_the_format_of_its_suffix_at_most_320_px_wide(demo: Demo) -> None:
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    for path in _of(demo, "image"):
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == formats[path.suffix], path.name
            assert 100 <= max(picture.size) <= 320, path.name
            low, high = picture.convert("L").getextrema()
            assert high - low > 60, f"{path.name} shows nothing"


def test_every_sound_decodes_to_two_to_five_loud_seconds(demo: Demo) -> None:
    for path in _of(demo, "audio"):
        with av.open(str(path)) as container:
            assert container.streams.audio[0].codec_context.name.endswith("opus"), path.name
            frames = list(container.decode(audio=0))
            loudest = max(float(abs(frame.to_ndarray()).max()) for frame in frames)
            seconds = sum(frame.samples for frame in frames) / frames[0].sample_rate
        assert 1.5 <= seconds <= 5.1, path.name
        assert 0.1 <= loudest <= 1.5, path.name


def test_every_text_is_one_to_four_sentences_of_utf_8(demo: Demo) -> None:
    for path in _of(demo, "text"):
        text = path.read_text(encoding="utf-8")
        n_sentences = sum(text.count(end) for end in (". ", ".\n", "! ", "? "))
        assert 1 <= n_sentences <= 4, path.name
        assert 60 <= len(text) <= 250, path.name


def test_notice_names_every_file_with_its_source_author_and_licence(demo: Demo) -> None:
    notice = (demo.media.parent / "NOTICE").read_text(encoding="utf-8").splitlines()
    expected = [" | ".join((i.name, i.source, i.author, i.licence)) for i in demo.items]
    assert [line for line in notice if line.startswith(tuple(FOLDERS.values()))] == expected


def test_every_licence_is_free_enough_to_ship_and_named_at_the_end_of_notice(demo: Demo) -> None:
    used = {item.licence for item in demo.items}
    assert used <= ALLOWED
    notice = (demo.media.parent / "NOTICE").read_text(encoding="utf-8")
    tail = notice[notice.index("\nLicences\n") :]
    assert all(f"\n{licence} " in tail for licence in used)
    assert "Permission is hereby granted, free of charge" in tail


def test_items_that_ask_for_attribution_name_an_author_and_a_link(demo: Demo) -> None:
    for item in demo.items:
        if item.licence.startswith("CC-BY"):
            assert item.author not in ("", "unknown"), item.name
            assert "http" in item.source, item.name


def test_no_drawing_or_sample_comes_from_the_training_part_of_its_collection(demo: Demo) -> None:
    # The starter is trained on the files of these whose md5(name) does not begin with 0.
    for item in demo.items:
        if item.source.startswith("Open Clip Art"):
            names = [item.source.rsplit("/", 1)[1]]
        elif item.source.startswith("Sonic Pi"):
            names = [item.source.split(", ")[1]]
        elif item.source.startswith("Twemoji"):
            code = item.source.split(", ")[1].removesuffix(".svg")
            names = [
                f"{head}{code}.{suffix}" for head in ("", "emoji_u") for suffix in ("svg", "png")
            ]
        else:
            continue
        assert any(hashlib.md5(n.encode()).hexdigest()[0] == "0" for n in names), item.name


def test_clothes_and_groceries_come_from_the_validation_photos(demo: Demo) -> None:
    for item in demo.items:
        if item.source.startswith("Grocery"):
            assert ", val/" in item.source, item.name
        if item.source.startswith("Clothing"):
            assert ", validation/" in item.source, item.name


def test_searches_cover_all_six_directions_at_least_twice(demo: Demo) -> None:
    ways = Counter((search.query_modality, search.modality) for search in demo.searches)
    pairs = {(a, b) for a in FOLDERS for b in FOLDERS if a != b}
    assert len(demo.searches) >= 12
    assert set(ways) == pairs
    assert min(ways.values()) >= 2


def test_each_search_expects_existing_items_of_the_modality_it_looks_for(demo: Demo) -> None:
    items = {item.name: item for item in demo.items}
    for search in demo.searches:
        assert search.expected, search.query
        assert {items[name].modality for name in search.expected} == {search.modality}
        if search.kind == "file":
            assert items[search.query].modality == search.query_modality


def test_each_file_search_expects_items_of_the_query_s_own_concept(demo: Demo) -> None:
    concepts = {item.name: item.concept for item in demo.items}
    for search in demo.searches:
        if search.kind == "file":
            assert {concepts[name] for name in search.expected} == {concepts[search.query]}


def test_each_search_expects_every_item_of_its_concept(demo: Demo) -> None:
    # Otherwise a right answer would count as a miss, or a search could be tuned to one lucky file.
    concepts = {item.name: item.concept for item in demo.items}
    for search in demo.searches:
        wanted = {concepts[name] for name in search.expected}
        same = {i.name for i in demo.items if i.modality == search.modality and i.concept in wanted}
        if search.kind == "file":
            assert set(search.expected) == same, search.query


def test_no_caption_lies_beside_a_picture_or_sound(demo: Demo) -> None:
    stems = Counter((path.parent, path.stem) for path in demo.media.rglob("*.*"))
    assert max(stems.values()) == 1
    assert not list(demo.media.glob("images/*.txt")) + list(demo.media.glob("sounds/*.txt"))


def test_demo_json_has_no_keys_that_nothing_reads(demo: Demo) -> None:
    raw = json.loads((demo.media.parent / "demo.json").read_text(encoding="utf-8"))
    assert set(raw) == {"version", "items", "searches"}
    keys = {"path", "modality", "concept", "source", "licence", "author"}
    assert {frozenset(item) for item in raw["items"]} == {frozenset(keys)}
    assert {frozenset(s) for s in raw["searches"]} == {
        frozenset({"query", "kind", "for", "expect"})
    }
