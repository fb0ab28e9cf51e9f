"""Running the subject under strace: once to see every call, or with a fault injected into one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.subject import prepare

CALLS = ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "unlink")
"""System calls that faults are injected into."""

_SEEN = (*CALLS, "openat", "mkdir", "close")
_LINE = re.compile(r"^(\w+)\((.*)\) = (-?\d+)")
_FD = re.compile(r"^(\d+)<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Place:
    """Where one run keeps its store, media and acknowledgements."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def media(self) -> Path:
        return self.folder / "media"

    @property
    def acks(self) -> Path:
        return self.folder / "acks"

    def start(self) -> Place:
        """Write the media."""
        self.folder.mkdir(parents=True)
        prepare(self.media)
        return self


@dataclass(frozen=True)
class Call:
    """One successful system call on a file.

    Attributes:
        name: e.g. `pwrite64`.
        path: the file (rename: the source).
        target: of a rename.
        data: written bytes.
        offset: where; None for write(2), which goes on where the descriptor stands.
        fd: the descriptor, where there is one.
        flags: of openat.
        size: of ftruncate.
    """

    name: str
    path: str
    target: str = ""
    data: bytes = b""
    offset: int | None = None
    fd: int = -1
    flags: str = ""
    size: int = 0


@cache
def has_strace() -> bool:
    """Tell whether strace is here and may trace."""
    try:
        done = subprocess.run(
            ["strace", "-o", os.devnull, "true"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


def run_subject(
    place: Place,
    *,
    strace: tuple[str, ...] = (),
    plant: str = "",
    limit_kib: int = 0,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run the subject, under strace with these options where there are some.

    Args:
        place: of its files.
        strace: options; empty to run without.
        plant: name of a bug to plant.
        limit_kib: no file may grow beyond; 0 for no limit.
        environment: FAULTS_... variables, see `subject`.
    """
    command = [sys.executable, "-m", "tests.faults.subject"]
    command += [os.fspath(place.store), os.fspath(place.media), os.fspath(place.acks)]
    command += [plant] if plant else []
    if strace:
        command = ["strace", *strace, *command]
    if limit_kib:
        command = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "limited", *command]
    return subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=quiet_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def quiet_environment(**extra: str) -> dict[str, str]:
    """Give an environment without the user's settings, with one thread and no .pyc files."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("CROSSFIND_")},
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **extra,
        "CROSSFIND_CONFIG": "/nonexistent/config.toml",
    }


def record(place: Place, *, plant: str = "") -> list[Call]:
    """Run the subject to its end and give every call on its files."""
    log = place.folder / "strace.log"
    options = ("-y", "-xx", "-s", "10000000", "-e", f"trace={','.join(_SEEN)}", "-o", str(log))
    done = run_subject(place, strace=options, plant=plant)
    assert plant or done.returncode == 0, done.stderr
    return list(_parse(log, inside=(os.fspath(place.store), os.fspath(place.acks))))


def count_calls(log: Path) -> dict[str, int]:
    """Count the calls in a log of strace, by name: the faults that can be planned."""
    lines = log.read_text(errors="replace").splitlines()
    names = [line.partition("(")[0] for line in lines]
    return {name: names.count(name) for name in CALLS}


def _parse(log: Path, *, inside: tuple[str, ...]) -> Iterator[Call]:
    for line in log.read_text().splitlines():
        match = _LINE.match(line)
        if match is None or int(match[3]) < 0:
            continue
        call = _call(match[1], match[2], result=int(match[3]))
        if call is not None and call.path.startswith(inside):
            yield call


def _call(name: str, arguments: str, *, result: int) -> Call | None:
    texts = [_bytes(text) for text in _TEXT.findall(arguments)]
    if name in ("openat", "rename", "unlink", "mkdir"):
        opened = re.search(r"O_\w+(\|O_\w+)*", arguments)
        return Call(
            name,
            os.fsdecode(texts[0]),
            target=os.fsdecode(texts[-1]),
            fd=result,
            flags=opened[0] if opened else "",
        )
    descriptor = _FD.match(arguments)
    if descriptor is None:
        return None
    last = arguments.rsplit(", ", 1)[-1]
    return Call(
        name,
        os.fsdecode(_bytes(descriptor[2])),
        fd=int(descriptor[1]),
        data=texts[0][:result] if texts else b"",
        offset=int(last) if name == "pwrite64" else None,
        size=int(last) if name == "ftruncate" else 0,
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
