"""Model names to encoders: the one place that knows which adapter reads which name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrieval.encoders.base import Encoder
from retrieval.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `models list` shows of a model.

    Attributes:
        name: as a user writes it.
        summary: one line.
        make: opens it; takes the number of threads.
    """

    name: str
    summary: str
    make: Callable[[int], Encoder]


def _starter(threads: int) -> Encoder:
    from retrieval.encoders.starter import StarterEncoder

    return StarterEncoder(threads=threads)


def _fake(_threads: int) -> Encoder:
    from retrieval.encoders.fake import FakeEncoder

    return FakeEncoder()


MODELS: tuple[ModelInfo, ...] = (
    ModelInfo("starter", "ships in the package; images, sounds and texts; works offline", _starter),
    ModelInfo("fake", "colours only, no model at all; for tests and dry runs", _fake),
)


def canonical_name(name: str) -> str:
    """Write a model's name as stores keep it: the path of a model file is made absolute.

    Example:
        >>> canonical_name("starter"), canonical_name("/models/./my.model")
        ('starter', '/models/my.model')
    """
    return os.path.abspath(os.path.expanduser(name)) if name.endswith(".model") else name


def open_encoder(name: str, *, threads: int) -> Encoder:
    """Open a model by name.

    Args:
        name: as in `models list`, or the path of a trained model, ending in `.model`.
        threads: CPU threads it may use.

    Raises:
        ModelError: no such model (`unknown_model`), or it cannot be used.

    Example:
        >>> open_encoder("fake", threads=1).spaces[0].dim
        64
    """
    for info in MODELS:
        if info.name == name:
            return info.make(threads)
    if name.endswith(".model"):
        from retrieval.encoders.trained import open_trained

        path = Path(canonical_name(name))
        return open_trained(path, open_base=lambda base: open_encoder(base, threads=threads))
    names = [info.name for info in MODELS]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    raise ModelError(f"no model is called '{name}'; {hint}", code="unknown_model")
