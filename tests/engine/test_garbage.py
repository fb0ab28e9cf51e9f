"""Deleting what no generation needs: on a disk that refuses, in our words."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from retrieval.engine import Engine
from retrieval.errors import StorageError


def test_a_disk_that_refuses_to_delete_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("red")
    with Engine.open(tmp_path / "store", create=True, model="fake") as engine:
        engine.add(tmp_path / "a.txt")
        stray = engine.store.tmp / "stray.part"
        stray.write_bytes(b"half")

        def refuse(path: Path, missing_ok: bool = False) -> None:
            raise OSError(errno.EIO, "Input/output error", str(path))

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            with pytest.raises(StorageError, match=r"could not delete .*stray.part") as caught:
                engine.build()
        assert caught.value.code == "disk_error"
        assert [hit.path for hit in engine.search("red", k=1)] == [str(tmp_path / "a.txt")]
        engine.build(force=True)
        assert not stray.exists()
