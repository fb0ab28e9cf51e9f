"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from retrieval.types import MODALITIES

F = TypeVar("F", bound=Callable[..., Any])  # Any: Click decorates functions of every shape

store_option = click.option(
    "--store", metavar="DIR", help="Store directory; found from here upwards if left out."
)
model_option = click.option(
    "--model", metavar="NAME", help="Model of a new store (see: models list)."
)


def _set_models_dir(_: click.Context, __: click.Parameter, value: str | None) -> None:
    # The encoders read it from the settings, also in functions that never see the option.
    if value:
        os.environ["CROSSFIND_MODELS_DIR"] = os.path.abspath(os.path.expanduser(value))


models_dir_option = click.option(
    "--models-dir", metavar="DIR", expose_value=False, callback=_set_models_dir, is_eager=True,
    help="Folder with fetched models (also: CROSSFIND_MODELS).",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def hits_options(function: F) -> F:
    """Add the options of every command that prints hits."""
    for option in reversed(
        (
            click.option(
                "--for",
                "modality",
                type=click.Choice([*MODALITIES, "any"]),
                default="any",
                show_default=True,
                help="Only items of this modality.",
            ),
            click.option(
                "-k",
                type=click.IntRange(1, 1000),
                default=10,
                show_default=True,
                help="How many hits.",
            ),
            click.option(
                "--jsonl", "as_jsonl", is_flag=True, help="Print one JSON object per hit."
            ),
            click.option("-f", "--files", "as_files", is_flag=True, help="Print paths only."),
            json_option,
            store_option,
            models_dir_option,
        )
    ):
        function = option(function)
    return function


def query_options(function: F) -> F:
    """Add the options that say more about what is looked for."""
    for option in reversed(
        (
            click.option(
                "--syntax",
                type=click.Choice(["auto", "composed", "text"]),
                default="auto",
                show_default=True,
                help="Read QUERY as a composed query: if it clearly is one, always, never.",
            ),
            click.option(
                "--more-like", type=click.IntRange(min=0), multiple=True, metavar="ID",
                help="Nearer to this stored item; may be repeated.",
            ),
            click.option(
                "--less-like", type=click.IntRange(min=0), multiple=True, metavar="ID",
                help="Further from this stored item; may be repeated.",
            ),
            click.option(
                "--where", default="", metavar="CONDITION",
                help="Only items that fit, e.g. \"year>=2020 AND path LIKE '%/holiday/%'\".",
            ),
            click.option(
                "--min-confidence", type=click.FloatRange(0.0, 1.0), default=0.0, metavar="P",
                help="Only hits this sure, 0 to 1.",
            ),
            click.option(
                "--vectors-only", is_flag=True,
                help="Do not also look for the words in file names, captions and texts.",
            ),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def add_options(function: F) -> F:
    """Add the options of every command that encodes files."""
    for option in reversed(
        (
            click.argument("paths", nargs=-1, required=True, metavar="PATH|URL...",
                           type=click.Path()),
            store_option,
            model_option,
            models_dir_option,
            click.option("--workers", type=int, metavar="N", help="Decode processes; 0: by cores."),
            click.option("--threads", type=int, metavar="N", help="Encoder threads; 0: by cores."),
            click.option(
                "--decode-timeout", "decode_timeout_s", type=float, metavar="S",
                help="Skip a file that takes longer than S seconds.",
            ),
            click.option(
                "--speech", metavar="ENGINE",
                help="Write down what is said in sounds and videos, so that its words are found: "
                "pocketsphinx (extra speech; English), or whisper:FOLDER (faster-whisper).",
            ),
            click.option("--prune", is_flag=True, help="Also remove items whose files are gone."),
            click.option(
                "--on", default="", metavar="WHERE",
                help="Decode and encode on a cluster: ray (of this machine's cores), or "
                "ray://HOST:10001.",
            ),
            json_option,
        )
    ):  # fmt: skip
        function = option(function)
    return function
