"""Random work, random SIGKILLs, and going on: as if nothing had happened.

    python -m tests.faults.soak [--kills 100] [--stops 10] [--seed 8]

One script of commands (add, change, remove, build, compact) runs to its end undisturbed. Then it
runs again and again, each time killed at a random moment and gone on with from the last command
that was acknowledged in a file beside the store. Every time the store must hold the same files,
items, parts and vectors, answer the same queries the same way, and have encoded nothing twice that
a commit had acknowledged. With --stops, the command line itself is stopped by Ctrl-C, once and
twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from retrieval.add import Progress
from retrieval.build_wishes import Wishes
from retrieval.config import load_settings
from retrieval.engine import Engine
from tests.faults.forks import in_fork
from tests.faults.subject import SHARED_MEMORY, in_process, remove
from tests.faults.tracing import Place, quiet_environment

N_FILES, N_QUERIES = 120, 200
_COMMIT_S = 0.02  # of work between two commits: several in each add
_COLOURS = ("red", "green", "blue", "yellow", "cyan", "violet", "white", "black")

Command = tuple[str, str]
"""A verb and what it is applied to, relative to the media."""


def script(*, seed: int) -> list[Command]:
    """Make up a sequence of commands."""
    rng = random.Random(seed)
    commands: list[Command] = [("add", name) for name in "abc"]
    for _ in range(3):
        name = rng.choice("abc")
        commands += [("change", name), ("add", name), ("remove", f"{name}/{rng.randrange(9)}.txt")]
        commands += [(rng.choice(("build", "compact")), "")]
    return [*commands, ("build", "")]


def write_media(media: Path, *, seed: int) -> None:
    """Write texts in three folders."""
    rng = random.Random(seed)
    for name in "abc":
        (media / name).mkdir(parents=True)
        for number in range(N_FILES // 3):
            text = f"{rng.choice(_COLOURS)} {rng.choice(_COLOURS)} word{rng.randrange(60)}"
            (media / name / f"{number}.txt").write_text(text)


def work(place: Place, commands: list[Command], *, n_done: int = 0) -> None:
    """Run the commands from the first that is not acknowledged on."""
    settings = load_settings({"commit_s": _COMMIT_S, "workers": 1}, environment={})
    with place.acks.open("a") as acks:

        def acknowledge(**what: int) -> None:
            acks.write(json.dumps(what) + "\n")
            acks.flush()

        for number, (verb, target) in enumerate(commands[n_done:], n_done):
            if verb == "change":
                _change(place.media / target)
            with Engine.open(place.store, create=True, model="fake", settings=settings) as engine:
                _VERBS[verb](engine, place.media / target, acknowledge)
            acknowledge(done=number + 1)


def _change(folder: Path) -> None:
    """Change some texts, the same however often it is done."""
    for number in range(0, N_FILES // 3, 7):
        path = folder / f"{number}.txt"
        text = path.read_text()
        if not text.endswith("changed"):
            os.replace(_written(path.with_suffix(".new"), f"{text} changed"), path)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _add(engine: Engine, path: Path, acknowledge: Callable[..., None]) -> None:
    def tell(progress: Progress) -> None:
        acknowledge(n_done=progress.n_done, n_committed=progress.n_committed)

    report = engine.add(path, on_progress=tell)
    acknowledge(n_loaded=report.n_loaded)


_VERBS: dict[str, Callable[[Engine, Path, Callable[..., None]], object]] = {
    "add": _add,
    "change": lambda *_: None,
    "remove": lambda engine, path, _: remove(engine, path),
    "build": lambda engine, *_: engine.build(),
    "compact": lambda engine, *_: engine.build(force=True, wishes=Wishes(compact=True)),
}


def n_done(place: Place) -> int:
    """Count the commands that were acknowledged."""
    return max((row.get("done", 0) for row in _acks(place)), default=0)


def _acks(place: Place) -> Iterator[dict[str, int]]:
    for line in place.acks.read_text().splitlines() if place.acks.exists() else ():
        yield json.loads(line)


def all_of(place: Place) -> dict[str, object]:
    """Take out of a store everything that must not depend on how it came to be."""
    with Engine.open(place.store) as engine:
        report = engine.verify()
        assert report.findings == (), report.findings
        rng = random.Random(0)
        texts = [f"{rng.choice(_COLOURS)} word{n % 60} {rng.choice(_COLOURS)}" for n in range(180)]
        answers = [engine.search(text, k=10) for text in texts]
        answers += [engine.search(hit.id, k=10) for hit in answers[0] + answers[1]]
        with engine.serving.reading() as (reader, generation):
            ids = reader.part_ids(part_modalities=("text",))
            parts = reader.parts(ids.tolist())
            items = reader.items({part.item_id for part in parts.values()})
            space = generation.spaces["fake"]
            found, vectors = space.lookup(ids)
    assert len(answers) == N_QUERIES
    rows = {int(id_): row.tobytes() for id_, row in zip(found, vectors, strict=True)}
    assert sorted(rows) == ids.tolist() == space.ids().tolist()
    return {
        "answers": [[(h.rank, h.id, h.path, h.score, h.by) for h in hits] for hits in answers],
        "items": items,
        "parts": parts,
        "vectors": rows,
    }


def killed_once(place: Place, commands: list[Command], *, after_s: float) -> int:
    """Kill a run after some time, go on, and count the files encoded twice though acknowledged."""

    def whole() -> None:
        work(place, commands)

    status = in_fork(whole, kill_after_s=after_s)
    assert status in (0, -signal.SIGKILL), f"the run ended by itself with {status}"
    before = list(_acks(place))
    n_commands = n_done(place)

    def rest() -> None:
        work(place, commands, n_done=n_commands)

    assert in_fork(rest) == 0, "going on failed"
    return _n_twice(before, list(_acks(place))[len(before) :], commands, n_commands=n_commands)


def _n_twice(
    before: list[dict[str, int]],
    after: list[dict[str, int]],
    commands: list[Command],
    *,
    n_commands: int,
) -> int:
    """Compare what the killed add had acknowledged with what had to be loaded again."""
    ends = [position for position, row in enumerate(before) if "done" in row]
    since = before[ends[-1] + 1 if ends else 0 :]
    n_committed = max((row["n_committed"] for row in since if "n_committed" in row), default=0)
    if not n_committed or commands[n_commands][0] != "add":
        return 0
    until = next(position for position, row in enumerate(after) if "n_loaded" in row)
    n_wanted = max(row["n_done"] for row in after[:until])
    return max(0, after[until]["n_loaded"] + n_committed - n_wanted)


def soak(folder: Path, *, n_kills: int, seed: int) -> Iterator[list[str]]:
    """Kill and go on, again and again; give for each kill what is wrong."""
    commands = script(seed=seed)
    media = folder / "first-media"
    write_media(media, seed=seed)
    place = Place(folder / "here")  # always the same path: a catalog knows paths

    def begin() -> None:
        shutil.rmtree(place.folder, ignore_errors=True)
        shutil.copytree(media, place.media)

    begin()
    assert in_fork(lambda: work(place, commands)) == 0, "the first run failed"
    begin()
    started_s = time.monotonic()
    assert in_fork(lambda: work(place, commands)) == 0
    whole_s = time.monotonic() - started_s
    expected = all_of(place)
    rng = random.Random(seed)
    for _ in range(n_kills):
        begin()
        after_s = rng.uniform(0, whole_s)
        n_twice = killed_once(place, commands, after_s=after_s)
        found = all_of(place)
        wrong = [f"{what} differ" for what in expected if found[what] != expected[what]]
        wrong += [f"{n_twice} committed files were encoded again"] if n_twice else []
        yield [f"killed after {after_s:.3f} s: {what}" for what in wrong]


def stopped(folder: Path, *, times: int, after_s: float) -> tuple[float, int, str]:
    """Send Ctrl-C to `crossfind index add`; give the seconds it took to end, its code and words."""
    command = [sys.executable, "-c", "from retrieval.cli import main; main()", "index", "add"]
    process = subprocess.Popen(
        [*command, "media", "--store", str(folder / "store"), "--model", "fake", "--workers", "1"],
        cwd=folder,
        env=quiet_environment(
            PYTHONPATH=os.fspath(Path(__file__).parents[2]), CROSSFIND_COMMIT_S="0.2"
        ),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not any((folder / "store" / "segments").glob("*")):  # it is in the middle of its work
        time.sleep(0.02)
    time.sleep(after_s)
    for _ in range(times):
        started_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=120)
    return time.monotonic() - started_s, process.returncode, said


def stops(folder: Path, *, n_stops: int, seed: int) -> Iterator[tuple[float, float, list[str]]]:
    """Stop the command line by Ctrl-C, once and twice; give both times and what is wrong."""
    rng = random.Random(seed)
    for number in range(n_stops):
        here = folder / f"stop{number}"
        (here / "media").mkdir(parents=True)
        for n in range(6000):
            (here / "media" / f"{n}.txt").write_text(f"red word{n}")
        once_s, code, said = stopped(here, times=1, after_s=rng.uniform(0, 1))
        kept = re.search(r"(\d+) more files are kept", said)
        with Engine.open(here / "store") as engine:
            n_items = sum(engine.status().n_items.values())
        wrong = [] if code == 130 and kept else [f"exit {code}: {said[-200:]}"]
        if kept and n_items < int(kept[1]):
            wrong.append(f"said {kept[1]} are kept and holds {n_items}")
        shutil.rmtree(here / "store")
        twice_s, code, said = stopped(here, times=2, after_s=rng.uniform(0, 1))
        wrong += [] if code in (130, -signal.SIGINT) else [f"twice: exit {code}: {said[-200:]}"]
        yield once_s, twice_s, wrong
        shutil.rmtree(here)


def main() -> int:
    """Kill and stop as often as is asked for; print the figures, and exit 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=0)
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="crossfind-soak-", dir=SHARED_MEMORY) as name:
        with in_process():
            rounds = soak(Path(name), n_kills=options.kills, seed=options.seed)
            for number, found in enumerate(rounds, 1):
                _tell({"kill": number, "wrong": found})
                wrong += found
        for once_s, twice_s, found in stops(Path(name), n_stops=options.stops, seed=options.seed):
            _tell({"Ctrl-C s": round(once_s, 2), "twice s": round(twice_s, 2), "wrong": found})
            wrong += found
    _tell({"seed": options.seed, "kills": options.kills, "wrong": len(wrong)})
    return bool(wrong)


def _tell(row: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
