"""A store saved while it is used, and made again from what nobody vouches for."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from cli import crossfind
from colour_media import make_media

from retrieval.backup import restore
from retrieval.engine import Engine
from retrieval.errors import CrossfindError, DamagedError, TooNewError, UsageError

QUERIES = ("red", "green blue", "word9 red", "white", "black violet")


def answers(root: Path) -> list[list[tuple[int, int, str, float]]]:
    with Engine.open(root) as engine:
        found = [engine.search(query, k=20) for query in QUERIES]
    return [[(h.rank, h.id, h.path, h.score) for h in hits] for hits in found]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store of forty items, one of them removed, and its backup."""
    folder = tmp_path_factory.mktemp("saved")
    media = make_media(folder / "media", n_files=40)
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(media)
        engine.build()
        engine.remove(media / "0003.png")
        report = engine.backup(folder / "saved.tar")
    assert report.n_bytes == (folder / "saved.tar").stat().st_size
    return folder / "store", folder / "saved.tar"


def test_a_restored_store_answers_as_the_saved_one(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    store, archive = saved
    restored = restore(archive, root=tmp_path / "again")
    assert answers(restored.root) == answers(store)
    with Engine.open(restored.root) as engine:
        assert engine.verify().findings == ()
        assert sum(engine.status().n_items.values()) == 39
        engine.build()
    assert answers(restored.root) == answers(store)


def test_a_backup_is_a_tar_with_the_files_and_no_others(saved: tuple[Path, Path]) -> None:
    store, archive = saved
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        body = {m.name: tar.extractfile(m).read() for m in tar if m.name.startswith("seg")}  # type: ignore[union-attr]
    segments = sorted(f"segments/{path.name}" for path in (store / "segments").iterdir())
    assert names[:3] == ["manifest.json", "FORMAT", "catalog.sqlite"]
    assert sorted(names[3:]) == segments
    assert all(data == (store / name).read_bytes() for name, data in body.items())


def test_backups_taken_while_a_writer_works_are_consistent(tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", n_files=25)
    with Engine.open(tmp_path / "store", create=True, model="fake") as engine:
        engine.add(media / "0000.png")
    ended = threading.Event()

    def write() -> None:
        with Engine.open(tmp_path / "store") as engine:
            for path in sorted(media.iterdir()):
                engine.add(path)
                engine.build()
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    counts = []
    with Engine.open(tmp_path / "store") as engine:
        while not ended.is_set() and len(counts) < 6:
            archive = tmp_path / f"{len(counts)}.tar"
            engine.backup(archive)
            restored = restore(archive, root=tmp_path / f"restored{len(counts)}")
            with Engine.open(restored.root) as again:
                assert again.verify().findings == ()
                hits = again.search("red", k=100)
                assert len(hits) == sum(again.status().n_items.values())
            counts.append(len(hits))
    writer.join()
    assert counts == sorted(counts)
    assert len(counts) >= 3


def test_damage_at_any_place_is_refused_and_nothing_is_written(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    data = saved[1].read_bytes()
    rng = random.Random(4)
    n_harmless = 0
    for number in range(150):
        changed = bytearray(data)
        if number % 3 == 0:
            changed = changed[: rng.randrange(len(data) - 1100)]
        elif number % 3 == 1:
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            start = rng.randrange(len(data)) // 4096 * 4096
            changed[start : start + 4096] = bytes(len(changed[start : start + 4096]))
        archive = tmp_path / "damaged.tar"
        archive.write_bytes(changed)
        root = tmp_path / f"restored{number}"
        code = outcome(archive, root)
        assert code in ("", "backup_damaged"), (number, code)
        assert root.exists() == (code == "")
        if not code:  # padding between members, or a field of a header that says nothing
            n_harmless += 1
            assert answers(root) == answers(saved[0])
    assert n_harmless < 50
    assert [p.name for p in tmp_path.iterdir() if "restoring" in p.name] == []


def outcome(archive: Path, root: Path) -> str:
    try:
        restore(archive, root=root)
    except CrossfindError as error:
        return error.code
    return ""


def hostile(archive: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Give kinds of archives that would write elsewhere, or too much."""
    with tarfile.open(archive) as tar:
        good = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]

    def write(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        with tarfile.open(path, "w") as tar:
            for member, data in members:
                tar.addfile(member, io.BytesIO(data))

    def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        member.size = 4 if kind == tarfile.REGTYPE else 0
        return member

    bad_names = ["../x", "/tmp/x", "segments/../../x", "./FORMAT", "segments/a.seg", "FORMAT"]
    bad_names += ["format", "CATALOG.SQLITE", "derived/x.faiss", "LOCK", "segments/", "a\nb", ""]
    bad_names += ["segments/" + "0" * 32 + ".seg/../../x", "\\x", "C:x", "x" * 300, "segments"]
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    kinds += [tarfile.DIRTYPE, tarfile.CONTTYPE]
    for name in bad_names:
        yield f"extra {name!r}", lambda p, n=name: write(p, [*good, (named(n), b"evil")])
        yield (
            f"listed {name!r}",
            lambda p, n=name: write(p, [_listing(good, n), *good[1:], (named(n), b"evil")]),
        )
    for kind in kinds:
        for name in ("FORMAT", "catalog.sqlite", "x"):
            link = named(name, kind, "/etc/passwd")
            yield (
                f"{name} as {kind!r}",
                lambda p, n=name, m=link: write(
                    p, [(m, b"") if g.name == n else (g, d) for g, d in good] + [(m, b"")]
                ),
            )
    yield "no manifest", lambda p: write(p, good[1:])
    yield "another order", lambda p: write(p, [good[0], good[2], good[1], *good[3:]])
    yield "a file missing", lambda p: write(p, good[:-1])
    yield "a file twice", lambda p: write(p, [*good, good[-1]])
    yield (
        "gzip",
        lambda p: p.write_bytes(gzip.compress(archive.read_bytes())) and None,
    )
    yield "empty", lambda p: p.write_bytes(b"") and None
    yield "zeros", lambda p: p.write_bytes(bytes(10240)) and None


def _listing(good: list[tuple[tarfile.TarInfo, bytes]], name: str) -> tuple[tarfile.TarInfo, bytes]:
    manifest = json.loads(good[0][1])
    digest = hashlib.sha256(b"evil").hexdigest()
    manifest["members"].append([name, 4, digest])
    data = json.dumps(manifest).encode()
    member = tarfile.TarInfo("manifest.json")
    member.size = len(data)
    return member, data


def test_hostile_archives_write_nothing_at_all(saved: tuple[Path, Path], tmp_path: Path) -> None:
    n_kinds = 0
    for what, make in hostile(saved[1]):
        folder = tmp_path / "here"
        folder.mkdir()
        make(folder / "bad.tar")
        with pytest.raises(DamagedError) as caught:
            restore(folder / "bad.tar", root=folder / "store")
        assert caught.value.exit_code == 4, what
        assert [path.name for path in folder.iterdir()] == ["bad.tar"], what
        shutil.rmtree(folder)
        n_kinds += 1
    assert n_kinds >= 50
    assert list(tmp_path.iterdir()) == []


def test_triggers_and_views_planted_in_a_catalog_are_refused(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(saved[0], tmp_path / "store")
    with sqlite3.connect(tmp_path / "store" / "catalog.sqlite") as connection:
        connection.execute("CREATE TRIGGER evil AFTER INSERT ON items BEGIN DELETE FROM items; END")
    connection.close()
    with pytest.raises(DamagedError, match="trigger evil"):
        Engine.open(tmp_path / "store")
    with (  # somebody who minds no triggers makes a backup of it
        mock.patch("retrieval.catalog.store.refuse_foreign"),
        Engine.open(tmp_path / "store") as engine,
    ):
        engine.backup(tmp_path / "saved.tar")
    with pytest.raises(DamagedError, match="trigger evil"):
        restore(tmp_path / "saved.tar", root=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_backup_of_a_newer_version_and_a_taken_place_are_refused(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    data = saved[1].read_bytes().replace(b'"version": 1', b'"version": 7', 1)
    (tmp_path / "newer.tar").write_bytes(data)
    with pytest.raises(TooNewError, match="version 7"):
        restore(tmp_path / "newer.tar", root=tmp_path / "store")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UsageError, match="holds something"):
        restore(saved[1], root=tmp_path / "taken")
    with Engine.open(saved[0]) as engine, pytest.raises(UsageError, match="exists already"):
        engine.backup(saved[1])


def test_a_damaged_store_is_not_saved_as_if_it_were_sound(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(saved[0], tmp_path / "store")
    segment = next((tmp_path / "store" / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with (
        Engine.open(tmp_path / "store") as engine,
        pytest.raises(DamagedError, match="nothing was saved"),
    ):
        engine.backup(tmp_path / "saved.tar")
    assert not (tmp_path / "saved.tar").exists()


def test_the_commands_save_and_restore(saved: tuple[Path, Path], tmp_path: Path) -> None:
    done = crossfind("index", "backup", "b.tar", "--store", saved[0], cwd=tmp_path)
    assert done.code == 0, done.err
    assert "read back" in done.err
    done = crossfind("index", "restore", "b.tar", "--store", "again", cwd=tmp_path)
    assert done.code == 0, done.err
    assert answers(tmp_path / "again") == answers(saved[0])
    done = crossfind("index", "restore", "b.tar", "--store", "again", cwd=tmp_path)
    assert done.code == 2
    assert "again holds something" in done.err
