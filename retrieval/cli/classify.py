"""`crossfind classify`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.around.classify import Classified, classify_by_examples, classify_by_names
from retrieval.around.session import Session, find_paths, open_session
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, print_json, print_table, say, short_path
from retrieval.config import load_settings
from retrieval.evaluation.labels import read_labels


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--labels", metavar="A,B,C", help="Choose among these words, zero-shot.")
@click.option(
    "--train", type=click.Path(path_type=Path), metavar="FILE",
    help="Learn from a csv with the columns path and label; prints k-fold figures.",
)  # fmt: skip
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT",
              help="Wording of a label, {} is the label; may be given often.")  # fmt: skip
@click.option(
    "--temperature", type=float,
    help="With --labels: p = softmax(cosine / it); if left out 0.05, sounds 0.1.",
)  # fmt: skip
@click.option("--folds", type=click.IntRange(2, 100), default=5, show_default=True,
              help="With --train: parts of the cross-validation.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="With --train: of the folds.")
@click.option("--model", metavar="NAME", help="Use this model, and no store.")
@store_option
@json_option
def command(
    paths: tuple[str, ...],
    labels: str | None,
    train: Path | None,
    prompts: tuple[str, ...],
    temperature: float | None,
    folds: int,
    seed: int,
    model: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Say of each file which of some classes it shows; PATHS may be folders.

    Files that are in the store are not encoded again.

    \b
    crossfind classify ~/Pictures --labels "dog,cat,sunset at sea"
    crossfind classify new/ --train labels.csv --json
    """
    if (labels is None) == (train is None) or (train is None and not paths):
        raise click.UsageError("give PATHS with --labels A,B,C, or --train FILE")
    if train is not None and (prompts or temperature):
        raise click.UsageError("--prompt and --temperature have no effect beside --train")
    if model and store:
        raise click.UsageError("--model has no effect beside --store: a store has its own model")
    files, skipped = find_paths(paths) if paths else ([], [])
    settings = load_settings({"model": model, "store": store})
    with open_session(settings, with_store=model is None) as session:
        if train is not None:
            result = _learn(session, files, train=train, folds=folds, seed=seed)
        else:
            names = (labels or "").split(",")
            result = _name(session, files, names=names, prompts=prompts, temperature=temperature)
    for failure in [*skipped, *result.failures]:
        say(f"skipped: {escape(failure.reason)} [{failure.code}]")
    print_json(result) if as_json else _print(result)


def _learn(session: Session, files: list[str], *, train: Path, folds: int, seed: int) -> Classified:
    return classify_by_examples(
        files,
        examples=read_labels(train),
        encoder=session.encoder,
        loader=session.loader,
        n_folds=folds,
        seed=seed,
        stored=session.stored,
    )


def _name(
    session: Session,
    files: list[str],
    *,
    names: list[str],
    prompts: tuple[str, ...],
    temperature: float | None,
) -> Classified:
    return classify_by_names(
        files,
        labels=names,
        encoder=session.encoder,
        loader=session.loader,
        prompts=prompts,
        temperature=temperature,
        stored=session.stored,
    )


def _print(result: Classified) -> None:
    for prediction in result.predictions:
        click.echo(
            f"{prediction.confidence:6.3f}  {escape(prediction.label)}  "
            f"{short_path(prediction.path)}"
        )
    if result.report is not None:
        report = result.report
        print_table(
            {
                "labelled files": f"{report.n_rows} in {len(result.classes)} classes",
                f"{result.n_folds}-fold accuracy": f"{report.accuracy:.3f}",
                "macro precision": f"{report.precision_macro:.3f}",
                "macro recall": f"{report.recall_macro:.3f}",
                "macro F1": f"{report.f1_macro:.3f}",
            }
        )
