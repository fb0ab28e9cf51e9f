"""rclip's database, a matrix with a table, and tar shards: all of it, and nothing unpacked."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.contents import read_contents
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import InputError, ModelError, UsageError
from retrieval.exchange.export import export_store
from retrieval.exchange.foreign import import_matrix, import_rclip
from retrieval.exchange.shards import import_shards
from retrieval.media import Loader


def unit_vectors(n: int, *, dim: int = 64, seed: int = 0) -> np.ndarray:
    raw = np.random.default_rng(seed).standard_normal((n, dim))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def rclip(path: Path, vectors: np.ndarray, *, deleted: frozenset[int] = frozenset()) -> Path:
    """Write a database as rclip does."""
    link = sqlite3.connect(path)
    link.execute(
        "CREATE TABLE images (id INTEGER PRIMARY KEY, deleted BOOLEAN, filepath TEXT NOT NULL"
        " UNIQUE, modified_at DATETIME NOT NULL, size INTEGER NOT NULL, vector BLOB NOT NULL)"
    )
    rows = [
        (None, n in deleted or None, f"/photos/é {n:03}.JPG", 1e9 + n, 1000 + n, v.tobytes())
        for n, v in enumerate(vectors)
    ]
    link.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", rows)
    link.commit()
    link.close()
    return path


def test_rclips_pictures_keep_paths_and_vectors_and_rank_as_brute_force(tmp_path: Path) -> None:
    vectors = unit_vectors(120)
    database = rclip(tmp_path / "db.sqlite3", vectors, deleted=frozenset({7, 30}))
    before = database.read_bytes()
    done = import_rclip(database, store=tmp_path / "store", encoder=FakeEncoder())
    assert (done.n_items, done.n_vectors) == (118, 118)
    assert database.read_bytes() == before
    kept = [n for n in range(120) if n not in (7, 30)]
    with Engine.open(tmp_path / "store") as engine:
        contents = read_contents(engine)
        assert np.array_equal(contents.vectors, vectors[kept])
        assert [i.path for i in contents.items.values()] == [f"/photos/é {n:03}.JPG" for n in kept]
        assert contents.items[1].size_bytes == 1000
        query = FakeEncoder().encode(["red"], modality="text")[0]
        order = np.argsort(-(vectors[kept] @ query), kind="stable")[:15]
        hits = engine.search("red", k=15)
        assert [hit.id - 1 for hit in hits] == order.tolist()


def test_what_is_no_database_of_rclip_is_refused(tmp_path: Path) -> None:
    database = rclip(tmp_path / "db.sqlite3", unit_vectors(3, dim=512))
    with pytest.raises(ModelError, match=r"vectors of \[512\] numbers; the model's have 64"):
        import_rclip(database, store=tmp_path / "a", encoder=FakeEncoder())
    link = sqlite3.connect(tmp_path / "other.sqlite3")
    link.execute("CREATE TABLE notes (id INTEGER)")
    link.close()
    with pytest.raises(UsageError, match="no database of rclip"):
        import_rclip(tmp_path / "other.sqlite3", store=tmp_path / "a", encoder=FakeEncoder())
    cut = rclip(tmp_path / "cut.sqlite3", unit_vectors(3))
    link = sqlite3.connect(cut)
    link.execute("UPDATE images SET vector = x'000102' WHERE id = 2")
    link.commit()
    link.close()
    with pytest.raises(InputError, match=r"é 001\.JPG' is damaged"):
        import_rclip(cut, store=tmp_path / "a", encoder=FakeEncoder())
    assert not (tmp_path / "a").exists()


def matrix(folder: Path, rows: list[dict[str, object]], vectors: np.ndarray) -> None:
    folder.mkdir()
    np.save(folder / "emb.npy", vectors)
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_a_matrix_with_a_table_loses_nothing(tmp_path: Path) -> None:
    vectors = unit_vectors(4)
    rows: list[dict[str, object]] = [
        {"path": "/a.jpg", "caption": "a dog", "size_bytes": 7},
        {"path": "/b.wav", "modality": "audio", "start_s": 2, "end_s": 4.5},
        {"path": "/c.txt", "modality": "text", "text": "the sea"},
        {"path": "/a.jpg"},
    ]
    matrix(tmp_path / "in", rows, vectors * 3)  # of any length
    done = crossfind("import", "in", "--store", "store", "--model", "fake", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["n_items"] == 4
    with Engine.open(tmp_path / "store") as engine:
        contents = read_contents(engine)
        assert np.allclose(contents.vectors, vectors, atol=1e-6)
        items = list(contents.items.values())
        assert [i.path for i in items] == ["/a.jpg", "/b.wav", "/c.txt", "/a.jpg (4)"]
        assert [i.modality for i in items] == ["image", "audio", "text", "image"]
        assert (items[0].caption, items[0].size_bytes) == ("a dog", 7)
        parts = contents.parts
        assert (parts[1].start_s, parts[1].end_s, parts[2].text) == (2.0, 4.5, "the sea")
        export_store(engine, to=tmp_path / "out")
    again = crossfind("import", "out", "--store", "again", cwd=tmp_path)
    assert again.code == 0, again.err
    with Engine.open(tmp_path / "again") as engine:
        assert read_contents(engine).items == contents.items
        assert read_contents(engine).parts == contents.parts


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{]", "line 2"),
        ('{"caption": "no path"}', "line 2: KeyError"),
        ('{"path": "/a", "modality": "smell"}', "line 2: KeyError"),
        ('{"path": "/a", "start_s": "soon"}', "line 2: TypeError"),
        ("[1]", "line 2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    matrix(tmp_path / "in", [{"path": "/x.jpg"}], unit_vectors(2))
    table = tmp_path / "in" / "rows.jsonl"
    table.write_text(table.read_text() + "\n" + line)
    with pytest.raises(InputError, match=message):
        import_matrix(
            tmp_path / "in" / "emb.npy", table=table, store=tmp_path / "s", encoder=FakeEncoder()
        )


def test_a_table_of_another_length_is_refused(tmp_path: Path) -> None:
    matrix(tmp_path / "in", [{"path": "/x.jpg"}], unit_vectors(2))
    done = crossfind("import", "in", "--store", "s", "--model", "fake", cwd=tmp_path)
    assert (done.code, "1 lines for 2 vectors" in done.err) == (2, True)
    done = crossfind("import", "in", "--store", "s", cwd=tmp_path)
    assert (done.code, "--model is needed" in done.err) == (2, True)


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def loader() -> Iterator[Loader]:
    with Loader(spec=FakeEncoder().media) as opened:
        yield opened


def test_shards_are_read_sample_by_sample(tmp_path: Path, loader: Loader) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    media_files.wav(tmp_path / "low.wav", samples=media_files.tone(hz=100.0))
    shard(folder / "00000.tar", [
        ("000000.jpg", png((255, 0, 0))), ("000000.txt", b"a red thing"),
        ("000000.json", b'{"caption": "not this one", "url": "x"}'),
        ("000001.json", b'{"caption": "a green thing"}'), ("000001.png", png((0, 255, 0))),
        ("000002.png", b"no picture at all"), ("000003.txt", b"a text alone"),
    ])  # fmt: skip
    shard(folder / "00001.tar", [
        ("low.wav", (tmp_path / "low.wav").read_bytes()), ("000009.png", png((250, 0, 90))),
    ])  # fmt: skip
    done = import_shards(folder, store=tmp_path / "store", encoder=FakeEncoder(), loader=loader)
    assert (done.n_items, done.n_bad) == (5, 1)
    base = str(folder)
    with Engine.open(tmp_path / "store") as engine:
        items = {i.path: i for i in read_contents(engine).items.values()}
        assert sorted(items) == [
            f"{base}/00000.tar/000000.jpg", f"{base}/00000.tar/000001.png",
            f"{base}/00000.tar/000003.txt", f"{base}/00001.tar/000009.png",
            f"{base}/00001.tar/low.wav",
        ]  # fmt: skip
        assert items[f"{base}/00000.tar/000000.jpg"].caption == "a red thing"
        assert items[f"{base}/00000.tar/000001.png"].caption == "a green thing"
        assert items[f"{base}/00000.tar/000000.jpg"].format == "png"
        (bad,) = engine.failures()
        assert (bad.path, bad.code) == (f"{base}/00000.tar/000002.png", "not_an_image")
        assert "crossfind-" not in bad.reason
        first = engine.search("red", k=1, modality="image", hybrid=False)
        assert first[0].score == pytest.approx(
            float(FakeEncoder().encode(["red"], modality="text")[0]
                  @ FakeEncoder().encode([np.full((32, 32, 3), (255, 0, 0), np.uint8)],
                                         modality="image")[0]), abs=1e-2)  # fmt: skip


def test_no_member_name_becomes_a_path_and_no_link_is_followed(
    tmp_path: Path, loader: Loader
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png((0, 0, 255)))
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../../climb.png", "/absolute.png", "a\nb.png", "good.png"):
            data = png((len(name), 9, 9))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
        for name, kind in zip(("sym.png", "hard.png", "dev.png", "fifo.png"), kinds, strict=True):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    before = sorted(p for p in tmp_path.rglob("*"))
    done = import_shards(path, store=tmp_path / "store", encoder=FakeEncoder(), loader=loader)
    assert (done.n_items, done.n_bad) == (4, 0)
    outside = [p for p in tmp_path.rglob("*") if (tmp_path / "store") not in (p, *p.parents)]
    assert sorted(outside) == before
    assert not Path("/absolute.png").exists()


def test_a_cut_shard_is_said_and_an_empty_folder_too(tmp_path: Path, loader: Loader) -> None:
    shard(tmp_path / "a.tar", [("0.png", png((1, 2, 3))), ("1.png", png((3, 2, 1)))])
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:600])
    encoder = FakeEncoder()
    with pytest.raises(InputError, match=r"a\.tar is not a whole tar file"):
        import_shards(tmp_path / "a.tar", store=tmp_path / "s", encoder=encoder, loader=loader)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"no \.tar file"):
        import_shards(tmp_path / "none", store=tmp_path / "t", encoder=encoder, loader=loader)


def test_the_command_imports_shards(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shard(tmp_path / "in" / "0.tar", [("0.png", png((255, 0, 0))), ("0.txt", b"fire engine")])
    done = crossfind("import", "in", "--store", "s", "--model", "fake", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.err.startswith("2 vectors of 1 item in ")
    found = crossfind("search", "fire engine", "-f", "--store", "s", cwd=tmp_path)
    assert found.out.strip() == str(tmp_path / "in" / "0.tar" / "0.png")
