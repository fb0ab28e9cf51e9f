"""Model names to encoders: the one place that knows which adapter reads which name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

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


def open_encoder(name: str, *, threads: int) -> Encoder:
    """Open a model by name.

    Args:
        name: as in `models list`.
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
    names = [info.name for info in MODELS]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    raise ModelError(f"no model is called '{name}'; {hint}", code="unknown_model")
