"""Running the command line as a user does, stdout and stderr apart."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from unittest import mock

from click.testing import CliRunner

from retrieval.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    """Give a clean environment without the user's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CROSSFIND_")}
    return {**kept, "CROSSFIND_CONFIG": "/nonexistent/config.toml", **extra}


def crossfind(*args: str | Path, cwd: Path, **extra: str) -> Done:
    """Run `crossfind ARGS` in this process, from its error handling down."""
    with (
        mock.patch.dict(os.environ, environment(**extra), clear=True),
        mock.patch.object(sys, "argv", ["crossfind", *map(os.fspath, args)]),
        contextlib.chdir(cwd),
        CliRunner().isolation() as (out, err, _),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        assert isinstance(code, int)
        return Done(code, _decode(out), _decode(err))


def crossfind_process(*args: str | Path, cwd: Path, timeout_s: float = 120.0, **extra: str) -> Done:
    """Run `crossfind ARGS` as a process of its own, for tests that kill, limit or time it."""
    command = [
        sys.executable,
        "-c",
        "from retrieval.cli import main; main()",
        *map(os.fspath, args),
    ]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    return Done(
        done.returncode,
        done.stdout.decode("utf-8", "surrogateescape"),
        done.stderr.decode("utf-8", "replace"),
    )


def _decode(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "surrogateescape")
