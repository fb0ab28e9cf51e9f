"""Columns and tags of the user, and what pictures say of themselves: filtered, shown, kept."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import media_files
import pytest
from cli import crossfind
from PIL import Image

from retrieval.engine import Engine
from retrieval.errors import InputError, UsageError
from retrieval.media import find_file, load_file
from retrieval.media.image import load_image
from retrieval.types import Details, Hit, MediaSpec

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
    '"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>wild</rdf:li>'
    "<rdf:li> pets </rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def photo(*, xmp: str = "", taken: str = "2019:05:31 23:30:00", side: str = "S") -> bytes:
    """Make a JPEG with EXIF of Sydney, and perhaps keywords."""
    image = Image.new("RGB", (40, 30), "orange")
    exif = image.getexif()
    exif[0x010F], exif[0x0110] = "ACME", "ACME X1\0"
    exif.get_ifd(0x8769).update({0x9003: taken, 0x9011: "-02:00"})
    exif.get_ifd(0x8825).update({1: side, 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, xmp=xmp.encode())
    return file.getvalue()


def details(data: bytes) -> Details:
    return load_image(data, format="jpeg", spec=MediaSpec(image_size_px=8)).details


def names(hits: Sequence[Hit]) -> list[str]:
    return sorted(hit.path.rpartition("/")[2] for hit in hits)


def test_a_picture_says_when_where_with_what_and_under_which_words() -> None:
    assert details(photo(xmp=XMP)) == Details(
        taken_ns=1_559_352_600 * 10**9,  # 2019-06-01T01:30:00Z
        lat=-33.8583333, lon=151.2, camera="ACME X1", tags=("pets", "wild"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "xmp",
    [
        "<a", "<!DOCTYPE a [<!ENTITY b 'c'>]>" + XMP, "\0\0", XMP.replace("wild", "&#9999999;"),
        "<x>" * 5000,
    ],
)  # fmt: skip
def test_malformed_words_are_as_if_they_were_not_there(xmp: str) -> None:
    found = details(photo(xmp=xmp, taken="0000:00:00 00:00:00", side="Q"))
    assert found == Details(camera="ACME X1")


def test_iptc_keywords_are_tags() -> None:
    words = b"".join(
        b"\x1c\x02\x19" + len(word).to_bytes(2, "big") + word for word in (b"sea", "é".encode())
    )
    block = (
        b"8BIM\x04\x04\x00\x00" + len(words).to_bytes(4, "big") + words + b"\0" * (len(words) % 2)
    )
    segment = b"Photoshop 3.0\0" + block
    data = photo()
    marked = data[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    assert details(marked).tags == ("sea", "é")


@pytest.fixture
def filled(engine: Engine, world: Path) -> Engine:
    """The world of colours, and a photo from Sydney."""
    (world / "sydney.jpg").write_bytes(photo(xmp=XMP))
    engine.add(world)
    return engine


def test_what_a_picture_says_filters_and_is_found(filled: Engine) -> None:
    for where in (
        "lat < 0 AND lon > 151", "camera LIKE 'acme%'", "year = 2019", "tag IN ('wild', 'x')",
        "taken_at >= '2019-06-01' AND taken_at < '2019-06-02'", "taken_at IS NOT NULL",
    ):  # fmt: skip
        assert names(filled.search("red", k=50, where=where)) == ["sydney.jpg"], where
    assert filled.search("wild pets", k=1)[0].path.endswith("sydney.jpg")
    assert filled.search("red", where="year = 1969 OR tag = 'Wild'") == []


def test_a_changed_file_says_new_things_and_the_users_stay(filled: Engine, world: Path) -> None:
    table = world.parent / "own.csv"
    table.write_text("path,tags,stars\nworld/sydney.jpg,mine,3\n")
    filled.add_columns(table)
    (world / "sydney.jpg").write_bytes(photo(taken="2001:01:01 00:00:00"))
    filled.add(world)
    assert names(filled.search("red", where="year = 2001")) == ["sydney.jpg"]
    assert filled.search("red", where="tag = 'wild' OR year = 2019") == []
    assert names(filled.search("red", where="tag = 'mine' AND stars = 3")) == ["sydney.jpg"]
    assert filled.search("mine", k=1)[0].by != "vector"
    filled.remove(world / "sydney.jpg")
    filled.add(world)
    assert filled.search("red", where="tag = 'mine' OR stars = 3") == []


TABLES = {
    "own.csv": (
        "path;Stars;mood;kept;tags\n"
        "world/red.png;4;it's;yes;a, b\n"
        "{world}/blue.png;2.5;;no;\n"
        "world/rows.csv#2;;sad;;c\n"
        "no.png;1;;;\n"
    ),
    "own.jsonl": (
        '{{"file": "world/red.png", "Stars": 4, "mood": "it\'s", "kept": true, "tags": ["a", "b"]}}'
        '\n{{"file": "{world}/blue.png", "Stars": 2.5, "kept": false}}\n\n'
        '{{"file": "world/rows.csv#2", "mood": "sad", "tags": "c"}}\n'
        '{{"file": "no.png", "Stars": 1}}\n'
    ),
}


@pytest.mark.parametrize("name", [*TABLES, "own.parquet"])
def test_a_table_gives_columns_and_tags(filled: Engine, world: Path, name: str) -> None:
    table = world.parent / name
    if name == "own.parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        lines = TABLES["own.jsonl"].format(world=world).replace('"tags": "c"', '"tags": ["c"]')
        rows = [json.loads(line) for line in lines.splitlines() if line]
        parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    else:
        table.write_text(TABLES[name].format(world=world))
    report = filled.add_columns(table)
    assert report.columns == {"Stars": "number", "mood": "text", "kept": "bool"}
    assert (report.n_rows, report.n_items, report.n_unknown) == (4, 3, 1)
    assert report.unknown == (str(world.parent / "no.png"),)
    hits = {h.path.rpartition("/")[2]: h for h in filled.search("red", k=50)}
    assert hits["red.png"].columns == {"Stars": 4, "mood": "it's", "kept": True}
    assert hits["blue.png"].columns == {"Stars": 2.5, "kept": False}
    assert hits["white.png"].columns == {}
    for where, expected in {
        "Stars >= 2.5": ["blue.png", "red.png"],
        "Stars IS NULL AND mood = 'sad'": ["rows.csv#2"],
        "kept = false": ["blue.png"],
        "mood LIKE 'IT%'": ["red.png"],
        "tag IN ('b', 'c')": ["red.png", "rows.csv#2"],
    }.items():
        assert names(filled.search("red", k=50, where=where)) == expected, where
    with pytest.raises(UsageError, match="did you mean Stars"):
        filled.search("red", where="stars > 3")


def test_a_second_table_replaces_what_it_names(filled: Engine, world: Path) -> None:
    table = world / "own.csv"
    table.write_text("path,stars,mood\nred.png,4,glad\nblue.png,1,sad\n")
    filled.add_columns(table)
    table.write_text("path,stars\nred.png,\nblue.png,2\n")
    filled.add_columns(table)
    hits = {h.path.rpartition("/")[2]: h for h in filled.search("red", k=50)}
    assert hits["red.png"].columns == {"mood": "glad"}
    assert hits["blue.png"].columns == {"mood": "sad", "stars": 2}


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("t.csv", "stars\n4\n", "no path"),
        ("t.csv", "path,year\nred.png,4\n", "a field of every item"),
        ("t.csv", "path,1st\nred.png,4\n", "begin it with a letter"),
        ("t.csv", "path,NULL\nred.png,4\n", "begin it with a letter"),
        ("t.csv", "path,stars\nred.png,4,5\n", "more fields"),
        ("t.csv", "path,mine\nred.png,many\n", "is of kind number"),
        ("t.jsonl", "[1]\n", "no object"),
        ("t.jsonl", "{\n", "cannot be read"),
        ("t.xml", "<a/>", "no csv, tsv"),
        ("t.csv", "path," + ",".join(f"c{n}" for n in range(101)) + "\nred.png\n", "100 columns"),
    ],
)
def test_a_bad_table_is_refused_whole(
    filled: Engine, world: Path, name: str, text: str, word: str
) -> None:
    (world / "good.csv").write_text("path,mine\nred.png,1\n")
    filled.add_columns(world / "good.csv")
    (world / name).write_text(text)
    with pytest.raises((InputError, UsageError), match=word):
        filled.add_columns(world / name)
    hits = {h.path.rpartition("/")[2]: h for h in filled.search("red", k=50)}
    assert hits["red.png"].columns == {"mine": 1}


def test_the_command_line_takes_a_table_and_shows_columns(tmp_path: Path, world: Path) -> None:
    (tmp_path / "own.csv").write_text("path,stars\nworld/red.png,4\nworld/none.png,5\n")
    added = crossfind(
        "index", "add", "world", "--model", "fake", "--columns", "own.csv", cwd=tmp_path
    )
    assert added.code == 0, added.err
    assert "stars (number): 1 item of 2 rows" in added.err
    found = crossfind("search", "red", "--where", "stars = 4", "--json", cwd=tmp_path)
    assert [h["columns"] for h in json.loads(found.out)["hits"]] == [{"stars": 4}]
    again = crossfind("index", "columns", "own.csv", "--json", cwd=tmp_path)
    assert json.loads(again.out)["columns"] == {"stars": "number"}
    assert "not in the store: 1 path" in again.err


def test_sounds_and_videos_say_what_they_are_and_how_they_are_tagged(
    engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "heard"
    folder.mkdir()
    told = {"title": "Sea\nand  Sand", "ARTIST": "Waves", "album": "Shore", "genre": "noise"}
    for name, codec, rate_hz, channels in (
        ("a.flac", "flac", 22_050, 2), ("b.mp3", "libmp3lame", 44_100, 1),
    ):  # fmt: skip
        samples = media_files.tone(rate_hz=rate_hz, channels=channels)
        media_files.sound(folder / name, codec=codec, samples=samples, rate_hz=rate_hz, tags=told)
    film = media_files.video(
        folder / "c.mp4", fps=10, with_sound=True,
        tags={"creation_time": "2020-05-31T12:00:00.000000Z", "title": "Film"},
    )  # fmt: skip
    spec = MediaSpec(image_size_px=8)
    said = {path.name: load_file(find_file(path), spec=spec).details for path in folder.iterdir()}
    words = {"title": "Sea and Sand", "artist": "Waves", "album": "Shore"}
    assert said == {
        "a.flac": Details(sample_rate_hz=22_050, n_channels=2, codec="flac", **words),
        "b.mp3": Details(sample_rate_hz=44_100, n_channels=1, codec="mp3float", **words),
        "c.mp4": Details(
            1_590_926_400 * 10**9, sample_rate_hz=48_000, n_channels=1, fps=10.0, codec="h264",
            title="Film",
        ),
    }  # fmt: skip
    assert engine.add(folder).n_bad == 0
    for where, expected in {
        "sample_rate_hz >= 44100": ["b.mp3", "c.mp4"],
        "channels = 2": ["a.flac"],
        "fps > 5 AND codec = 'h264'": [film.name],
        "artist = 'Waves' AND album LIKE 'sh%'": ["a.flac", "b.mp3"],
        "title IN ('Film')": ["c.mp4"],
        "fps IS NULL": ["a.flac", "b.mp3"],
        "taken_at = '2020-05-31' AND year = 2020": ["c.mp4"],
        "NOT title LIKE '%sand'": ["c.mp4"],
    }.items():
        assert names(engine.search("red", where=where)) == expected, where
