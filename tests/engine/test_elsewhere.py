"""Files at URLs and in shards become the items, vectors and answers that the same files here do."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import IO

import pytest
from elsewhere import files_of, http_server, shard
from vectors_by_path import vectors_by_path

from retrieval.add import Progress
from retrieval.config import Settings
from retrieval.engine import Engine
from retrieval.errors import BackendMissingError, BadMediaError, StoppedError, UsageError
from retrieval.media import urls
from retrieval.sources import find_sources
from retrieval.types import Failure

LAST = ("white.png",)  # media of the last shard
QUERIES = ("red", "green grass", "blue sea")


@pytest.fixture
def media(world: Path) -> Path:
    """The world without its table, with a caption and a bad picture."""
    (world / "rows.csv").unlink()
    (world / "red.txt").write_text("a fire engine")
    (world / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    return world


@pytest.fixture
def here(tmp_path: Path, settings: Settings, media: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path / "here", create=True, model="fake", settings=settings) as engine:
        engine.add(media)
        yield engine


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder of fsspec's memory of this process."""
    import fsspec

    root = f"memory://{uuid.uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def upload(folder: Path, root: str) -> None:
    import fsspec

    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with fsspec.open(f"{root}/{path.relative_to(folder)}", "wb") as sink:
                sink.write(path.read_bytes())


def names(engine: Engine, text: str) -> list[tuple[str, float, str | None]]:
    hits = engine.search(text, k=20)
    return [(os.path.basename(hit.path), hit.score, hit.text) for hit in hits]


def assert_same(there: Engine, here: Engine) -> None:
    """Equal ids, vectors, bad files and answers, but for where the files are."""
    for text in QUERIES:
        assert names(there, text) == names(here, text)
    assert [(os.path.basename(f.path), f.code) for f in there.failures()] == [
        (os.path.basename(f.path), f.code) for f in here.failures()
    ]
    mine, theirs = (
        {os.path.basename(path): data for path, data in vectors_by_path(e.store.root).items()}
        for e in (here, there)
    )
    assert theirs == mine
    for number in range(1, 1 + sum(here.status().n_items.values())):
        one, other = here.item(number), there.item(number)
        assert one is not None
        assert other is not None
        assert (other.caption, other.format, other.size_bytes) == (
            one.caption, one.format, one.size_bytes,
        )  # fmt: skip
        assert os.path.basename(other.path) == os.path.basename(one.path)


def test_a_folder_at_a_url_gives_the_store_of_the_same_folder_here(
    engine: Engine, here: Engine, media: Path, memory: str
) -> None:
    (media / ".hidden.png").write_bytes(b"")
    upload(media, memory)
    done = engine.add(memory)
    assert (done.n_added, done.n_bad) == (7, 1)
    assert_same(engine, here)
    assert all(hit.path.startswith("memory://") for hit in engine.search("red", k=20))
    first = engine.item(1)
    assert first is not None
    (shown,) = engine.search("red", k=9, where=f"path = '{first.path}'")
    assert shown.id == 1
    again = engine.add(memory)
    assert (again.n_loaded, again.n_unchanged) == (0, 7)


def test_what_changes_and_goes_at_a_url_is_seen(engine: Engine, media: Path, memory: str) -> None:
    import fsspec

    upload(media, memory)
    engine.add(memory)
    with fsspec.open(f"{memory}/day.txt", "wb") as sink:
        sink.write(b"a blue night")
    fsspec.filesystem("memory").rm(f"{memory}/white.png")
    done = engine.add(memory, prune=True)
    assert (done.n_changed, done.n_removed, done.n_loaded) == (1, 1, 1)
    texts = {hit.text for hit in engine.search("a blue night", k=20, modality="text")}
    assert "a blue night" in texts
    assert not any("white" in hit.path for hit in engine.search("white", k=20))
    shown = engine.item(f"{memory.replace('memory://', 'memory:///')}/day.txt")
    assert shown is not None
    assert engine.remove(shown.path) == 1


def test_a_copy_elsewhere_and_one_here_are_copies_of_one_item(
    engine: Engine, media: Path, memory: str
) -> None:
    upload(media, memory)
    engine.add(media / "green.png", memory)
    (item,) = [h for h in engine.search("green", k=20) if "green.png" in h.path]
    assert len(item.copies) == 1


@pytest.fixture
def shards(tmp_path: Path, media: Path) -> Path:
    """Three shards of the same files, in their order, captions beside their pictures."""
    folder = tmp_path / "shards"
    folder.mkdir()
    every = files_of(media)
    for number, (first, last) in enumerate([(0, 3), (3, 8), (8, len(every))]):
        shard(folder / f"{number:02}.tar", every[first:last])
    return folder


def test_shards_named_with_braces_give_the_store_of_their_files_here(
    engine: Engine, here: Engine, shards: Path
) -> None:
    assert engine.add(f"{shards}/{{00..02}}.tar").n_added == 7
    assert_same(engine, here)
    assert f"{shards}/01.tar/red.png" in {hit.path for hit in engine.search("red", k=20)}
    again = engine.add(f"{shards}/{{00..02}}.tar")
    assert (again.n_loaded, again.n_unchanged) == (0, 7)


def test_shards_at_urls_are_read_by_ranges_and_what_they_hold_is_kept(
    engine: Engine, here: Engine, shards: Path, media: Path
) -> None:
    pytest.importorskip("aiohttp", reason="the extra urls is not installed")
    with http_server(shards) as (url, asked):
        assert engine.add(f"{url}/{{00..02}}.tar").n_added == 7
        assert_same(engine, here)
        assert not [one for one in asked if ".tar/" in one[1]]
        asked.clear()
        assert engine.add(f"{url}/{{00..02}}.tar").n_unchanged == 7
        assert {command for command, _ in asked} == {"HEAD"}  # what they hold was kept
        kept = sorted(engine.store.derived.glob("shard-*"))
        assert len(kept) == 3
        kept[0].write_bytes(b"damaged")
        shard(shards / "02.tar", [*files_of(media)[8:], ("new.txt", b"a new note")])
        later_s = (shards / "02.tar").stat().st_mtime + 2  # HTTP tells whole seconds
        os.utime(shards / "02.tar", (later_s, later_s))
        assert engine.add(f"{url}/{{00..02}}.tar").n_added == 1
        assert len(list(engine.store.derived.glob("shard-*"))) == 3


def test_files_and_folders_of_an_http_server_are_added(
    engine: Engine, here: Engine, media: Path
) -> None:
    pytest.importorskip("aiohttp", reason="the extra urls is not installed")
    with http_server(media) as (url, _):
        done = engine.add(f"{url}/")
        assert (done.n_added, done.n_bad) == (7, 1)
        assert_same(engine, here)
        failures: list[Failure] = []
        (source,) = find_sources(engine._catalog, [1], failures=failures, fetches=True)
        assert source[2].path == f"{url}/blue.png"
        assert not failures
        missing = engine.add(f"{url}/nothing.png", f"{url}/blue.png")
        assert (missing.n_unchanged, missing.n_bad) == (1, 1)
    gone = engine.add(f"{url}/", prune=True)
    assert (gone.n_removed, gone.n_bad) == (0, 1)  # nobody answers: that takes nothing away


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server that speaks S3."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="the extra urls is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("media")
    yield "s3://media"
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


@pytest.mark.slow
def test_a_bucket_gives_the_store_of_the_same_folder_here(
    engine: Engine, here: Engine, media: Path, bucket: str
) -> None:
    upload(media, f"{bucket}/all")
    done = engine.add(f"{bucket}/all")
    assert (done.n_added, done.n_bad) == (7, 1)
    assert_same(engine, here)
    assert engine.add(f"{bucket}/all").n_loaded == 0
    upload(media, f"{bucket}/more")
    assert engine.add(f"{bucket}/more/blue.png").n_copies == 1


def test_a_bad_member_and_a_cut_shard_cost_only_themselves(
    engine: Engine, media: Path, tmp_path: Path
) -> None:
    good = [(n, d) for n, d in files_of(media) if n in ("blue.png", "green.png", "day.txt")]
    shard(tmp_path / "a.tar", [good[0], ("broken.png", b"\x89PNG\r\n\x1a\n"), *good[1:]])
    whole = shard(tmp_path / "b.tar", files_of(media)).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:2000])
    done = engine.add(tmp_path / "a.tar", tmp_path / "b.tar")
    assert done.n_added == 3
    codes = {os.path.basename(f.path): f.code for f in engine.failures()}
    assert codes["b.tar"] == "truncated"
    assert set(codes) == {"b.tar", "bad.png", "broken.png"}
    (tmp_path / "b.tar").write_bytes(whole)
    engine.add(tmp_path / "b.tar")
    assert "b.tar" not in {os.path.basename(f.path) for f in engine.failures()}


def test_a_members_name_is_no_path(engine: Engine, media: Path, tmp_path: Path) -> None:
    picture = (media / "blue.png").read_bytes()
    victim = tmp_path / "victim.txt"
    victim.write_text("keep me")
    members = [
        ("../../victim.txt", b"a note"),
        ("/etc/passwd.png", picture),
        ("a/../b.png", picture),
    ]
    shard(tmp_path / "evil.tar", members)
    engine.add(tmp_path / "evil.tar")
    assert victim.read_text() == "keep me"
    paths = {p for h in engine.search("blue", k=9) for p in (h.path, *h.copies)}
    assert paths == {
        f"{tmp_path}/evil.tar/{name}" for name in ("victim.txt", "etc/passwd.png", "a/b.png")
    }


def test_a_run_that_was_stopped_goes_on_where_it_was(
    engine: Engine, here: Engine, shards: Path
) -> None:
    """Each part once: the second run takes what the first has not committed."""
    stop = Event()

    def on_progress(progress: Progress) -> None:
        if progress.n_done >= 3 and not stop.is_set():
            stop.set()
            time.sleep(0.5)  # the loader is told of it within a twentieth of a second

    with pytest.raises(StoppedError):
        engine.add(f"{shards}/{{00..02}}.tar", on_progress=on_progress, stop=stop)
    done = engine.add(f"{shards}/{{00..02}}.tar")
    assert done.n_unchanged >= 2  # of three, one is bad
    assert done.n_unchanged + done.n_added == 7
    assert_same(engine, here)


def test_what_could_not_be_fetched_is_tried_again(
    engine: Engine, media: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(media, memory)
    copy_to = urls.copy_to

    def failing(url: str, sink: IO[bytes], *, most_bytes: int) -> None:
        if url.endswith("blue.png"):
            raise BadMediaError("the network is down", code="unreadable")
        copy_to(url, sink, most_bytes=most_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(urls, "copy_to", failing)
        assert engine.add(memory).n_added == 6
    (bad,) = [failure for failure in engine.failures() if failure.code == "unreadable"]
    assert bad.path.endswith("/blue.png")
    assert bad.reason.startswith(bad.path)
    done = engine.add(memory)
    assert (done.n_added, done.n_loaded) == (1, 1)


def test_a_change_that_keeps_the_size_is_seen(engine: Engine, media: Path, memory: str) -> None:
    import fsspec

    upload(media, memory)
    engine.add(memory)
    with fsspec.open(f"{memory}/day.txt", "wb") as sink:
        sink.write(b"a new day")
    assert engine.add(memory).n_changed == 1
    assert urls.look(f"{memory}/day.txt").mtime_ns > 10**18


def test_sources_elsewhere_are_found_again_where_their_user_wants_them_read(
    engine: Engine, shards: Path, media: Path, memory: str
) -> None:
    upload(shards, memory)
    upload(media, f"{memory}/plain")
    engine.add(f"{memory}/01.tar", f"{memory}/plain", shards / "02.tar")
    ids = list(range(1, 8))
    failures: list[Failure] = []
    catalog, loader = engine._catalog, engine.serving.loader
    with_urls = list(find_sources(catalog, ids, failures=failures, fetches=True))
    assert len(with_urls) == 7
    assert not failures
    for _, content_hash, found in with_urls:
        assert loader.load(found).content_hash == content_hash
    without = list(find_sources(catalog, ids, failures=failures))
    assert {found.path for _, _, found in without} == {f"{shards}/02.tar/{n}" for n in LAST}
    assert {failure.code for failure in failures} == {"path_missing"}


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("gopher://x/a.png", "is not read"),
        ("http://me:secret@host/a.png", "password"),
        ("simplecache::s3://b/a.png", "does not exist"),
    ],
)
def test_urls_that_are_not_read_are_refused(engine: Engine, url: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        engine.add(url)
    assert "secret" not in str(caught.value)


def test_a_protocol_whose_package_is_missing_is_said(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(BackendMissingError, match=r"az://b/a\.png needs the package"):
        engine.add("az://b/a.png")


def test_a_file_url_is_a_path_and_a_shard_that_is_missing_is_said(
    engine: Engine, media: Path, tmp_path: Path
) -> None:
    engine.add(f"file://{media}/blue.png")
    assert engine.item(media / "blue.png") is not None
    with pytest.raises(UsageError, match=r"01\.tar does not exist"):
        engine.add(f"{tmp_path}/{{01..02}}.tar")
