"""The program that faults are injected into: a short life of a store, step by step.

    python -m tests.faults.subject STORE MEDIA ACKS [PLANT]

After each step its number is appended to ACKS and fsynced: what is acknowledged must survive. All
work happens in this one process and thread, so that system calls can be counted. Decoders are
called directly: their isolation has tests of its own.

FAULTS_READER opens the store just before each commit, as another process could;
FAULTS_SHORT_WRITES lets write(2) take 100 bytes at most; FAULTS_STOP_AFTER ends after a step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import retrieval.add_batch
import retrieval.build_wishes
from retrieval.build_wishes import Wishes
from retrieval.engine import Engine
from retrieval.engine_serving import Serving
from retrieval.errors import BadMediaError, CrossfindError, NotFoundError
from retrieval.media import Found
from retrieval.media.load import load_file
from retrieval.types import Failure, MediaSpec, Outcome
from tests.faults.plants import PLANTS

FIRST = {f"one{n}.txt": f"red word{n}" for n in range(4)}
SECOND = {f"two{n}.txt": f"blue word{n}" for n in range(4)}
THIRD = {"late.txt": "green leaf"}
BEFORE, AFTER = {"changing.txt": "white before"}, {"changing.txt": "black after"}
GONE = "one2.txt"

# What the store holds after each step: file name -> text.
STATES: tuple[dict[str, str], ...] = (
    {},
    {},
    {**FIRST, **BEFORE},
    {**FIRST, **BEFORE, **SECOND},
    {**FIRST, **BEFORE, **SECOND},
    {**FIRST, **BEFORE, **SECOND, GONE: ""},
    {**FIRST, **AFTER, **SECOND, GONE: ""},
    {**FIRST, **AFTER, **SECOND, **THIRD, GONE: ""},
    {**FIRST, **AFTER, **SECOND, **THIRD, GONE: ""},
    {**FIRST, **AFTER, **SECOND, **THIRD, GONE: ""},
)
N_STEPS = len(STATES) - 1
OWN_EXIT = 99

SHARED_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where stores may lie that suffer in theory only: no disk needs to turn for them."""


def expected(n_acked: int) -> dict[str, str]:
    """Give file name -> text after so many acknowledged steps."""
    return {name: text for name, text in STATES[n_acked].items() if text}


class _OwnError(Exception):
    """A fault met this program's own files, not the store's."""


@contextmanager
def _own() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OwnError from error


class _Loader:
    """The Loader's surface without child processes."""

    def __init__(self, spec: MediaSpec) -> None:
        self._spec = spec

    def __enter__(self) -> _Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        for found in jobs:
            try:
                yield found, load_file(found, spec=self._spec)
            except BadMediaError as error:
                yield found, Failure(found.path, error.code, str(error))


def prepare(media: Path) -> None:
    """Write the media of every step."""
    for folder, texts in {"a": FIRST, "b": SECOND, "c": THIRD}.items():
        (media / folder).mkdir(parents=True)
        for name, text in texts.items():
            (media / folder / name).write_text(text)
    for name, text in BEFORE.items():
        (media / "a" / name).write_text(text)
    (media / "new").mkdir()
    for name, text in AFTER.items():
        (media / "new" / name).write_text(text)


@contextmanager
def in_process() -> Iterator[None]:
    """Patch the engine: decoders in this process, and a faiss file however small the store."""
    choose = retrieval.build_wishes.choose

    def flat(*args: Any, **options: Any) -> Any:
        return replace(choose(*args, **options), kind="flat", parameters={})

    def loader(
        serving: Serving, _n_workers: int, *, spec: MediaSpec | None = None, **_: Any
    ) -> _Loader:
        return _Loader(spec or serving.encoder.media)

    with (
        mock.patch.object(Serving, "new_loader", loader),
        mock.patch.object(retrieval.build_wishes, "choose", flat),
    ):
        yield


def remove(engine: Engine, path: Path) -> None:
    """Remove a file's items, or find that this was done."""
    with suppress(NotFoundError):  # it went before the fault
        engine.remove(path)


EXCHANGE, LAST_ADD = 6, 7
_STEPS: tuple[Callable[[Engine, Path], object], ...] = (
    lambda _engine, _media: None,
    lambda engine, media: engine.add(media / "a"),
    lambda engine, media: engine.add(media / "b"),
    lambda engine, _media: engine.build(),
    lambda engine, media: remove(engine, media / "a" / GONE),
    lambda engine, media: engine.add(media / "a" / "changing.txt"),
    lambda engine, media: engine.add(media / "c"),
    lambda engine, _media: engine.build(),
    lambda engine, _media: engine.build(force=True, wishes=Wishes(compact=True)),
)


def live(step: int, *, store: Path, media: Path) -> None:
    """Take one step, as one command would; what is done already costs nothing the second time."""
    if step == EXCHANGE:
        exchange(media)
    with Engine.open(store, create=True, model="fake") as engine:
        _STEPS[step - 1](engine, media)


def exchange(media: Path) -> None:
    """Put the changed file in its place, once."""
    if (media / "new" / "changing.txt").exists():
        with _own():
            os.rename(media / "new" / "changing.txt", media / "a" / "changing.txt")


def run(store: Path, media: Path, *, done: Callable[[int], None] = lambda _step: None) -> None:
    """Live the whole life."""
    for step in range(1, N_STEPS + 1):
        live(step, store=store, media=media)
        done(step)


def _read_before_each_commit(store: Path) -> None:
    failpoint = retrieval.add_batch.failpoint

    def read(name: str) -> None:
        failpoint(name)
        if name == "commit.before":
            Engine.open(store).close()

    retrieval.add_batch.failpoint = read


def main() -> int:
    """Run with the files and the planted bug named on the command line."""
    store, media, acks = (Path(name) for name in sys.argv[1:4])
    for name in sys.argv[4:]:
        PLANTS[name]()
    fd = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def acknowledge(step: int) -> None:
        with _own():
            os.write(fd, f"{step}\n".encode())
            os.fsync(fd)
        if os.environ.get("FAULTS_STOP_AFTER") == str(step):
            sys.exit(0)

    if os.environ.get("FAULTS_READER"):
        _read_before_each_commit(store)
    if os.environ.get("FAULTS_SHORT_WRITES"):
        write = os.write
        os.write = lambda fd, data: write(fd, memoryview(data)[:100])  # type: ignore[assignment]
    with in_process():
        try:
            run(store, media, done=acknowledge)
        except CrossfindError as error:
            sys.stderr.write(f"{error} [{error.code}]\n")
            return error.exit_code
        except _OwnError:
            return OWN_EXIT
    return 0


if __name__ == "__main__":
    sys.exit(main())
