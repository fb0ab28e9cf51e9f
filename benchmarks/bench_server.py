"""A warm server under load: one at a time, many at once, far too many, and for a long time.

    python -m benchmarks.bench_server [--n N] [--seconds S] [--only steady,...] [--soak REQUESTS]

The store holds synthetic vectors of pictures, or of all kinds, in the starter model's space; the
queries are texts drawn from a seed, so that nearly all are new to the cache. Server and load share
the machine's cores: a real server does better. `--store DIR` keeps the store for the next run;
`--keep` adds the figures as a line to benchmarks/results/server.jsonl, marked void where something
else was using the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.report import Value, machine, tell
from benchmarks.synthetic import make_set
from retrieval.encoders.registry import open_encoder
from retrieval.engine import Engine
from retrieval.exchange.bring import import_export

RESULTS = Path(__file__).parent / "results" / "server.jsonl"
MAX_LOAD = 1.0
"""Before the run, over a minute: more is something else at work."""
_WORDS = [
    "red",
    "blue",
    "green",
    "old",
    "small",
    "large",
    "quiet",
    "loud",
    "parrot",
    "dog",
    "cat",
    "train",
    "sea",
    "piano",
    "bread",
    "tree",
    "river",
    "mountain",
    "child",
    "street",
    "market",
    "boat",
    "rain",
    "snow",
    "fire",
    "bell",
    "horse",
    "bird",
    "engine",
    "crowd",
    "garden",
    "night",
    "morning",
    "bridge",
    "flower",
    "kitchen",
    "guitar",
    "drum",
    "voice",
    "wind",
    "wave",
    "bus",
    "plane",
    "tower",
    "field",
    "house",
    "door",
]
_KINDS = {
    "pictures": (("image", "jpeg"),),
    "mixed": (("image", "jpeg"),) * 3 + (("audio", "wav"), ("text", "txt")),
}
_WATCH = """
import http.client, json, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
time.sleep(0.5)
stop_s, took_ms = time.perf_counter() + seconds, []
link = http.client.HTTPConnection("127.0.0.1", port)
while time.perf_counter() < stop_s:
    started_s = time.perf_counter()
    link.request("GET", "/health")
    assert link.getresponse().read()
    took_ms.append(1000 * (time.perf_counter() - started_s))
    time.sleep(0.02)
print(json.dumps(took_ms))
"""
_RUNS = ("steady", "sustained", "unbatched", "overload")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--mix", choices=list(_KINDS), default="pictures")
    parser.add_argument("--only", default=",".join(_RUNS))
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        store = options.store or Path(name, "store")
        if not (store / "FORMAT").exists():
            make_store(store, n=options.n, seed=options.seed, mix=options.mix)
        only = options.only.split(",")
        figures: dict[str, Value] = {"items": options.n, "of": options.mix, "seed": options.seed}
        if "steady" in only:
            figures |= steady(store, options.seconds)
        if "sustained" in only:
            figures |= sustained(store, options.seconds, batched=True)
        if "unbatched" in only:
            figures |= sustained(store, options.seconds, batched=False)
        if "overload" in only:
            figures |= overload(store, options.seconds)
        if options.soak:
            figures |= soak(store, options.soak)
    rates = [figures.get(f"queries/s at 32 connections{w}") for w in ("", ", not batched")]
    if all(isinstance(rate, float) for rate in rates):
        figures["batching makes it faster by"] = rates[0] / rates[1]  # type: ignore[operator]
        figures["target of that"] = 2.0
    tell("server", figures)
    if options.keep:
        about = {**machine(), "load": round(load, 2)}  # before: this run makes its own
        row = {"benchmark": "server", **figures, "void": load > MAX_LOAD, "machine": about}
        with RESULTS.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(row) + "\n")


def make_store(store: Path, *, n: int, seed: int, mix: str = "pictures") -> None:
    """Make and build a store of synthetic items: pictures, or 3 of 5, 1 sound and 1 text."""
    kinds = _KINDS[mix]
    encoder = open_encoder("starter", threads=2)
    space = encoder.space_for("text", "image")
    vectors = make_set(n, dim=space.dim, n_queries=1, seed=seed).pictures
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "vectors.npy", vectors)
        head = {"version": 1, "space": asdict(space)}
        (folder / "space.json").write_text(json.dumps(head))
        with (
            (folder / "parts.jsonl").open("w") as parts,
            (folder / "files.jsonl").open("w") as files,
        ):
            for number in range(1, n + 1):
                kind, suffix = kinds[number % len(kinds)]
                row = _part(number, kind, suffix, draw)
                parts.write(json.dumps(row) + "\n")
                path = f"/synthetic/{number % 100:02}/{number:06}.{suffix}"
                files.write(json.dumps(_file(path, row["content_hash"])) + "\n")
        import_export(folder, store=store)
    encoder.close()
    with Engine.open(store) as engine:
        engine.build()


def _part(number: int, kind: str, suffix: str, draw: random.Random) -> dict[str, Value]:
    text = " ".join(draw.choices(_WORDS, k=6))
    return {
        "part_id": number, "item_id": number, "content_hash": f"synthetic{number:055}",
        "record": 0, "modality": kind, "part_modality": kind, "format": suffix,
        "size_bytes": 1000, "width_px": 640 if kind == "image" else None,
        "height_px": 480 if kind == "image" else None,
        "duration_s": 5.0 if kind == "audio" else None, "caption": None, "flags": [],
        "start_s": 0.0 if kind == "audio" else None, "end_s": 5.0 if kind == "audio" else None,
        "text": text if kind == "text" else None,
    }  # type: ignore[dict-item]  # fmt: skip


def _file(path: str, content_hash: Value) -> dict[str, Value]:
    return {
        "path": path, "size_bytes": 1000, "mtime_ns": 0, "caption_stamp": "",
        "content_hash": content_hash,
    }  # fmt: skip


@contextmanager
def server(store: Path, *extra: str) -> Iterator[tuple[int, int]]:
    """Run a server as a process of its own; gives its port and pid once it is warm."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CROSSFIND_")}
    environment = {**kept, "OMP_WAIT_POLICY": "PASSIVE", "CROSSFIND_CONFIG": "/nonexistent"}
    command = [sys.executable, "-c", "from retrieval.cli import main; main()", "serve"]
    with subprocess.Popen(
        [*command, "--port", "0", "--store", str(store), *extra],
        env=environment, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "serving on" in line, line + process.stderr.read()
        port = int(line.split(" (")[0].rsplit(":", 1)[1])
        try:
            if not asyncio.run(_is_ready(port)):
                process.kill()
                raise RuntimeError(f"the server did not become ready: {process.stderr.read()}")
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


async def _is_ready(port: int) -> bool:
    for _ in range(1200):
        async with connection(port) as one:
            if await one.get("/ready") == 200:
                return True
        await asyncio.sleep(0.1)
    return False


class Connection:
    """One keep-alive connection, and just enough HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, path: str) -> int:
        """Ask for a path; gives the status."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return await self._status()

    async def search(self, text: str) -> int:
        """Search for a text; gives the status."""
        body = json.dumps({"query": text, "k": 10}).encode()
        head = (
            "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        return await self._status()

    async def _status(self) -> int:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(head[9:12])


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Connection]:
    """Open a connection and close it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@dataclass
class Tally:
    """What came back: seconds of good answers, and how many of each status."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    async def ask(self, one: Connection, text: str) -> None:
        """Search and note it."""
        started_s = time.perf_counter()
        status = await one.search(text)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.seconds.append(time.perf_counter() - started_s)

    def ms(self, share: float) -> float:
        """Give a quantile in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def n_errors(self) -> int:
        """Count what was no answer and no polite refusal."""
        return sum(n for status, n in self.statuses.items() if status not in (200, 503))


def texts(seed: int) -> Iterator[str]:
    """Draw queries without end."""
    draw = random.Random(seed)
    while True:
        yield " ".join(draw.choices(_WORDS, k=4))


def steady(store: Path, seconds: float, *, per_s: float = 50.0) -> dict[str, Value]:
    """Ask at a fixed rate, whatever comes back."""

    async def run(port: int) -> Tally:
        tally, waiting = Tally(), []
        free: list[Connection] = []
        source = texts(1)

        async def one(text: str) -> None:
            if not free:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                free.append(Connection(reader, writer))
            link = free.pop()
            await tally.ask(link, text)
            free.append(link)

        for _ in range(20):
            await one(next(source))
        tally.seconds.clear()
        started_s = time.perf_counter()
        for number in range(int(seconds * per_s)):
            await asyncio.sleep(max(0.0, started_s + number / per_s - time.perf_counter()))
            waiting.append(asyncio.create_task(one(next(source))))
        await asyncio.gather(*waiting)
        return tally

    with server(store) as (port, _):
        tally = asyncio.run(run(port))
    return {
        f"p50 at {per_s:.0f} queries/s, ms": tally.ms(0.5),
        "target of p50, ms": 8.0,
        f"p95 at {per_s:.0f} queries/s, ms": tally.ms(0.95),
        "target of p95, ms": 25.0,
        "errors at that rate": tally.n_errors,
    }


async def closed_loop(port: int, *, n: int, seconds: float, seed: int) -> Tally:
    """Keep n connections busy for a while."""
    tally = Tally()
    stop_s = time.perf_counter() + seconds

    async def loop(number: int) -> None:
        source = texts(seed + number)
        async with connection(port) as one:
            while time.perf_counter() < stop_s:
                await tally.ask(one, next(source))

    await asyncio.gather(*(loop(number) for number in range(n)))
    return tally


def sustained(store: Path, seconds: float, *, batched: bool) -> dict[str, Value]:
    """Keep 32 connections busy."""
    with server(store, *([] if batched else ["--no-batching"])) as (port, pid):
        asyncio.run(closed_loop(port, n=32, seconds=2.0, seed=1000))
        before_s = cpu_s(pid)
        tally = asyncio.run(closed_loop(port, n=32, seconds=seconds, seed=2000))
        spent_s = cpu_s(pid) - before_s
    how = "" if batched else ", not batched"
    figures: dict[str, Value] = {
        f"queries/s at 32 connections{how}": len(tally.seconds) / seconds,
        f"p95 at 32 connections{how}, ms": tally.ms(0.95),
        f"server's CPU per query{how}, ms": 1000 * spent_s / max(1, len(tally.seconds)),
        f"errors at 32 connections{how}": tally.n_errors + tally.statuses.get(503, 0),
    }
    return figures | ({"target of queries/s": 400.0} if batched else {})


def overload(store: Path, seconds: float, *, n: int = 500) -> dict[str, Value]:
    """Ask with far too many connections, and see whether the server still answers for itself."""

    async def run(port: int, pid: int) -> tuple[Tally, list[float], float]:
        load = asyncio.create_task(closed_loop(port, n=n, seconds=seconds, seed=9000))
        # From a process of its own: 500 clients in this one would be what is measured.
        watch = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WATCH, str(port), str(seconds - 1.0),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        peak_mb = 0.0
        while not load.done():
            peak_mb = max(peak_mb, resident_mb(pid))
            await asyncio.sleep(0.05)
        told, _ = await watch.communicate()
        return await load, sorted(json.loads(told)), peak_mb

    with server(store) as (port, pid):
        idle_mb = resident_mb(pid)
        tally, health, peak_mb = asyncio.run(run(port, pid))
    return {
        f"shed of {n} connections, share": tally.statuses.get(503, 0)
        / max(1, sum(tally.statuses.values())),
        "answered meanwhile, queries/s": len(tally.seconds) / seconds,
        "errors in overload": tally.n_errors,
        "health p95 in overload, ms": health[int(0.95 * len(health))],
        "health worst in overload, ms": health[-1],
        "target of health, ms": 100.0,
        "memory above idle, MB": peak_mb - idle_mb,
        "target of memory above idle, MB": 512.0,
    }


def soak(store: Path, n_requests: int) -> dict[str, Value]:
    """Ask for long, and see whether memory or open files grow after a tenth of it."""
    seen: list[tuple[int, float, int]] = []

    async def run(port: int, pid: int) -> Tally:
        tally = Tally()
        source = texts(5)

        async def loop() -> None:
            async with connection(port) as one:
                while sum(tally.statuses.values()) < n_requests:
                    await tally.ask(one, next(source))
                    done = sum(tally.statuses.values())
                    if done % max(1, n_requests // 100) == 0:
                        seen.append((done, resident_mb(pid), open_files(pid)))
                        tally.seconds.clear()

        await asyncio.gather(*(loop() for _ in range(8)))
        return tally

    with server(store) as (port, pid):
        tally = asyncio.run(run(port, pid))
    warm = seen[len(seen) // 10 :]
    slope = np.polyfit([n / 1000 for n, _, _ in warm], [mb for _, mb, _ in warm], 1)[0]
    return {
        "requests of the soak": sum(tally.statuses.values()),
        "memory slope, MB per 1,000 requests": float(slope),
        "target of that slope": 1.0,
        "growth in open files": warm[-1][2] - warm[0][2],
        "errors of the soak": tally.n_errors,
    }


def cpu_s(pid: int) -> float:
    """Read how much time a process has spent on cores."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Read how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)


def open_files(pid: int) -> int:
    """Count a process's open files."""
    return len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    main()
