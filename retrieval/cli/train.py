"""`crossfind train`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from retrieval.cli.options import json_option
from retrieval.cli.output import escape, plural, print_json, print_table, say
from retrieval.cli.stop import stop_on_signals
from retrieval.cli.training_options import heads_options, make_job

if TYPE_CHECKING:
    from retrieval.training.heads_job import HeadsReport, Watchers

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Train on your own pairs, or the starter model itself.

    \b
    crossfind train heads --pairs pairs.csv --out my.model
    crossfind index build ~/Pictures --store mine --model ./my.model
    """


@command.command()
@heads_options
@json_option
def heads(as_json: bool, **typed: object) -> None:
    """Fit a base model to your pairs: small heads on it, in minutes.

    PAIRS is a csv or jsonl with the columns image, audio, text (any two; paths relative to it), a
    folder of files with equal names (a.jpg a.txt a.wav), or webdataset shards (.tar). A third of
    the pairs is held out; the model is written only if its recall there improves beyond its 95 %
    confidence interval. The result is a model name like any other.

    \b
    crossfind train heads --pairs pairs.csv --out my.model
    crossfind train heads --pairs photos/ --base starter --out my.model --epochs 60 --loss siglip
    crossfind train heads --pairs clips.tar --out my.model --hard 4 --dims 64,128 --gap 0.1
    crossfind train heads --pairs pairs.jsonl --out my.model --teacher other.model
    torchrun --nproc-per-node 2 --no-python crossfind train heads --pairs pairs.csv --out my.model
    """
    from retrieval.training.run_heads import run_heads

    job = make_job(typed)
    with stop_on_signals() as stop, _watchers(stop) as watchers:
        report = run_heads(job, watchers=watchers)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun one process speaks for all
        _print_report(report, as_json=as_json)
    if report.path is None:
        raise click.exceptions.Exit(1)


@command.command()
@click.option("--sources", type=_PATH, required=True, help="TOML: where sources are installed.")
@click.option("--work", type=_PATH, required=True, help="Folder that keeps what each stage made.")
@click.option("--out", type=_PATH, required=True, help="Folder for the weights.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def starter(sources: Path, work: Path, out: Path, seed: int, as_json: bool) -> None:
    """Train the starter model again, from licensed sources to the files that ship.

    SOURCES says where they are installed; retrieval/training/starter/sources.toml is an example.
    A stage whose result is in WORK is not done again.

    \b
    crossfind train starter --sources sources.toml --work work/ --out weights/
    """
    from retrieval.training.starter.installed import read_sources
    from retrieval.training.starter.run import Plan, run

    told = run(read_sources(sources), work=work, out=out, plan=Plan(seed=seed), tell=say)
    print_json(told) if as_json else print_table({k: str(v) for k, v in told.items()})


@contextmanager
def _watchers(stop: Event) -> Iterator[Watchers]:
    """Show a bar for encoding and one for training on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from retrieval.training.heads_job import Watchers

    with Progress(console=Console(stderr=True), transient=True) as bar:
        encoding, training = (
            bar.add_task("encoding", total=None),
            bar.add_task("training", total=None),
        )
        yield Watchers(
            on_encode=lambda done, total: bar.update(encoding, completed=done, total=total),
            on_step=lambda step: bar.update(
                training,
                completed=step.step,
                total=step.n_steps,
                description=f"training, loss {step.loss:.3f}",
            ),
            stop=stop,
        )


def _print_report(report: HeadsReport, *, as_json: bool) -> None:
    for failure in report.failures:
        say(f"skipped: {escape(failure.reason)} [{failure.code}]")
    if as_json:
        print_json(report)
        return
    verdict, gain = report.adoption, report.adoption.gain
    print_table(
        {
            "pairs": ", ".join(f"{n} {kind}" for kind, n in report.n_pairs.items()),
            "held out": plural(report.n_rows["test"], "pair"),
            "recall before": f"{verdict.before.value:.3f}",
            "recall after": f"{verdict.after.value:.3f}",
            "gain": f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
            "learnt share": ", ".join(f"{side} {x:.1f}" for side, x in report.shares.items())
            or "all (heads on vectors)",
            "lessons": ", ".join(report.lessons) or "pairs alone",
            **{
                f"recall at {dim} dims": f"{r['before']:.3f} before, {r['after']:.3f} after"
                for dim, r in report.prefixes.items()
            },
            "model": _kept(report),
        }
    )
    if report.path is None:
        say("the gain could be chance: give more pairs, or keep it all the same with --force")


def _kept(report: HeadsReport) -> str:
    if report.path is None:
        return "not adopted"
    return escape(report.path) + (", trained again on all pairs" if report.refitted else "")
