"""Bytes of stored items, and of nothing else (rows H7 to H9 of the bad inputs)."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from served import Served, check_error
from starlette.testclient import TestClient


def payloads() -> list[str]:
    """More than a thousand ways to write a path that leaves its folder."""
    ups = [
        "../", "..\\", "%2e%2e/", "%2e%2e%2f", "..%2f", "..%5c", "%252e%252e%252f", "..;/",
        "....//", "%c0%ae%c0%ae/", "..%00/", ".%2e/", "%u002e%u002e/", "/../", "//../", "./.././",
    ]  # fmt: skip
    targets = ["etc/passwd", "proc/self/environ", "secret.txt", "catalog.sqlite", "FORMAT"]
    prefixes = ["/web/", "/v1/items/1/", "/v1/items/", "/media/", "/", "/web/x/"]
    deep = [f"{p}{u * n}{t}" for p, u, n, t in itertools.product(prefixes, ups, (1, 4, 9), targets)]
    flat = [
        "/web//etc/passwd", "/web/%2fetc%2fpasswd", "/web/C:\\boot.ini", "/web/.", "/web/..",
        "/web/index.html%00.js", "/v1/items/-1/media", "/v1/items/1e0/media", "//etc/passwd",
        "/v1/items/99999999999999999999/media", "/v1/items/1;x/media", "/v1/items/%31%00/media",
    ]  # fmt: skip
    return deep + flat


def test_a_thousand_traversals_read_nothing_outside(port: int, served: Served) -> None:
    secret = "the-secret-of-this-test"
    (served.world.parent / "secret.txt").write_text(secret)
    paths = payloads()
    assert len(paths) >= 1000
    link = http.client.HTTPConnection("127.0.0.1", port)
    for path in paths:
        link.putrequest("GET", path, skip_accept_encoding=True)
        link.endheaders()
        answer = link.getresponse()
        body = answer.read()
        assert answer.status in (400, 404, 422), (path, answer.status)
        assert secret.encode() not in body
        assert b"root:" not in body
        assert b"SQLite" not in body
    link.close()


def media_store(fresh: Served, name: str, text: str) -> int:
    path = fresh.world / name
    path.write_text(text)
    fresh.state.engine.add(path)
    fresh.state.engine.reload()
    return fresh.id_of(name)


def test_a_stored_file_is_served_as_it_is(served: Served, client: TestClient) -> None:
    answer = client.get(f"/v1/items/{served.id_of('red.png')}/media")
    assert answer.content == (served.world / "red.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def _delete(path: Path) -> None:
    path.unlink()


def _rewrite(path: Path) -> None:
    path.write_text("something else entirely")


def _rewrite_with_the_same_stamp(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"X" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _link(path: Path) -> None:
    secret = path.with_suffix(".secret")
    secret.write_text("outside")
    path.unlink()
    path.symlink_to(secret)


def _link_the_folder(path: Path) -> None:
    """The folder becomes a link to one with a file of the same name, size and time."""
    before = path.stat()
    other = path.parent.with_name(path.parent.name + "-other")
    other.mkdir()
    (other / path.name).write_bytes(b"Y" * before.st_size)
    os.utime(other / path.name, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.parent.rename(path.parent.with_name(path.parent.name + "-moved"))
    path.parent.symlink_to(other)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (_delete, 410), (_rewrite, 409), (_rewrite_with_the_same_stamp, 409), (_link, 409),
        (_link_the_folder, 409), (_pipe, 409),
    ],
)  # fmt: skip
def test_a_file_that_is_no_longer_the_one_added_is_not_served(
    fresh: Served, change: Callable[[Path], None], status: int
) -> None:
    folder = fresh.world / change.__name__
    folder.mkdir()
    (folder / "a.txt").write_text(f"words of {change.__name__}")
    fresh.state.engine.add(folder)
    fresh.state.engine.reload()
    item_id = fresh.id_of(f"{change.__name__}/a.txt")
    change(folder / "a.txt")
    with fresh.client() as client:
        answer = client.get(f"/v1/items/{item_id}/media")
    check_error(answer, status, "gone" if status == 410 else "changed")


def test_a_removed_item_is_gone_and_an_unknown_one_is_not_found(fresh: Served) -> None:
    item_id = media_store(fresh, "soon-gone.txt", "soon gone")
    with fresh.client() as client:
        assert client.delete(f"/v1/items/{item_id}").json() == {"removed": 1}
        for place in ("", "/media", "/thumbnail"):
            check_error(client.get(f"/v1/items/{item_id}{place}"), 410, "removed")
            check_error(client.get(f"/v1/items/999999{place}"), 404, "no_such_item")
    assert (fresh.world / "soon-gone.txt").exists()


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=5-", 5, None),
        ("bytes=-4", -4, None),
        ("bytes=0-999999", 0, None),
    ],
)
def test_one_range_is_served(
    served: Served, client: TestClient, wanted: str, first: int, last: int | None
) -> None:
    whole = (served.world / "low.wav").read_bytes()
    answer = client.get(f"/v1/items/{served.id_of('low.wav')}/media", headers={"Range": wanted})
    expected = whole[first : None if last is None else last + 1][: len(whole)]
    if wanted.endswith("999999"):
        expected = whole[:1_000_000]
    assert answer.content == expected
    assert answer.status_code == (200 if len(expected) == len(whole) else 206)
    assert int(answer.headers["content-length"]) == len(expected)


@pytest.mark.parametrize(
    "wanted",
    ["bytes=" + ",".join("0-1" for _ in range(10_000)), "bytes=0-1,3-4", "bytes=9999999-", "bytes=",
     "bytes=-", "bytes=5-2", "bytes=a-b", "items=0-1", "bytes=--1", "bytes=" + "9" * 50 + "-"],
)  # fmt: skip
def test_many_or_senseless_ranges_are_refused_quickly(
    served: Served, client: TestClient, wanted: str
) -> None:
    item_id = served.id_of("low.wav")
    started_s = time.perf_counter()
    answer = client.get(f"/v1/items/{item_id}/media", headers={"Range": wanted})
    assert time.perf_counter() - started_s < 0.5  # 50 ms on a machine that is not shared
    check_error(answer, 416, "bad_range")


def test_a_row_of_a_table_is_served_by_its_files_until_they_change(fresh: Served) -> None:
    folder = fresh.world / "rows"
    folder.mkdir()
    for name in ("red.png", "low.wav"):
        shutil.copy(fresh.world / name, folder)
    table = folder / "pairs.csv"
    table.write_text("picture,sound,caption\nred.png,low.wav,green\n")
    fresh.state.engine.add(table)
    fresh.state.engine.reload()
    item_id = fresh.id_of("rows/pairs.csv#1")
    with fresh.client() as client:
        media = client.get(f"/v1/items/{item_id}/media")
        thumbnail = client.get(f"/v1/items/{item_id}/thumbnail")
        (folder / "low.wav").write_bytes(b"another")
        changed = client.get(f"/v1/items/{item_id}/media")
        table.unlink()
        gone = client.get(f"/v1/items/{item_id}/media")
    assert media.content == (folder / "red.png").read_bytes()
    assert media.headers["content-type"] == "image/png"
    assert thumbnail.headers["content-type"] == "image/jpeg"
    check_error(changed, 409, "changed")
    check_error(gone, 410, "gone")


def test_an_item_tells_what_its_file_says_of_itself(fresh: Served) -> None:
    item = fresh.id_of("low.wav")
    with fresh.client() as client:
        told = client.get(f"/v1/items/{item}").json()["details"]
    assert told == {"sample_rate_hz": 16_000, "n_channels": 1, "codec": "pcm_s16le"}
