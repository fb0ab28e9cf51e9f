"""Pairs are read from folders, tables and shards, whatever each row has, and safely."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from retrieval.errors import UsageError
from retrieval.training.pairs import Pair, read_pairs


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def _tar(path: Path, members: list[tuple[str, bytes]], *, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_files_of_a_folder_are_paired_by_their_stem(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _touch(data, "a.jpg", "a.wav", "b.png", "deep/c.flac", "lonely.png", "notes.pdf", "deep/é.webp")
    (data / "a.txt").write_text("  a dog\n barks ")
    (data / "deep/c.txt").write_text("rain")
    (data / "deep/é.txt").write_text("Vögel")
    (data / "b.txt").write_text("  \n")
    pairs = read_pairs(data, spool=tmp_path)
    assert [(p.image, p.audio, p.text) for p in pairs] == [
        (data / "a.jpg", data / "a.wav", "a dog barks"),
        (None, data / "deep/c.flac", "rain"),
        (data / "deep/é.webp", None, "Vögel"),
    ]


def test_a_csv_may_lack_columns_and_cells(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(
        "\ufefftext,image,audio,group,extra\n"
        '"red, round",a.png,,g1,x\n'
        "only text,,,,\n"
        ",b.png,sub/b.wav,,\n"
        "two,/abs/c.png,,,\n"
        "short row\n",
        encoding="utf-8",
    )
    assert read_pairs(table, spool=tmp_path) == [
        Pair(f"{table}#1", image=tmp_path / "a.png", text="red, round", group="g1"),
        Pair(f"{table}#3", image=tmp_path / "b.png", audio=tmp_path / "sub/b.wav"),
        Pair(f"{table}#4", image=Path("/abs/c.png"), text="two"),
    ]


def test_jsonl_rows_have_any_subset_of_keys(tmp_path: Path) -> None:
    table = tmp_path / "pairs.jsonl"
    rows = [{"image": "a.png", "text": "a"}, {"audio": "b.wav", "text": "b", "group": 7}, {}]
    table.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    pairs = read_pairs(table, spool=tmp_path)
    assert [(p.text, p.group) for p in pairs] == [("a", None), ("b", "7")]
    assert pairs[1].audio == tmp_path / "b.wav"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_shards_are_streamed_into_files_named_by_content(tmp_path: Path, mode: str) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    members = [
        ("x/001.jpg", b"JPEG1"),
        ("x/001.txt", b"first"),
        ("x/002.seg.wav", b"WAVE"),
        ("x/002.json", json.dumps({"caption": "second", "n": 3}).encode()),
        ("x/003.jpg", b"alone"),
        ("y/003.jpg", b"JPEG3"),
        ("y/003.txt", b"third"),
    ]
    _tar(shards / "000.tar", members, mode=mode)
    _tar(shards / "001.tar", [("z.png", b"JPEG1"), ("z.txt", b"same bytes")])
    spool = tmp_path / "spool"
    pairs = read_pairs(shards, spool=spool)
    assert [p.text for p in pairs] == ["first", "second", "third", "same bytes"]
    assert pairs[0].image is not None
    assert pairs[0].image.read_bytes() == b"JPEG1"
    assert pairs[1].audio is not None
    assert pairs[1].audio.suffix == ".wav"
    assert pairs[3].image is not None
    assert pairs[3].image.stem == pairs[0].image.stem  # one content, one name
    before = sorted(spool.iterdir())
    assert read_pairs(shards, spool=spool) == pairs
    assert sorted(spool.iterdir()) == before


def test_no_member_of_a_shard_is_written_where_its_name_says(tmp_path: Path) -> None:
    shard = tmp_path / "in" / "evil.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as tar:
        for name in ("../../evil.png", "/tmp/crossfind-evil.png"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"EVIL"))
            text = tarfile.TarInfo(name.replace(".png", ".txt"))
            text.size = 2
            tar.addfile(text, io.BytesIO(b"hi"))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    spool = tmp_path / "spool"
    pairs = read_pairs(shard, spool=spool)
    assert {p.image.parent for p in pairs if p.image} == {spool}
    assert {p.name for p in tmp_path.iterdir()} == {"in", "spool"}
    assert not Path("/tmp/crossfind-evil.png").exists()


def test_a_cut_shard_is_named(tmp_path: Path) -> None:
    shard = _tar(tmp_path / "cut.tar", [("a.jpg", b"x" * 5000), ("a.txt", b"y" * 3000)])
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(UsageError, match=r"cut\.tar is not a whole tar") as raised:
        read_pairs(shard, spool=tmp_path / "spool")
    assert raised.value.code == "bad_pairs"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.csv", "image,label\na.png,x\n", "bad_pairs"),
        ("a.csv", "image,text\na.png,\n", "no_pairs"),
        ("a.jsonl", '{"image": "a.png"', "bad_pairs"),
        ("a.jsonl", "[1]", "bad_pairs"),
        ("a.jsonl", '{"image": ["a.png"], "text": "x"}', "bad_pairs"),
        ("a.docx", "", "bad_pairs"),
        ("a.csv", "image,text\n\0,\xff\n", "bad_pairs"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_code(
    tmp_path: Path, name: str, content: str, code: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError) as raised:
        read_pairs(path, spool=tmp_path / "spool")
    assert raised.value.code == code


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere") as raised:
        read_pairs(tmp_path / "nowhere", spool=tmp_path)
    assert raised.value.code == "path_missing"
