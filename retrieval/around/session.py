"""A model and a loader for commands that work with a store where there is one, and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.config import Settings, expand_home
from retrieval.contents import stored_vectors
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.engine import Engine
from retrieval.errors import NotFoundError
from retrieval.media import Loader, scan
from retrieval.types import Failure, Space

__all__ = ["Session", "find_paths", "open_session"]


@dataclass(frozen=True)
class Session:
    """What such a command works with.

    Attributes:
        encoder: of the store, else of the settings.
        loader: decodes in the form it wants.
        engine: of the store, or None where there is none.
        catalog_url: see `read_contents`.
    """

    encoder: Encoder
    loader: Loader
    engine: Engine | None
    catalog_url: str

    def stored(self, paths: Sequence[str], space: Space) -> Mapping[str, npt.NDArray[np.float32]]:
        """Look up files in the store; empty without one. See `stored_vectors`."""
        if self.engine is None:
            return {}
        return stored_vectors(self.engine, paths=paths, space=space, catalog_url=self.catalog_url)


@contextmanager
def open_session(settings: Settings, *, with_store: bool = True) -> Iterator[Session]:
    """Open the store that is named or found, with its model; else the model of the settings.

    Args:
        settings: resolved.
        with_store: False leaves a store out of it, e.g. because a model was named.

    Raises:
        NotFoundError: a store was named and is not there (`no_store`).
    """
    with ExitStack() as stack:
        engine = None
        if with_store:
            try:
                engine = stack.enter_context(Engine.open(settings=settings))
            except NotFoundError:
                if settings.store:
                    raise
        if engine is not None:
            encoder = engine.encoder
        else:
            opened = open_encoder(settings.model, threads=settings.threads)
            encoder = stack.enter_context(closing(opened))
        loader = stack.enter_context(Loader(spec=encoder.media, n_workers=settings.workers))
        yield Session(encoder, loader, engine, settings.catalog)


def find_paths(roots: Sequence[str]) -> tuple[list[str], list[Failure]]:
    """List the media files under files and folders, absolute, with what cannot be taken.

    Raises:
        UsageError: a root does not exist (`path_missing`).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_text("a dog")
        ...     [Path(path).name for path in find_paths([folder])[0]]
        ['a.txt']
    """
    skipped: list[Failure] = []
    wanted = [expand_home(root).absolute() for root in roots]
    return [found.path for found in scan(wanted, on_skip=skipped.append)], skipped
