"""Two `crossfind serve` over one store with its catalog on PostgreSQL: both say what one writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from cli import environment
from postgres import postgres

from retrieval.config import load_settings
from retrieval.engine import Engine
from tests.faults.subject import in_process

pytestmark = pytest.mark.postgres

SOON_S = 10.0
"""README says a second; a test machine may be busy."""


@contextmanager
def server(root: Path, *, url: str) -> Iterator[httpx.Client]:
    command = [sys.executable, "-c", "from retrieval.cli import main; main()", "serve"]
    with subprocess.Popen(
        [*command, "--port", "0", "--store", str(root)], cwd=root.parent, text=True,
        env=environment(CROSSFIND_CATALOG=url, CROSSFIND_WORKERS="1", CROSSFIND_THREADS="1"),
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        address = process.stderr.readline().split()[2]
        with httpx.Client(base_url=address, timeout=60) as client:
            soon(lambda: client.get("/ready").status_code == 200, at_most_s=60)
            yield client
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, str, httpx.Client, httpx.Client]]:
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="two")))
        where = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="pg")))
        url = held.enter_context(postgres(where))
        settings = load_settings({"catalog": url, "workers": 1}, environment={})
        root = folder / "store"
        (folder / "first.txt").write_text("a blue beginning")
        with Engine.open(root, create=True, model="fake", settings=settings) as engine:
            engine.add(folder / "first.txt")
        one, other = (held.enter_context(server(root, url=url)) for _ in range(2))
        yield folder, url, one, other


def soon(is_so: Callable[[], bool], *, at_most_s: float = SOON_S) -> float:
    """Wait until something is so; tell how long that took."""
    started_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - started_s < at_most_s
        time.sleep(0.02)
    return time.monotonic() - started_s


def found(client: httpx.Client, query: str) -> dict[str, int]:
    answer = client.post("/v1/search", json={"query": query, "k": 1000, "for": "text"})
    assert answer.status_code == 200, answer.text
    return {Path(hit["path"]).name: hit["id"] for hit in answer.json()["hits"]}


def test_what_one_server_takes_and_removes_the_other_tells(
    place: tuple[Path, str, httpx.Client, httpx.Client],
) -> None:
    *_, one, other = place
    waits_s = []
    for number, (here, there) in enumerate([(one, other), (other, one)] * 3):
        text = f"green word{number}"
        sent = here.post("/v1/items", files={"file": (f"up{number}.txt", text.encode())})
        assert sent.status_code in (200, 201), sent.text
        item_id = sent.json()["items"][0]["id"]
        waits_s.append(soon(lambda to=there, id_=item_id: id_ in found(to, "green").values()))
        assert there.get(f"/v1/items/{item_id}/media").text == text
        assert here.delete(f"/v1/items/{item_id}").status_code in (200, 204)
        waits_s.append(soon(lambda to=there, id_=item_id: id_ not in found(to, "green").values()))
        assert there.get(f"/v1/items/{item_id}").status_code == 410
    print(f"seen by the other server after {max(waits_s):.2f} s at most")


def test_no_answer_of_either_shows_half_a_commit(
    place: tuple[Path, str, httpx.Client, httpx.Client],
) -> None:
    folder, url, one, other = place
    ended, torn, counts = Event(), [], Counter()  # type: ignore[var-annotated]

    def ask(client: httpx.Client) -> None:
        while not ended.is_set():
            answer = client.post("/v1/search", json={"query": "red", "k": 1000})
            pairs = Counter(Path(hit["path"]).parent.name for hit in answer.json()["hits"])
            counts[client.base_url.port] += 1
            torn.extend(f"{n} of {p}" for p, n in pairs.items() if n != 2 and p.startswith("pair"))

    askers = [Thread(target=ask, args=(client,)) for client in (one, other) for _ in range(2)]
    settings = load_settings({"catalog": url, "workers": 1}, environment={})
    with in_process(), Engine.open(folder / "store", settings=settings) as engine:
        for asker in askers:
            asker.start()
        for number in range(12):
            pair = folder / "pairs" / f"pair{number}"
            pair.mkdir(parents=True)
            for half in ("left", "right"):
                (pair / f"{half}.txt").write_text(f"red word{number} {half}")
            engine.add(pair)
            if number % 4 == 3:
                engine.remove(pair.parent / f"pair{number - 2}")
                engine.build()
    wanted = {f"pair{n}" for n in range(12)} - {"pair1", "pair5", "pair9"}
    for client in (one, other):
        soon(lambda to=client: pairs_of(to) == wanted)
    ended.set()
    for asker in askers:
        asker.join()
    assert torn == []
    assert min(counts.values()) > 5
    assert len(counts) == 2


def pairs_of(client: httpx.Client) -> set[str]:
    answer = client.post("/v1/search", json={"query": "red", "k": 1000})
    folders = {Path(hit["path"]).parent.name for hit in answer.json()["hits"]}
    return {name for name in folders if name.startswith("pair")}
