"""`crossfind models join`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import escape, print_json, print_table, say
from retrieval.cli.training_options import default_cache
from retrieval.config import load_settings
from retrieval.encoders.joined import joined_path
from retrieval.encoders.model_folder import models_folder

if TYPE_CHECKING:
    from retrieval.training.join import JoinReport

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--image", required=True, metavar="NAME", help="Model of pictures and texts.")
@click.option("--audio", required=True, metavar="NAME", help="Model of sounds and texts.")
@click.option("--out", required=True, metavar="NAME", help="The joined model is joined:NAME.")
@click.option("--captions", type=_PATH, help="Text file, one caption a line; made if left out.")
@click.option("--n-captions", type=click.IntRange(100, 100_000), default=20_000, show_default=True)
@click.option("--pairs", type=_PATH, help="Sounds with texts or pictures, as `train heads` reads.")
@click.option("--sounds", type=_PATH, multiple=True, help="Sounds of any kind, where no --pairs.")
@click.option("--hidden", type=click.IntRange(0, 8192), default=512, show_default=True,
              help="Width of the residual head; 0: ridge regression alone.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@models_dir_option
@json_option
def command(
    image: str, audio: str, out: str, captions: Path | None, n_captions: int, pairs: Path | None,
    sounds: tuple[Path, ...], hidden: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Join a picture model and a sound model into one, with texts as the bridge.

    The picture model stays as it is. Sounds are carried into its space by a map fitted on captions
    that both text towers read; with 500 pairs or more the map is trained on. Texts go on finding
    sounds in the sound model's own space.

    \b
    crossfind models join --image open_clip:ViT-B-32/laion2b_s34b_b79k \\
        --audio clap:laion/clap-htsat-unfused --out clip-clap
    crossfind index build ~/Media --model joined:clip-clap
    """
    from retrieval.training.bridge import FitOptions
    from retrieval.training.join import JoinJob, run_join

    settings, folder = load_settings(), models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    job = JoinJob(
        image=image, audio=audio, out=joined_path(out, models_dir=folder), captions=captions,
        pairs=pairs, sounds=sounds or _demo_sounds(), cache=default_cache(),
        n_captions=n_captions, options=FitOptions(dim_hidden=hidden, seed=seed),
        threads=settings.threads, n_workers=settings.workers,
    )  # fmt: skip
    report = run_join(job, on_text=_tell)
    print_json(report) if as_json else _print(report)
    say(f"try: crossfind index build PATH --model joined:{job.out.stem}")


def _demo_sounds() -> tuple[Path, ...]:
    from retrieval.demo.run import load_demo

    demo = load_demo()
    return tuple(demo.path(item.name) for item in demo.items if item.modality == "audio")


def _tell(n_done: int, n_total: int) -> None:
    if n_done == n_total or n_done % 4096 == 0:
        say(f"{n_done} of {n_total} captions encoded by both models")


def _print(report: JoinReport) -> None:
    head = f"with a residual head of {report.dim_hidden}" if report.dim_hidden else "alone"
    rows: dict[str, object] = {
        "captions": f"{report.n_captions}, of which {report.n_held_out} held out",
        "bridge": f"ridge regression, lambda {report.ridge_lambda:g}, {head}",
        "held-out text to text": _figures(report.text_text),
    }
    told = {"sound model alone": report.before, "bridge by texts": report.bridged,
            "bridge by texts and pairs": report.after}  # fmt: skip
    rows |= {name: _figures(found) for name, found in told.items() if found}
    if report.n_pairs and not report.trained_on_pairs:
        rows["pairs"] = f"{report.n_pairs}: too few to train on, used to judge"
    print_table({**rows, "file": escape(report.path), "seconds": f"{report.seconds:.0f}"})


def _figures(found: dict[str, float]) -> str:
    parts = []
    for name, value in found.items():
        if not name.endswith("_chance"):
            chance = found.get(f"{name}_chance")
            about = "" if chance is None else f" (chance {chance:.3f})"
            parts.append(f"{name} {value:.3f}{about}")
    return ", ".join(parts)
