"""Files with class labels: zero-shot from the labels' names, and a linear probe."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.errors import UsageError
from retrieval.evaluation.bootstrap import Interval, bootstrap
from retrieval.evaluation.classify import ClassReport, class_report, zero_shot
from retrieval.evaluation.encoded import LoadsMany, Stopwatch, encode_files, encode_texts
from retrieval.evaluation.probe import k_folds, leave_one_group_out, probe_report
from retrieval.evaluation.relevance import modality_of
from retrieval.types import Failure

__all__ = ["Label", "LabelReport", "evaluate_labels", "read_labels"]


@dataclass(frozen=True, slots=True)
class Label:
    """A file and what it shows.

    Attributes:
        path: absolute.
        label: the class, in words: it is what zero-shot encodes.
        group: who or what it comes from, or None; kept apart by the probe.
    """

    path: str
    label: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What a model makes of labelled files.

    Attributes:
        model: its name.
        classes: the labels, sorted; figures per class go by position here.
        zero_shot: nearest label name wins.
        zero_shot_accuracy: with its 95 % bootstrap interval.
        probe: logistic regression on the vectors, every row predicted by a fit without it.
        probe_folds: `5-fold` or `leave-one-group-out`.
        failures: files that could not be used.
    """

    model: str
    classes: tuple[str, ...]
    zero_shot: ClassReport
    zero_shot_accuracy: Interval
    probe: ClassReport
    probe_folds: str
    failures: tuple[Failure, ...]

    def to_json(self) -> str:
        """Write it as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def read_labels(table: Path) -> list[Label]:
    """Read a csv with the columns `path`, `label` and if wanted `group`; paths relative to it.

    Raises:
        UsageError: not such a table (`bad_labels`), or fewer than two classes (`one_class`).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "labels.csv")
        ...     _ = table.write_text("path,label\\na.png,cat\\nb.png,dog\\n")
        ...     [label.label for label in read_labels(table)]
        ['cat', 'dog']
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, restkey="", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read labels from {table}: {error}", code="bad_labels") from error
    if not rows or not {"path", "label"} <= rows[0].keys():
        raise UsageError(f"{table} needs the columns path and label", code="bad_labels")
    base = table.parent.absolute()
    out = [
        # The scan names files without `..`, and so must who looks them up.
        Label(os.path.normpath(base / row["path"]), row["label"].strip(), row.get("group") or None)
        for row in rows
        if row["path"] and row["label"].strip()
    ]
    if len({label.label for label in out}) < 2:
        raise UsageError(f"{table} has fewer than two classes to tell apart", code="one_class")
    return out


def evaluate_labels(
    labels: Sequence[Label],
    *,
    encoder: Encoder,
    loader: LoadsMany,
    prompt: str = "{}",
    n_folds: int = 5,
    seed: int = 0,
) -> LabelReport:
    """Measure a model as a classifier.

    Args:
        labels: of files of one modality.
        encoder: the model.
        loader: decodes files in the form it wants.
        prompt: what is encoded for a class; `{}` stands for the label.
        n_folds: of the probe, where no groups are given.
        seed: of folds and interval.

    Returns:
        The figures.

    Raises:
        UsageError: no file could be used (`no_files`), or the prompt has no `{}` (`bad_prompt`).
        ModelError: the model does not hold text and these files in one space.
    """
    if "{}" not in prompt:
        raise UsageError(f"prompt {prompt!r} has no {{}} for the label", code="bad_prompt")
    space = encoder.space_for("text", modality_of(Path(labels[0].path)))
    by_path = {label.path: label for label in labels}
    watch = Stopwatch()
    files = encode_files(list(by_path), encoder=encoder, space=space, loader=loader, watch=watch)
    vectors, kept = files.means(), [by_path[path] for path in files.paths]
    classes = sorted({label.label for label in labels})
    truth = np.array([classes.index(label.label) for label in kept], dtype=np.int64)
    names = [prompt.replace("{}", name) for name in classes]
    class_vectors = encode_texts(names, encoder=encoder, space=space, watch=watch)
    predicted = zero_shot(vectors, class_vectors=class_vectors)
    groups = _groups(kept)
    folds = k_folds(truth, k=n_folds, seed=seed) if groups is None else leave_one_group_out(groups)
    return LabelReport(
        model=encoder.name,
        classes=tuple(classes),
        zero_shot=class_report(truth, predicted=predicted, n_classes=len(classes)),
        zero_shot_accuracy=bootstrap((truth == predicted).astype(np.float64), seed=seed),
        probe=probe_report(vectors, labels=truth, n_classes=len(classes), folds=folds),
        probe_folds=f"{n_folds}-fold" if groups is None else "leave-one-group-out",
        failures=files.failures,
    )


def _groups(labels: Sequence[Label]) -> npt.NDArray[np.int64] | None:
    """Number the groups; None where they are not given, or not for all, or all the same."""
    names = [label.group for label in labels]
    if None in names or len(set(names)) < 2:
        return None
    return np.asarray(np.unique(np.array(names), return_inverse=True)[1], dtype=np.int64)
