"""The part of `crossfind evaluate` that measures a model on labelled files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from retrieval.cli.output import escape, print_json, print_table, say
from retrieval.config import load_settings
from retrieval.encoders.registry import open_encoder
from retrieval.evaluation.classify import ClassReport
from retrieval.evaluation.labels import LabelReport, evaluate_labels, read_labels
from retrieval.media import Loader


def run_labels(table: Path, *, model: str | None, prompt: str, seed: int, as_json: bool) -> None:
    """Measure a model as a classifier and print the figures."""
    labels, settings = read_labels(table), load_settings({"model": model})
    with (
        closing(open_encoder(settings.model, threads=settings.threads)) as encoder,
        Loader(spec=encoder.media, n_workers=settings.workers) as loader,
    ):
        report = evaluate_labels(labels, encoder=encoder, loader=loader, prompt=prompt, seed=seed)
    for failure in report.failures:
        say(f"skipped: {escape(failure.reason)} [{failure.code}]")
    print_json(report) if as_json else _print(report)


def _print(report: LabelReport) -> None:
    interval = report.zero_shot_accuracy
    print_table(
        {
            "model": escape(report.model),
            "files": f"{report.zero_shot.n_rows} in {len(report.classes)} classes",
            "zero-shot": _line(report.zero_shot)
            + f"   ({interval.low:.3f} to {interval.high:.3f})",
            f"linear probe, {report.probe_folds}": _line(report.probe),
        }
    )


def _line(report: ClassReport) -> str:
    return (
        f"accuracy {report.accuracy:.3f}   macro precision {report.precision_macro:.3f}   "
        f"recall {report.recall_macro:.3f}   F1 {report.f1_macro:.3f}"
    )
