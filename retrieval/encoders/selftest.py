"""A model's self-test: tell a broken installation from a working one, and name what is broken.

A wrong checkpoint, preprocessing or projection raises no error; it makes search quietly useless.
The probe is a few things in several modalities each. Where the model's own vectors of the probe are
on record, deviations can be named exactly; otherwise only behaviour is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder, Vectors
from retrieval.errors import ModelError
from retrieval.types import Modality, Payload

# Vectors of unlike things closer than this are one and the same answer to everything.
_CONSTANT = 0.999
# Rounding differs between processors; another model or preprocessing is far below this.
_SAME = 0.97
# Ratios between sample rates that get confused: 16, 22.05, 32, 44.1 and 48 kHz.
_RATES = (16_000, 22_050, 32_000, 44_100, 48_000)

References = Mapping[Modality, Vectors]


@dataclass(frozen=True, slots=True)
class Probe:
    """The same things in several modalities, in the same order.

    Attributes:
        inputs: by modality, each a sequence of one length.
    """

    inputs: Mapping[Modality, Sequence[Payload]]


@dataclass(frozen=True, slots=True)
class Check:
    """One judgement.

    Attributes:
        name: `constant_vector`, `missing_projection`, `swapped_towers`, `wrong_sample_rate`,
            `other_weights` or `alignment`.
        subject: the modality or pair it is about.
        passed: True where all is well.
        detail: the figure behind it, for people.
    """

    name: str
    subject: str
    passed: bool
    detail: str


def self_test(
    encoder: Encoder, probe: Probe, *, references: References | None = None
) -> list[Check]:
    """Judge a model by what it makes of a probe.

    Args:
        encoder: the model, as installed.
        probe: at least two things, in at least one modality of the model.
        references: the model's vectors of this probe when it was made, float32 [N, D] by
            modality; None where there are none.

    Returns:
        One check per modality and per pair of modalities; the name of a failed one says what
        is wrong.
    """
    vectors: dict[Modality, Vectors] = {}
    checks: list[Check] = []
    for modality, inputs in probe.inputs.items():
        try:
            vectors[modality] = encoder.encode(inputs, modality=modality)
        except ModelError as error:
            checks.append(Check("missing_projection", modality, False, str(error)))
    for modality, made in vectors.items():
        checks.append(_check_constant(modality, made))
    broken = {check.subject for check in checks if not check.passed}
    for modality, made in vectors.items():
        if references is not None and modality not in broken:
            checks.append(_check_reference(encoder, probe, modality, made, references))
    broken |= {check.subject for check in checks if not check.passed}
    # A model that gives its reference vectors is as well aligned as it ever was.
    known = set(references or ())
    sound = [m for m in vectors if m not in broken and m not in known]
    for position, first in enumerate(sound):
        for second in sound[position + 1 :]:
            if encoder.space_for(first, second) == encoder.space_for(first, first):
                checks.append(_check_alignment(first, second, vectors))
    return checks


def _check_constant(modality: Modality, made: Vectors) -> Check:
    cosines = (made @ made.T)[~np.eye(len(made), dtype=bool)]
    least = float(np.min(cosines)) if len(cosines) else 0.0
    return Check(
        "constant_vector",
        modality,
        bool(made.any()) and least < _CONSTANT,
        f"least cosine between different inputs {least:.3f}",
    )


def _check_reference(
    encoder: Encoder, probe: Probe, modality: Modality, made: Vectors, references: References
) -> Check:
    """Compare with what the model gave when it was made, and name a deviation."""
    agreements = {other: _agreement(made, vectors) for other, vectors in references.items()}
    own = agreements[modality]
    nearest = max(agreements, key=lambda other: (agreements[other], other == modality))
    if nearest != modality and agreements[nearest] >= _SAME:
        detail = f"its vectors are those of {nearest} (cosine {agreements[nearest]:.3f})"
        return Check("swapped_towers", modality, False, detail)
    if own >= _SAME:
        return Check("other_weights", modality, True, f"cosine to its own reference {own:.3f}")
    if modality == "audio":
        factor, better = _best_rate(encoder, probe.inputs["audio"], references["audio"])
        if better >= max(_SAME - 0.07, own + 0.05):
            wrong_hz = encoder.media.sample_rate_hz * factor
            return Check(
                "wrong_sample_rate",
                modality,
                False,
                f"vectors fit if its sound is read at {wrong_hz:.0f} Hz (cosine {better:.3f}, "
                f"as it is {own:.3f})",
            )
    related = own >= 0.5
    name = "other_weights" if related else "missing_projection"
    return Check(name, modality, False, f"cosine to its own reference only {own:.3f}")


def _best_rate(
    encoder: Encoder, sounds: Sequence[Payload], reference: Vectors
) -> tuple[float, float]:
    """Find the ratio of sample rates at which the sounds give the reference vectors best."""
    best = (1.0, -1.0)
    for factor in sorted({a / b for a in _RATES for b in _RATES if a != b}):
        stretched = [_stretch(np.asarray(sound, np.float32), factor) for sound in sounds]
        found = _agreement(encoder.encode(stretched, modality="audio"), reference)
        if found > best[1]:
            best = (factor, found)
    return best


def _stretch(sound: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """Resample by linear interpolation, as if the rate had been `factor` times as high."""
    n_samples = max(1, round(len(sound) * factor))
    positions = np.linspace(0, len(sound) - 1, n_samples)
    return np.interp(positions, np.arange(len(sound)), sound).astype(np.float32)


def _check_alignment(
    first: Modality, second: Modality, vectors: Mapping[Modality, Vectors]
) -> Check:
    """See whether the same thing in two modalities lies nearer than different things do."""
    cosines = vectors[first] @ vectors[second].T
    same = float(np.mean(np.diag(cosines)))
    different = float(np.mean(cosines[~np.eye(len(cosines), dtype=bool)]))
    spread = float(np.std(cosines)) / max(1.0, np.sqrt(len(cosines)))
    return Check(
        "alignment",
        f"{first}-{second}",
        bool(same - different > 2 * spread),
        f"cosine of same things {same:.3f}, of different things {different:.3f}",
    )


def _agreement(made: Vectors, reference: Vectors) -> float:
    if made.shape != reference.shape:
        return -1.0
    return float(np.mean(np.sum(made * reference, axis=1)))
