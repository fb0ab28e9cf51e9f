"""Files that would run code if anything unpickled, imported or interpreted them, one per loader.

Each plant takes a folder and a canary, puts a payload where a loader of crossfind looks, and loads.
What the loader says does not matter here; that the canary is not written does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from index import load_index, open_segment
from retrieval.backup import restore
from retrieval.config import load_settings
from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.joined_file import read_joined_file
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.starter import StarterEncoder
from retrieval.encoders.starter_files import open_weights
from retrieval.encoders.trained import open_trained
from retrieval.engine import Engine
from retrieval.exchange.foreign import import_matrix
from retrieval.exchange.shards import import_shards
from retrieval.media import Loader, find_file, load_file
from retrieval.query.kept import Kept
from retrieval.types import MediaSpec
from tests.support import media_files, tiny_models

Plant = Callable[[Path, Path], object]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"touch '{self._canary}'",)


def pickled(canary: Path) -> bytes:
    """Give bytes that write the canary when they are unpickled."""
    return pickle.dumps(Bomb(canary))


def explode(folder: Path, canary: Path) -> None:
    """Unpickle: that the payload works."""
    pickle.loads(pickled(canary))


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _segment(folder: Path, canary: Path) -> object:
    path = _file(folder, f"{'0' * 32}.seg", pickled(canary))
    return open_segment(path, sha256=_sha256(path))


def _index_file(folder: Path, canary: Path) -> object:
    path = _file(folder, "index.faiss", pickled(canary))
    return load_index(path, sha256=_sha256(path))


def _backup(folder: Path, canary: Path) -> object:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name in ("FORMAT", "catalog.sqlite", "../../evil.pth", "sitecustomize.py"):
            member = tarfile.TarInfo(name)
            data = f"import os; os.system('touch {canary}')".encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return restore(folder / "a.tar", root=folder / "restored")


def _kept(folder: Path, canary: Path) -> object:
    """Arrays of objects in a file that its own digest vouches for."""
    body = io.BytesIO()
    objects = np.array([Bomb(canary), Bomb(canary)], dtype=object)
    np.savez(body, x=objects)
    kept = Kept(folder, tmp=folder)
    kept.get("bank", ("a",), lambda: {"x": np.arange(2)})
    (path,) = folder.glob("bank-*.kept")
    raw = body.getvalue()
    path.write_bytes(b"CFK1" + hashlib.sha256(raw).digest() + raw)
    return kept.get("bank", ("a",), lambda: {"x": np.arange(2)})


def _matrix(folder: Path, canary: Path) -> object:
    np.save(folder / "emb.npy", np.array([Bomb(canary)] * 3, dtype=object))
    (folder / "rows.jsonl").write_text('{"path": "/a.jpg"}\n' * 3)
    store = folder / "store"
    return import_matrix(
        folder / "emb.npy", table=folder / "rows.jsonl", store=store, encoder=FakeEncoder()
    )


def _joined(folder: Path, canary: Path) -> object:
    return read_joined_file(_file(folder, "both.joined", pickled(canary)))


def _trained(folder: Path, canary: Path) -> object:
    path = _file(folder, "my.model", pickled(canary))
    return open_trained(path, open_base=lambda _: FakeEncoder())


def _clip(name: str) -> Plant:
    def plant(folder: Path, canary: Path) -> object:
        model = tiny_models.make_clip(folder)
        (model / "open_clip_model.safetensors").unlink()
        _file(model, name, pickled(canary))
        _file(model, "modeling.py", f"import os; os.system('touch {canary}')".encode())
        tiny_models.vouch(model, name=tiny_models.CLIP_NAME, weights=name)
        encoder = open_encoder(tiny_models.CLIP_NAME, threads=1, models_dir=folder)
        return encoder.encode(["a"], modality="text")

    return plant


def _clap(folder: Path, canary: Path) -> object:
    model = tiny_models.make_clap(folder)
    _file(model, "model.safetensors", pickled(canary))
    tiny_models.vouch(model, name=tiny_models.CLAP_NAME, weights="model.safetensors")
    encoder = open_encoder(tiny_models.CLAP_NAME, threads=1, models_dir=folder)
    return encoder.encode(["a"], modality="text")


def _clap_tokenizer(folder: Path, canary: Path) -> object:
    """A tokenizer that names code of its own beside it."""
    model = tiny_models.make_clap(folder)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.Evil", None]}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    _file(model, "evil.py", f"import os; os.system('touch {canary}')".encode())
    tiny_models.vouch(model, name=tiny_models.CLAP_NAME, weights="model.safetensors")
    encoder = open_encoder(tiny_models.CLAP_NAME, threads=1, models_dir=folder)
    return encoder.encode(["a"], modality="text")


def _starter(name: str) -> Plant:
    def plant(folder: Path, canary: Path) -> object:
        shutil.copytree(open_weights().folder, folder / "weights")
        path = _file(folder / "weights", name, pickled(canary))
        manifest = open_weights().manifest
        manifest["files"][name] |= {"sha256": _sha256(path), "size_bytes": path.stat().st_size}
        (folder / "weights" / "starter.json").write_text(json.dumps(manifest))
        encoder = StarterEncoder(folder=folder / "weights")
        side = encoder.media.image_size_px
        encoder.encode(["a"], modality="text")
        return encoder.encode([np.zeros((side, side, 3), np.uint8)], modality="image")

    return plant


def _catalog(folder: Path, canary: Path) -> object:
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        path = engine.store.catalog_path
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER evil AFTER UPDATE ON store BEGIN "
            f"SELECT load_extension('{canary}.so'); DELETE FROM files; END"
        )
        connection.commit()
    return Engine.open(folder / "store")


def _format(folder: Path, canary: Path) -> object:
    with Engine.open(folder / "store", create=True, model="fake"):
        pass
    _file(folder / "store", "FORMAT", pickled(canary))
    return Engine.open(folder / "store")


def _config(folder: Path, canary: Path) -> object:
    body = f"store = !!python/object/apply:os.system ['touch {canary}']\n"
    return load_settings({}, environment={}, file=_file(folder, "config.toml", body.encode()))


def _shards(folder: Path, canary: Path) -> object:
    """What webdataset's own decoders would unpickle or load with torch."""
    (folder / "in").mkdir()
    picture = media_files.picture(folder / "a.png").read_bytes()
    with tarfile.open(folder / "in" / "00000.tar", "w") as archive:
        for name in ("1.png", "1.pyd", "1.pickle", "1.pth", "1.npy", "1.cbor"):
            data = picture if name.endswith("png") else pickled(canary)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with Loader(spec=FakeEncoder().media) as loader:
        done = import_shards(
            folder / "in", store=folder / "store", encoder=FakeEncoder(), loader=loader
        )
    assert done.n_items == 1
    return done


def _columns(folder: Path, canary: Path) -> object:
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        return engine.add_columns(_file(folder, "own.parquet", pickled(canary)))


def _media(name: str) -> Plant:
    def plant(folder: Path, canary: Path) -> object:
        return load_file(find_file(_file(folder, name, pickled(canary))), spec=MediaSpec())

    return plant


PLANTS: dict[str, Plant] = {
    "a segment": _segment,
    "an index file": _index_file,
    "a backup": _backup,
    "arrays kept beside the store": _kept,
    "a matrix to be imported": _matrix,
    "a joined model": _joined,
    "a trained head": _trained,
    "safetensors of open_clip": _clip("open_clip_model.safetensors"),
    "a .bin of open_clip": _clip("pytorch_model.bin"),
    "safetensors of CLAP": _clap,
    "a tokenizer of CLAP": _clap_tokenizer,
    "safetensors of the starter": _starter("text.safetensors"),
    "ONNX of the starter": _starter("image.onnx"),
    "a trigger in the catalog": _catalog,
    "the store's FORMAT": _format,
    "the configuration": _config,
    "shards of webdataset": _shards,
    "a table of own columns": _columns,
    "a picture": _media("a.jpg"),
    "a sound": _media("a.wav"),
    "a text": _media("a.txt"),
}
"""What is loaded, by name."""
