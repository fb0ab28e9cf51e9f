"""Options of `crossfind train heads`, and the job they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from retrieval.training.heads_job import HeadsJob
    from retrieval.training.objective import Loss

F = TypeVar("F", bound=Callable[..., Any])  # Any: Click decorates functions of every shape

_PATH = click.Path(path_type=Path)


def heads_options(function: F) -> F:
    """Add the options of `train heads`."""
    for option in reversed(
        (
            click.option("--pairs", type=_PATH, required=True, help="csv, jsonl, folder or tar."),
            click.option("--out", type=_PATH, required=True, help="Model file, ending in .model."),
            click.option("--base", default="starter", show_default=True, help="Model to build on."),
            click.option("--force", is_flag=True, help="Keep the result even if not better."),
            click.option("--epochs", type=click.IntRange(1, 10_000), default=30, show_default=True),
            click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
            click.option(
                "--loss", type=click.Choice(["infonce", "siglip"]), default="infonce",
                show_default=True, help="siglip suits captions that repeat.",
            ),
            click.option(
                "--on", type=click.Choice(["trunk", "vectors"]), default="trunk", show_default=True,
                help="What heads see: the base's inner features, if it has any, or its vectors.",
            ),
            click.option("--batch-size", type=click.IntRange(2), default=512, show_default=True),
            click.option("--learning-rate", type=float, default=1e-3, show_default=True),
            click.option(
                "--hard", type=click.IntRange(0, 64), default=0, show_default=True,
                help="Hard negatives per pair.",
            ),
            click.option("--cache", type=_PATH, help="Folder for encoded vectors; kept."),
            click.option("--checkpoint", type=_PATH, help="File to resume from and save to."),
            click.option("--step-log", "log", type=_PATH, help="File for one JSON line per step."),
            click.option("--threads", type=click.IntRange(0, 256), help="0: one per core."),
            click.option("--workers", type=click.IntRange(0, 64), help="Decode processes."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def make_job(
    *,
    pairs: Path,
    out: Path,
    base: str,
    force: bool,
    epochs: int,
    seed: int,
    loss: Loss,
    on: Literal["trunk", "vectors"],
    batch_size: int,
    learning_rate: float,
    hard: int,
    cache: Path | None,
    checkpoint: Path | None,
    log: Path | None,
    threads: int | None,
    workers: int | None,
) -> HeadsJob:
    """Turn the options into a job."""
    from retrieval.config import load_settings
    from retrieval.training.heads_job import HeadOptions, HeadsJob
    from retrieval.training.recipe import Recipe

    settings = load_settings({"threads": threads, "workers": workers})
    return HeadsJob(
        source=pairs,
        base=base,
        out=out.absolute(),
        cache=cache or default_cache(),
        recipe=Recipe(
            n_epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed
        ),
        options=HeadOptions(loss=loss, n_hard=hard, on=on),
        force=force,
        threads=settings.threads,
        n_workers=settings.workers,
        checkpoint=checkpoint,
        log=log,
    )


def default_cache() -> Path:
    """Name the user's cache folder: XDG_CACHE_HOME, or `.cache` in the home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "crossfind" / "features"
