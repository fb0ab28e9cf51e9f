"""`crossfind models export`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import print_json
from retrieval.config import load_settings
from retrieval.doctor import demo_probe
from retrieval.encoders.model_folder import folder_name, models_folder
from retrieval.encoders.registry import open_encoder
from retrieval.errors import UsageError


@click.command()
@click.argument("name")
@click.option("--int8", is_flag=True, help="Quantise the weights to 8 bits.")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads to measure with.")
@models_dir_option
@json_option
def command(name: str, int8: bool, threads: int | None, as_json: bool) -> None:
    """Write ONNX copies of an open_clip model's towers, and measure them against torch.

    A copy is used on a CPU from then on only where it was faster here and its vectors keep a cosine
    of at least 0.995 to the original's.

    \b
    crossfind models export open_clip:ViT-B-32/laion2b_s34b_b79k --int8
    """
    from retrieval.encoders.clip import ClipEncoder
    from retrieval.encoders.export import export_onnx

    n_threads = load_settings({"threads": threads}).threads
    encoder = open_encoder(name, threads=n_threads)
    if not isinstance(encoder, ClipEncoder):
        raise UsageError(f"{name} is no open_clip model; only those are exported", code="usage")
    reports = export_onnx(
        encoder,
        folder=models_folder() / folder_name(name),
        probe=demo_probe(encoder.media).inputs,
        int8=int8,
        threads=n_threads,
    )
    if as_json:
        print_json({"name": name, "towers": reports})
        return
    for report in reports:
        verdict = "used from now on" if report.used else "not used: torch serves"
        click.echo(
            f"{report.modality}: {report.speedup:.2f} x torch, least cosine "
            f"{report.cosine:.4f}: {verdict}"
        )
