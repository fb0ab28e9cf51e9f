"""Out and in again: nothing is lost, and foreign vectors are ranked as their own index ranks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import BackendMissingError, CrossfindError, ModelError, UsageError
from retrieval.exchange.bring import import_clip_retrieval, import_export
from retrieval.exchange.export import export_store


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    folder = tmp_path / "world"
    folder.mkdir()
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("é\udcff", (0, 255, 0))):
        Image.new("RGB", (40, 30), colour).save(os.fsencode(folder / f"{name}.png"), "PNG")
    (folder / "again.png").write_bytes((folder / "red.png").read_bytes())
    (folder / "blue.txt").write_text("a blue caption")
    media_files.wav(folder / "low.wav", samples=media_files.tone(seconds=9.0))
    (folder / "rows.csv").write_text("text\nblue sea\ngreen grass\n")
    exif = Image.Exif()
    exif[0x0110] = "X1"
    Image.new("RGB", (40, 30), "orange").save(folder / "shot.jpg", exif=exif)
    (tmp_path / "own.csv").write_text(
        "path,stars,mood,kept,tags\nworld/red.png,4.5,glad,yes,a;b\nworld/rows.csv#2,,sad,no,\n"
    )
    settings = load_settings({"workers": 1}, environment={}, file=tmp_path / "none")
    with Engine.open(tmp_path / "store", create=True, model="fake", settings=settings) as opened:
        opened.add(folder)
        opened.add_columns(tmp_path / "own.csv")
        yield opened


def test_a_round_trip_loses_nothing(engine: Engine, tmp_path: Path) -> None:
    done = export_store(engine, to=tmp_path / "out")
    assert done.n_vectors == len(read_contents(engine).parts)
    import_export(tmp_path / "out", store=tmp_path / "copy")
    with Engine.open(tmp_path / "copy") as copy:
        before, after = read_contents(engine), read_contents(copy)
        assert after.space == before.space
        assert after.parts == before.parts
        assert after.items == before.items
        assert np.array_equal(after.vectors, before.vectors)
        for query in ("red", "blue sea", 1):
            assert copy.search(query, k=9) == engine.search(query, k=9)
        for where in ("stars = 4.5 AND tag = 'a'", "mood = 'sad'", "kept = true", "camera = 'X1'"):
            found = copy.search("red", where=where)
            assert len(found) == 1, where
            assert found == engine.search("red", where=where)
            assert found[0].columns == engine.search("red", where=where)[0].columns
        # Files that were encoded once are not encoded again.
        assert copy.add(tmp_path / "world").n_loaded == 0
        export_store(copy, to=tmp_path / "again")
        assert copy.verify().findings == ()
    for name in ("vectors.npy", "parts.jsonl", "files.jsonl", "fields.jsonl", "space.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_the_faiss_file_ranks_as_the_store(engine: Engine, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    export_store(engine, to=tmp_path / "out", with_faiss=True)
    flat = faiss.read_index(str(tmp_path / "out" / "index.faiss"))
    contents = read_contents(engine)
    query = FakeEncoder().encode(["red"], modality="text")
    _, ids = flat.search(query, 5)
    order = np.argsort(-(contents.vectors @ query[0]), kind="stable")[:5]
    wanted = contents.vectors[order] @ query[0]
    rows = {part.id: row for row, part in enumerate(contents.parts)}
    found = contents.vectors[[rows[int(i)] for i in ids[0]]] @ query[0]
    assert np.allclose(found, wanted, atol=1e-6)


def clip_retrieval(folder: Path, *, n: int, seed: int = 0) -> np.ndarray:
    """Write a folder as `clip-retrieval inference` does, in two pieces; its vectors."""
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((n, 64))
    vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, rows in ((9, range(n // 2)), (10, range(n // 2, n))):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors[list(rows)])
        table = pa.table({
            "image_path": [f"data/{r:05}.jpg" for r in rows],
            "caption": [f"caption {r}" if r % 2 else None for r in rows],
        })  # fmt: skip
        pq.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")
    return vectors


def test_a_clip_retrieval_folder_gives_the_hits_of_its_own_flat_index(tmp_path: Path) -> None:
    vectors = clip_retrieval(tmp_path / "clip", n=300)
    done = import_clip_retrieval(tmp_path / "clip", store=tmp_path / "store", encoder=FakeEncoder())
    assert (done.n_items, done.n_vectors) == (300, 300)
    with Engine.open(tmp_path / "store") as engine:
        for text in ("red", "green glass", "some other words"):
            query = FakeEncoder().encode([text], modality="text")[0]
            order = np.argsort(-(vectors @ query), kind="stable")[:20]
            hits = engine.search(text, k=20)
            assert [hit.id - 1 for hit in hits] == order.tolist()
            assert [hit.path for hit in hits] == [f"/data/{r:05}.jpg" for r in order]
        assert engine.item(2) is not None
        assert engine.item(2).caption == "caption 1"


def test_wrong_folders_are_refused_by_name(engine: Engine, tmp_path: Path) -> None:
    export_store(engine, to=tmp_path / "out")
    with pytest.raises(UsageError, match="not empty"):
        export_store(engine, to=tmp_path / "out")
    with pytest.raises(UsageError, match="already"):
        import_export(tmp_path / "out", store=tmp_path / "store")
    with pytest.raises(UsageError, match="no export"):
        import_export(tmp_path / "world", store=tmp_path / "new")
    np.save(tmp_path / "out" / "vectors.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(ModelError, match="3 numbers"):
        import_export(tmp_path / "out", store=tmp_path / "new")
    np.save(tmp_path / "out" / "vectors.npy", np.array([{"code": "objects"}]))
    with pytest.raises(CrossfindError):
        import_export(tmp_path / "out", store=tmp_path / "new")
    (tmp_path / "out" / "parts.jsonl").write_text("{]\n")
    with pytest.raises(CrossfindError, match="damaged"):
        import_export(tmp_path / "out", store=tmp_path / "new")


def test_without_pyarrow_the_extra_is_named(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BackendMissingError, match=r"crossfind\[parquet\]"):
        export_store(engine, to=tmp_path / "out", with_parquet=True)


def test_the_commands_export_and_import(engine: Engine, tmp_path: Path) -> None:
    done = crossfind("export", "--to", "out", "--store", "store", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    n_vectors = json.loads(done.out)["n_vectors"]
    done = crossfind("import", "out", "--store", "copy", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["n_vectors"] == n_vectors
    one = crossfind("search", "red", "-f", "--store", "store", cwd=tmp_path).out
    assert one == crossfind("search", "red", "-f", "--store", "copy", cwd=tmp_path).out
    done = crossfind("import", "out", "--store", "copy", cwd=tmp_path)
    assert (done.code, "store_in_use" in done.err) == (2, True)
