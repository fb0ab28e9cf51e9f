"""A model's own vectors of the demo's probe, kept beside its weights for the self-test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval.encoders.base import Encoder
from retrieval.encoders.selftest import References
from retrieval.types import MODALITIES

_FOLDER = Path(__file__).parents[1] / "weights"


def reference_path(encoder: Encoder) -> Path:
    """Name the file; the fingerprint in it makes a stale one harmless."""
    return _FOLDER / f"{encoder.name}.{encoder.spaces[0].fingerprint[:12]}.selftest.safetensors"


def read_references(encoder: Encoder) -> References | None:
    """Read a model's reference vectors; None where none are kept for just these weights."""
    from safetensors.numpy import load_file

    try:
        path = reference_path(encoder)
        if not path.is_file():
            return None
    except OSError:  # a model's name need not be a file name
        return None
    found = load_file(path)
    return {
        modality: np.asarray(found[modality], dtype=np.float32)
        for modality in MODALITIES
        if modality in found
    }


def write_references(encoder: Encoder, vectors: References) -> Path:
    """Keep a model's vectors of the probe; called once, when the weights are made."""
    from safetensors.numpy import save_file

    path = reference_path(encoder)
    save_file({name: made.astype(np.float16) for name, made in vectors.items()}, path)
    return path
