"""Model names to encoders: the one place that knows which adapter reads which name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrieval.config import load_settings
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


def _open_clip(name: str, threads: int, models_dir: Path) -> Encoder:
    from retrieval.encoders.clip import ClipEncoder
    from retrieval.encoders.model_folder import open_model_folder
    from retrieval.encoders.torch_run import TorchOptions

    options = TorchOptions.from_settings(load_settings(), threads=threads)
    return ClipEncoder(open_model_folder(name, models_dir=models_dir), options=options)


def _clap(name: str, threads: int, models_dir: Path) -> Encoder:
    from retrieval.encoders.clap import ClapEncoder
    from retrieval.encoders.model_folder import open_model_folder
    from retrieval.encoders.torch_run import TorchOptions

    options = TorchOptions.from_settings(load_settings(), threads=threads)
    return ClapEncoder(open_model_folder(name, models_dir=models_dir), options=options)


def _joined(name: str, threads: int, models_dir: Path) -> Encoder:
    from retrieval.encoders.joined import joined_path, open_joined

    return open_joined(
        joined_path(name, models_dir=models_dir),
        name=name,
        open_base=lambda base: open_encoder(base, threads=threads, models_dir=models_dir),
    )


PREFIXES: dict[str, tuple[str, Callable[[str, int, Path], Encoder]]] = {
    "open_clip:": ("open_clip:NAME/TAG or open_clip:hf-hub:ORG/REPO: images, texts", _open_clip),
    "clap:": ("clap:ORG/REPO: sounds, texts (pip install 'crossfind[clap]')", _clap),
    "joined:": ("joined:NAME: what `models join` made of two models", _joined),
}
"""Prefix of a family of models -> one line about it, and what opens it."""


def open_encoder(
    name: str, *, threads: int, models_dir: str | os.PathLike[str] | None = None
) -> Encoder:
    """Open a model by name.

    Args:
        name: as in `models list`, or the path of a trained model, ending in `.model`.
        threads: CPU threads it may use.
        models_dir: folder with fetched models; from the settings when left out.

    Raises:
        ModelError: no such model (`unknown_model`), it is not installed (`model_unavailable`,
            with the command that fetches it), or it cannot be used.

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
        return open_trained(
            path,
            open_base=lambda base: open_encoder(base, threads=threads, models_dir=models_dir),
        )
    for prefix, (_, make) in PREFIXES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            from retrieval.encoders.model_folder import models_folder

            return make(name, threads, models_folder(models_dir))
    names = [info.name for info in MODELS]
    near = difflib.get_close_matches(name, [*names, *PREFIXES], n=1)
    known = [*names, *(f"{prefix}..." for prefix in PREFIXES)]
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    raise ModelError(f"no model is called '{name}'; {hint}", code="unknown_model")
