"""Texts, tables and captions (rows TX1 to TX6)."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import media_files
import pytest

from retrieval.errors import BadMediaError
from retrieval.media import find_file, load_file, text
from retrieval.media.text import chunks, decode_text
from retrieval.types import Loaded, MediaSpec

SPEC = MediaSpec(text_max_words=5, text_overlap_words=2)


def load(path: Path, data: bytes | str, *, spec: MediaSpec = SPEC) -> Loaded:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_file(find_file(path), spec=spec)


def records(loaded: Loaded) -> list[tuple[int, str]]:
    assert all(part.modality == "text" and not part.caption for part in loaded.parts)
    return [(part.record, part.payload) for part in loaded.parts]


def refusal(path: Path, data: bytes | str) -> BadMediaError:
    with pytest.raises(BadMediaError) as caught:
        load(path, data)
    assert str(path) in str(caught.value)
    return caught.value


def test_a_short_text_is_one_part_as_it_stands(tmp_path):
    loaded = load(tmp_path / "a.txt", "  A dog\n runs. \n")
    assert (loaded.modality, loaded.format) == ("text", "txt")
    assert records(loaded) == [(0, "A dog\n runs.")]


def test_a_long_text_is_cut_into_overlapping_chunks(tmp_path):
    loaded = load(tmp_path / "a.md", "a b c d e f g h i")
    assert loaded.format == "md"
    assert records(loaded) == [(0, "a b c d e"), (0, "d e f g h"), (0, "g h i")]


@pytest.mark.parametrize("seed", range(30))
def test_chunks_hold_every_word_and_no_more_than_asked(seed):
    rng = random.Random(seed)
    words = [str(n) for n in range(rng.randint(1, 60))]
    spec = MediaSpec(
        text_max_words=(most := rng.randint(1, 12)), text_overlap_words=rng.randint(0, most + 2)
    )
    found = [chunk.split() for chunk in chunks(" ".join(words), spec=spec)]
    assert all(len(chunk) <= most for chunk in found)
    assert list(dict.fromkeys(word for chunk in found for word in chunk)) == words


def test_text_without_spaces_is_cut_too():
    spec = MediaSpec(text_max_words=10, text_overlap_words=0)
    assert "".join(chunks("犬" * 45, spec=spec)) == "犬" * 45
    assert max(map(len, chunks("犬" * 45, spec=spec))) == 20
    assert max(map(len, chunks("a" * 100_000, spec=spec))) == 400
    assert "".join(chunks("a" * 100_000, spec=spec)) == "a" * 100_000


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("grün".encode(), "grün"),
        ("grün".encode("utf-8-sig"), "grün"),
        (b"\xff\xfe" + "grün 犬".encode("utf-16-le"), "grün 犬"),
        (b"\xfe\xff" + "grün 犬".encode("utf-16-be"), "grün 犬"),
        ("grün".encode("latin-1"), "grün"),
        ("“grün” — 5 €".encode("cp1252"), "“grün” — 5 €"),
        (b"a\0b\0c", "abc"),
        ("犬".encode()[:-1] and b"dog \xe7\x8a", "dog "),
        (b"a\xed\xa0\x80b", "a\ufffdb"),
        (b"\xff\xfea\0\0\xd8b\0", "a\ufffdb"),
    ],
)
def test_encodings_are_told_apart(data, expected):
    assert decode_text(data) == expected


@pytest.mark.parametrize("suffix", ["txt", "md", "csv", "tsv", "jsonl"])
def test_bytes_that_are_no_text_are_refused(tmp_path, suffix):
    path = media_files.noise(tmp_path / f"a.{suffix}")
    error = refusal(path, path.read_bytes())
    assert error.code == "not_text"
    assert "UTF-8" in str(error) or "suffix" in str(error)


@pytest.mark.parametrize("data", [b"  \n\t ", "🎉🎉".encode(), b"^" * 1_000_000])
def test_text_without_words_is_refused(tmp_path, data):
    error = refusal(tmp_path / "a.txt", data)
    assert error.code == "empty_text"
    assert "write something" in str(error)


def test_an_empty_text_file_is_an_empty_file(tmp_path):
    assert refusal(tmp_path / "a.txt", b"").code == "empty_file"


@pytest.mark.parametrize("name", ["text", "Caption", "TITLE", "description", "name", "body"])
def test_a_known_column_holds_the_text_of_a_row(tmp_path, name):
    loaded = load(tmp_path / "a.csv", f"id,{name},other\n1,a dog,x\n2,a cat,y\n")
    assert records(loaded) == [(1, "a dog"), (2, "a cat")]


def test_the_best_known_column_wins(tmp_path):
    assert records(load(tmp_path / "a.csv", "name,caption\nrex,a dog runs\n")) == [
        (1, "a dog runs")
    ]


def test_without_a_known_column_all_words_are_joined(tmp_path):
    loaded = load(tmp_path / "a.csv", "id,kind,colour,weight\n7,dog,brown,3.5\n8,cat,,1e3\n")
    assert records(loaded) == [(1, "dog, brown"), (2, "cat")]


def test_quotes_newlines_and_other_separators_work(tmp_path):
    assert records(load(tmp_path / "a.csv", 'text,n\n"a ""big""\ndog, brown",1\ncat,2\n')) == [
        (1, 'a "big"\ndog, brown'),
        (2, "cat"),
    ]
    assert records(load(tmp_path / "b.csv", "name;n\ndog;1\n")) == [(1, "dog")]
    assert records(load(tmp_path / "c.tsv", "n\ttitle\n1\ta, dog\n")) == [(1, "a, dog")]


def test_empty_rows_keep_their_number_and_short_rows_are_flagged(tmp_path):
    loaded = load(tmp_path / "a.csv", "n,text\n1,dog\n2,\n3\n4,cat\n")
    assert records(loaded) == [(1, "dog"), (4, "cat")]
    assert loaded.flags == ("bad_records",)


def test_a_table_without_words_is_empty_text(tmp_path):
    assert refusal(tmp_path / "a.csv", "a,b\n1,2\n3,4\n").code == "empty_text"


def test_jsonl_has_one_record_a_line(tmp_path):
    lines = [{"Caption": "a dog", "id": "x"}, {"kind": "cat", "n": 3, "where": "sofa"}, "a bird"]
    data = "\n".join(json.dumps(line) for line in lines) + "\n\nnot json\n" + '{"text": "fox"}'
    loaded = load(tmp_path / "a.jsonl", data)
    assert records(loaded) == [(1, "a dog"), (2, "cat, sofa"), (3, "a bird"), (6, "fox")]
    assert loaded.flags == ("bad_records",)


def test_lone_surrogates_and_deep_nesting_in_json_do_no_harm(tmp_path):
    data = '{"text": "a \\ud800 dog \\u0000!"}\n' + "[" * 100_000
    assert records(load(tmp_path / "a.jsonl", data)) == [(1, "a \ufffd dog !")]


def test_a_long_record_has_several_parts_of_one_number(tmp_path):
    loaded = load(tmp_path / "a.csv", "text\na b c d e f g\n")
    assert records(loaded) == [(1, "a b c d e"), (1, "d e f g")]


def test_a_field_longer_than_csv_allows_by_default_is_read(tmp_path):
    loaded = load(tmp_path / "a.csv", "text\n" + "word " * 40_000 + "\n")
    assert len(loaded.parts) == math.ceil((40_000 - 2) / 3)


def test_a_huge_file_is_cut_with_a_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 7)
    loaded = load(tmp_path / "a.txt", "a dog runs")
    assert (records(loaded), loaded.flags) == ([(0, "a dog r")], ("truncated_text",))


def test_too_many_records_are_cut_with_a_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_PARTS", 2)
    loaded = load(tmp_path / "a.csv", "text\na\nb\nc\n")
    assert (records(loaded), loaded.flags) == ([(1, "a"), (2, "b")], ("truncated_text",))


def test_signs_that_are_dangerous_elsewhere_are_stored_as_they_are(tmp_path):
    text = "\x1b[31m<script>alert(1)</script> \u202egnp.a"
    assert records(load(tmp_path / "a.txt", text)) == [(0, text)]


def captioned(tmp_path: Path, caption: bytes) -> Loaded:
    media_files.picture(tmp_path / "dog.png")
    (tmp_path / "dog.txt").write_bytes(caption)
    return load_file(find_file(tmp_path / "dog.png"), spec=SPEC)


def test_a_caption_becomes_text_parts_of_its_picture(tmp_path):
    loaded = captioned(tmp_path, "Ein grüner Hund läuft über die Wiese.\n".encode("latin-1"))
    assert loaded.modality == "image"
    assert loaded.caption == "Ein grüner Hund läuft über die Wiese."
    assert [(p.modality, p.caption) for p in loaded.parts] == [
        ("image", False),
        ("text", True),
        ("text", True),
    ]
    assert loaded.parts[1].payload == "Ein grüner Hund läuft über"


def test_a_bad_caption_costs_the_picture_nothing_but_a_flag(tmp_path):
    loaded = captioned(tmp_path, bytes(range(256)) * 20)
    assert (loaded.caption, len(loaded.parts), loaded.flags) == (None, 1, ("bad_caption",))
    loaded = captioned(tmp_path, b" \n")
    assert (loaded.caption, len(loaded.parts), loaded.flags) == (None, 1, ())
