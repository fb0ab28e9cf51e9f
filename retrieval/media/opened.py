"""A Loader as the settings want it: how many decoders, their limits, and whether they listen."""

from __future__ import annotations

import logging
from dataclasses import replace

from retrieval.config import Settings
from retrieval.errors import BackendMissingError
from retrieval.media.speech import check_engine
from retrieval.media.workers import Loader
from retrieval.types import MediaSpec

_log = logging.getLogger(__name__)

# Decoded files that may wait while a batch is encoded: two batches of pictures.
_LOOK_AHEAD = 128


def open_loader(
    spec: MediaSpec, *, settings: Settings, n_workers: int, listens: bool = False
) -> Loader:
    """Open a Loader.

    Args:
        spec: the form in which media are wanted.
        settings: limits of the decoders; the engine that writes down what is said.
        n_workers: decode processes.
        listens: whether that engine is used; where it is not installed, one warning says so.

    Example:
        >>> from retrieval.config import load_settings
        >>> settings = load_settings({"decode_timeout_s": 5.0}, environment={})
        >>> with open_loader(MediaSpec(), settings=settings, n_workers=1) as loader:
        ...     type(loader).__name__
        'Loader'
    """
    wanted = _listening(spec, settings) if listens else spec
    return Loader(
        spec=wanted,
        n_workers=n_workers,
        timeout_s=settings.decode_timeout_s + (wanted.speech_s if wanted.speech else 0),
        memory_bytes=settings.decode_memory_bytes,
        look_ahead=_LOOK_AHEAD,
    )


def _listening(spec: MediaSpec, settings: Settings) -> MediaSpec:
    try:
        check_engine(settings.speech)
    except BackendMissingError as error:
        _log.warning("%s; sounds are added without what is said in them", error)
        return spec
    return replace(spec, speech=settings.speech, speech_s=settings.speech_s)
