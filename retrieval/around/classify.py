"""Naming files by what they show: zero-shot from labels in words, or learnt from labelled files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.errors import UsageError
from retrieval.evaluation.classify import ClassReport
from retrieval.evaluation.encoded import LoadsMany, Stopwatch, encode_files, encode_texts
from retrieval.evaluation.labels import Label
from retrieval.evaluation.probe import fit_probe, k_folds, probe_report
from retrieval.evaluation.relevance import modality_of
from retrieval.types import Failure, Modality, Space

__all__ = [
    "PROMPTS",
    "TEMPERATURES",
    "Classified",
    "Prediction",
    "class_vectors",
    "classify_by_examples",
    "classify_by_names",
    "probabilities",
]

Vectors = npt.NDArray[np.float32]

PROMPTS: dict[Modality, tuple[str, ...]] = {
    "image": ("{}", "a photo of a {}", "a picture of {}", "a drawing of a {}"),
    "audio": ("{}", "the sound of a {}", "a recording of {}"),
    "video": ("{}", "a photo of a {}", "a video of {}"),
    "text": ("{}", "a text about {}"),
}
"""Wordings of a label by the modality of what is named; their vectors are averaged."""

TEMPERATURES: dict[Modality, float] = {"image": 0.05, "audio": 0.1, "video": 0.05, "text": 0.05}
"""Of the softmax over cosines. Measured for the starter model: 0.05 has the least log loss on the
pictures of the demo set, 0.1 on its sounds (grid 0.02 to 0.15). CLIP's own is 0.01."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a file is said to be.

    Attributes:
        path: absolute.
        label: the best class; equal scores go to the class that was named first.
        confidence: its probability among the classes given, in [0, 1].
        scores: probability of every class; they sum to 1.
    """

    path: str
    label: str
    confidence: float
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Classified:
    """Predictions, and what is known of their worth.

    Attributes:
        model: name of the model.
        method: `zero-shot` or `linear probe`.
        classes: in the order of the scores.
        predictions: in the order of the paths.
        failures: files that could not be used.
        report: cross-validated figures of a linear probe, else None.
        n_folds: of the cross-validation; 0 without one.
    """

    model: str
    method: str
    classes: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    failures: tuple[Failure, ...]
    report: ClassReport | None = None
    n_folds: int = 0


class Stored(Protocol):
    """Looks up vectors of files that need no encoding."""

    def __call__(self, paths: Sequence[str], space: Space, /) -> Mapping[str, Vectors]:
        """Map those of the paths that are known to float32 [D], unit length."""


def class_vectors(
    names: Sequence[str], *, prompts: Sequence[str], encoder: Encoder, space: Space
) -> Vectors:
    """Encode each class in several wordings and average (Radford et al. 2021, 3.1.4).

    Args:
        names: the classes, in words.
        prompts: wordings; `{}` stands for the name.
        encoder, space: whose vectors.

    Returns:
        float32 [C, D], unit length.

    Raises:
        UsageError: a prompt has no `{}` (`bad_prompt`), or the model knows no word of a class
            (`unknown_class`).

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> fake = FakeEncoder()
        >>> class_vectors(["red"], prompts=["{}"], encoder=fake, space=fake.spaces[0]).shape
        (1, 64)
    """
    for prompt in prompts:
        if "{}" not in prompt:
            raise UsageError(f"prompt {prompt!r} has no {{}} for the label", code="bad_prompt")
    total = np.zeros((len(names), space.dim), dtype=np.float32)
    for prompt in prompts:
        texts = [prompt.replace("{}", name) for name in names]
        total += encode_texts(texts, encoder=encoder, space=space, watch=Stopwatch())
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    for name, norm in zip(names, norms[:, 0].tolist(), strict=True):
        if norm < 1e-6:
            raise UsageError(
                f"label {name!r} says nothing the model {encoder.name} knows; use other words",
                code="unknown_class",
            )
    return np.asarray(total / norms, dtype=np.float32)


def probabilities(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn logits [N, C] into probabilities: softmax over the classes.

    Example:
        >>> probabilities(np.zeros((1, 2))).tolist()
        [[0.5, 0.5]]
    """
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float64)


def classify_by_names(
    paths: Sequence[str],
    *,
    labels: Sequence[str],
    encoder: Encoder,
    loader: LoadsMany,
    prompts: Sequence[str] = (),
    temperature: float | None = None,
    stored: Stored | None = None,
) -> Classified:
    """Name files zero-shot: p(class) = softmax(cosine(file, class) / temperature).

    Args:
        paths: absolute, of any modality the model knows.
        labels: two classes or more, in words, all different.
        encoder: the model.
        loader: decodes what is not stored.
        prompts: wordings for all modalities; `PROMPTS` when left out.
        temperature: > 0; smaller makes the probabilities sharper, never another order;
            `TEMPERATURES` when left out.
        stored: gives vectors of files that need no encoding.

    Returns:
        One prediction a file that could be used.

    Raises:
        UsageError: `too_few_labels`, `bad_prompt`, `bad_temperature`, `unknown_class`, or not one
            file could be used (`no_files`).
    """
    names = tuple(dict.fromkeys(name.strip() for name in labels if name.strip()))
    if len(names) < 2:
        raise UsageError(
            "give two labels or more to choose from, e.g. --labels cat,dog", code="too_few_labels"
        )
    if temperature is not None and not 0 < temperature < float("inf"):
        raise UsageError(f"temperature is {temperature}; it must be > 0", code="bad_temperature")
    found: dict[str, npt.NDArray[np.float64]] = {}
    failures: list[Failure] = []
    for modality, group in _by_modality(paths).items():
        space = encoder.space_for("text", _part_modality(modality))
        targets = class_vectors(
            names, prompts=prompts or PROMPTS[modality], encoder=encoder, space=space
        )
        known = _vectors(group, encoder=encoder, space=space, loader=loader, stored=stored,
                         failures=failures)  # fmt: skip
        scale = temperature or TEMPERATURES[modality]
        found |= {path: (targets @ v).astype(np.float64) / scale for path, v in known.items()}
    return Classified(
        model=encoder.name,
        method="zero-shot",
        classes=names,
        predictions=_predictions(paths, found, names, failures),
        failures=tuple(failures),
    )


def classify_by_examples(
    paths: Sequence[str],
    *,
    examples: Sequence[Label],
    encoder: Encoder,
    loader: LoadsMany,
    n_folds: int = 5,
    seed: int = 0,
    stored: Stored | None = None,
) -> Classified:
    """Learn classes from labelled files by a linear probe, measure it, and name further files.

    Args:
        paths: absolute; may be empty, then only the measurement is made.
        examples: labelled files of one modality.
        encoder, loader, stored: see `classify_by_names`.
        n_folds: of the cross-validation; every figure comes from files the fit had not seen.
        seed: of the folds.

    Returns:
        Predictions of the fit on all examples, and the cross-validated report.

    Raises:
        UsageError: examples of several modalities (`mixed_modalities`), a class with fewer than
            two usable files (`too_few_examples`), or no usable file (`no_files`).
    """
    modalities = {modality_of(Path(e.path)) for e in examples}
    if len(modalities) != 1:
        raise UsageError(
            f"the labelled files are of {', '.join(sorted(modalities))}; give one modality a table",
            code="mixed_modalities",
        )
    space = encoder.space_for("text", _part_modality(modalities.pop()))
    failures: list[Failure] = []
    by_path = {example.path: example.label for example in examples}
    learnt = _vectors(list(by_path), encoder=encoder, space=space, loader=loader, stored=stored,
                      failures=failures)  # fmt: skip
    classes, truth = _classes(
        [by_path[path] for path in learnt], n_folds=n_folds, failures=failures
    )
    vectors = np.stack(list(learnt.values()))
    folds = k_folds(truth, k=n_folds, seed=seed)
    report = probe_report(vectors, labels=truth, n_classes=len(classes), folds=folds)
    probe = fit_probe(vectors, labels=truth, n_classes=len(classes))
    found: dict[str, npt.NDArray[np.float64]] = {}
    if paths:
        known = _vectors(paths, encoder=encoder, space=space, loader=loader, stored=stored,
                         failures=failures)  # fmt: skip
        found = {path: probe.weights @ vector + probe.bias for path, vector in known.items()}
    return Classified(
        model=encoder.name,
        method="linear probe",
        classes=classes,
        predictions=_predictions(paths, found, classes, failures) if paths else (),
        failures=tuple(failures),
        report=report,
        n_folds=n_folds,
    )


def _classes(
    labels: Sequence[str], *, n_folds: int, failures: Sequence[Failure]
) -> tuple[tuple[str, ...], Labels]:
    classes = tuple(sorted(set(labels)))
    truth = np.array([classes.index(label) for label in labels], dtype=np.int64)
    counts = np.bincount(truth, minlength=len(classes))
    if len(classes) < 2 or counts.min() < 2 or len(labels) < n_folds:
        few = classes[int(counts.argmin())] if classes else "(none)"
        why = f"; the first that could not be used: {failures[0].reason}" if failures else ""
        raise UsageError(
            f"{len(labels)} usable files in {len(classes)} classes are too few for {n_folds} "
            f"folds (class {few!r} has {counts.min() if len(counts) else 0}); give two files or "
            f"more of two classes or more, and no more folds than files{why}",
            code="too_few_examples",
        )
    return classes, truth


Labels = npt.NDArray[np.int64]


def _by_modality(paths: Sequence[str]) -> dict[Modality, list[str]]:
    groups: dict[Modality, list[str]] = {}
    for path in dict.fromkeys(paths):
        groups.setdefault(modality_of(Path(path)), []).append(path)
    return groups


def _part_modality(modality: Modality) -> Modality:
    return "image" if modality == "video" else modality


def _vectors(
    paths: Sequence[str],
    *,
    encoder: Encoder,
    space: Space,
    loader: LoadsMany,
    stored: Stored | None,
    failures: list[Failure],
) -> dict[str, Vectors]:
    """Give one vector a usable file, in the order of the paths: stored, else encoded."""
    found = dict(stored(paths, space)) if stored is not None else {}
    missing = [path for path in dict.fromkeys(paths) if path not in found]
    if missing:
        try:
            files = encode_files(
                missing, encoder=encoder, space=space, loader=loader, watch=Stopwatch()
            )
        except UsageError as error:
            if error.code != "no_files":
                raise
            # Other groups of files may still be usable; `_predictions` tells if none was.
            failures += [Failure(path, error.code, str(error)) for path in missing]
        else:
            failures += files.failures
            found.update(zip(files.paths, files.means(), strict=True))
    return {path: found[path] for path in dict.fromkeys(paths) if path in found}


def _predictions(
    paths: Sequence[str],
    logits: Mapping[str, npt.NDArray[np.float64]],
    classes: Sequence[str],
    failures: Sequence[Failure],
) -> tuple[Prediction, ...]:
    kept = [path for path in dict.fromkeys(paths) if path in logits]
    if not kept:
        raise UsageError(
            f"none of {len(paths)} files could be used; the first: "
            f"{failures[0].reason if failures else 'no file was found'}",
            code="no_files",
        )
    shares = probabilities(np.stack([logits[path] for path in kept]))
    return tuple(
        Prediction(
            path=path,
            label=classes[int(row.argmax())],
            confidence=float(row.max()),
            scores=dict(zip(classes, row.tolist(), strict=True)),
        )
        for path, row in zip(kept, shares, strict=True)
    )
