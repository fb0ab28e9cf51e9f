"""Running the command line as a user does: a process of its own, stdout and stderr apart."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


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


def crossfind(*args: str | Path, cwd: Path, timeout_s: float = 120.0, **extra: str) -> Done:
    """Run `crossfind ARGS` and wait."""
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
