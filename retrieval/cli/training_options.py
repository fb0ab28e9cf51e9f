"""Options of `crossfind train heads`, and the job they make."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from retrieval.training.heads_job import HeadOptions, HeadsJob
    from retrieval.training.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])  # Any: Click decorates functions of every shape

_PATH = click.Path(path_type=Path)
_SIDES = ("image", "audio")
_PAIRS = ("image-text", "audio-text", "image-audio")
_SHARE = click.FloatRange(0, 1, max_open=True)
_POSITIVE = click.FloatRange(0, min_open=True)
_WEIGHT = click.FloatRange(0)


def _dims(_context: click.Context, _option: click.Parameter, typed: str) -> tuple[int, ...]:
    """Read `64,128`."""
    words = [word.strip() for word in typed.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise click.BadParameter(f"{typed!r} is no list of numbers such as 64,128")
    return tuple(sorted({int(word) for word in words}))


def _named(typed: tuple[str, ...], *, known: tuple[str, ...], example: str) -> dict[str, str]:
    """Read `NAME=VALUE`s."""
    found = dict(word.partition("=")[::2] for word in typed)
    wrong = [w for w in typed if w.partition("=")[0] not in known or not w.partition("=")[2]]
    if wrong:
        raise click.BadParameter(
            f"{wrong[0]!r} is not of the form {example}; the name is one of {', '.join(known)}"
        )
    return found


def _weights(
    _context: click.Context, _option: click.Parameter, typed: tuple[str, ...]
) -> dict[tuple[str, ...], float]:
    """Read `image-text=2`."""
    out = {}
    for pair, value in _named(typed, known=_PAIRS, example="image-text=2").items():
        try:
            out[tuple(pair.split("-"))] = float(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is no weight; write image-text=2") from error
    return out


def _classes(
    _context: click.Context, _option: click.Parameter, typed: tuple[str, ...]
) -> dict[str, Path]:
    """Read `image=FILE`."""
    found = _named(typed, known=_SIDES, example="image=FILE")
    return {side: Path(path) for side, path in found.items()}


_OPTIONS = (
    click.option("--pairs", type=_PATH, required=True, help="csv, jsonl, folder or tar."),
    click.option("--out", type=_PATH, required=True, help="Model file, ending in .model."),
    click.option("--base", default="starter", show_default=True, help="Model to build on."),
    click.option("--force", is_flag=True, help="Keep the result even if not better."),
    click.option(
        "--refit", is_flag=True,
        help="Train what is kept again, on all pairs; its figures are those before.",
    ),
    click.option(
        "--on", type=click.Choice(["trunk", "vectors"]), default="trunk", show_default=True,
        help="What heads see: the base's inner features, if it has any, or its vectors.",
    ),
    click.option(
        "--loss", type=click.Choice(["infonce", "siglip"]), default="infonce",
        show_default=True, help="siglip takes many right answers, for captions that repeat.",
    ),
    click.option(
        "--weight", "weights", multiple=True, callback=_weights, metavar="PAIR=X",
        help="Weight of a pair type, e.g. image-text=2; the others have 1. Repeatable.",
    ),
    click.option(
        "--dims", default="", callback=_dims, metavar="N,N",
        help="Prefixes of the vectors to train too (Matryoshka), e.g. 64,128.",
    ),
    click.option(
        "--gap", "gap_weight", type=_WEIGHT, default=0.0, show_default=True,
        help="Weight of the penalty on the gap between two modalities' means.",
    ),
    click.option(
        "--hard", "n_hard", type=click.IntRange(0, 64), default=0, show_default=True,
        help="Hard negatives per pair, found by a search before each epoch.",
    ),
    click.option(
        "--teacher", default="", metavar="MODEL",
        help="Learn from another model too: its vectors, or their relations in another space.",
    ),
    click.option("--teacher-weight", type=_POSITIVE, default=1.0, show_default=True),
    click.option(
        "--teacher-labels", type=_PATH,
        help="Words, one a line: learn the teacher's probabilities of them instead.",
    ),
    click.option(
        "--classes", multiple=True, callback=_classes, metavar="SIDE=FILE",
        help="Classifier on the base's features (safetensors): its classes join as pairs (DeViSE).",
    ),
    click.option(
        "--label-weight", type=_WEIGHT, default=0.0, show_default=True,
        help="Pull of each vector to where these classes put it (ConSE).",
    ),
    click.option("--epochs", "n_epochs", type=click.IntRange(1, 10_000), default=30,
                 show_default=True),
    click.option("--patience", "patience_epochs", type=click.IntRange(1, 10_000), default=10,
                 show_default=True, help="Epochs without a better validation before it stops."),
    click.option("--batch-size", type=click.IntRange(2), default=512, show_default=True),
    click.option("--learning-rate", type=_POSITIVE, default=1e-3, show_default=True,
                 help="The highest; it rises for 5 % of the steps, then falls as a cosine."),
    click.option("--ema", "average_decay", type=_SHARE, default=0.99, show_default=True,
                 help="Memory of the averaged weights, which are what is kept; 0: the last."),
    click.option("--dropout", type=_SHARE, default=0.1, show_default=True,
                 help="Share of hidden values dropped; 0: several processes train as one does."),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto",
        show_default=True, help="auto: bf16 or fp16 on a GPU, fp32 on a CPU.",
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("--cache", type=_PATH, help="Folder for encoded vectors; kept."),
    click.option("--checkpoint", type=_PATH, help="File to resume from and save to."),
    click.option("--step-log", "log", type=_PATH, help="File for one JSON line per step."),
    click.option("--threads", type=click.IntRange(0, 256), help="0: one per core."),
    click.option("--workers", type=click.IntRange(0, 64), help="Decode processes."),
)  # fmt: skip


def heads_options(function: F) -> F:
    """Add the options of `train heads`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def make_job(typed: Mapping[str, Any]) -> HeadsJob:  # Any: Click has checked them
    """Turn the options into a job."""
    from retrieval.config import load_settings
    from retrieval.training.heads_job import HeadOptions, HeadsJob
    from retrieval.training.recipe import Recipe

    settings = load_settings({name: typed[name] for name in ("threads", "workers")})
    return HeadsJob(
        source=typed["pairs"],
        base=typed["base"],
        out=typed["out"].absolute(),
        cache=typed["cache"] or default_cache(),
        recipe=_some(Recipe, typed),
        options=_some(HeadOptions, typed),
        force=typed["force"],
        refit=typed["refit"],
        threads=settings.threads,
        n_workers=settings.workers,
        checkpoint=typed["checkpoint"],
        log=typed["log"],
    )


J = TypeVar("J", "Recipe", "HeadOptions")


def _some(kind: Callable[..., J], typed: Mapping[str, Any]) -> J:
    """Make a dataclass of the options that are named like its fields."""
    names = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in typed.items() if name in names})


def default_cache() -> Path:
    """Name the user's cache folder: XDG_CACHE_HOME, or `.cache` in the home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "crossfind" / "features"
