"""`crossfind models list`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import print_json, print_table
from retrieval.encoders.joined_file import SUFFIX
from retrieval.encoders.model_folder import installed, models_folder
from retrieval.encoders.registry import MODELS, PREFIXES


@click.command()
@click.option("--known", is_flag=True, help="List every model name that open_clip knows.")
@models_dir_option
@json_option
def command(known: bool, as_json: bool) -> None:
    """List the models this installation can open, and the families that can be fetched.

    \b
    crossfind models list
    crossfind models list --known
    """
    folder = models_folder()
    rows = {info.name: info.summary for info in MODELS}
    rows |= {m.name: f"{m.licence}; {m.source} at {m.revision[:12]}" for m in installed(folder)}
    rows |= {f"joined:{p.stem}": f"in {folder}" for p in sorted(folder.glob(f"*{SUFFIX}"))}
    families = {prefix + "...": about for prefix, (about, _) in PREFIXES.items()}
    if known:
        families = dict.fromkeys(_known(), "can be fetched")
    if as_json:
        models = [{"name": name, "summary": text} for name, text in rows.items()]
        print_json({"models": models, "families": list(families), "models_dir": str(folder)})
    else:
        print_table(rows | families)


def _known() -> list[str]:
    from retrieval.encoders.torch_cure import cure_torchvision

    cure_torchvision()
    import open_clip

    return [f"open_clip:{model}/{tag}" for model, tag in open_clip.list_pretrained()]
