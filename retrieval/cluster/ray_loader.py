"""Files loaded and encoded by actors of Ray, in the order given: in a Loader's place.

Ray Data moves blocks of files through a pool of actors, each with the model and guarded decoders of
its own. It holds back what the pool cannot take, starts dead actors again, and gives their block to
another: a killed worker costs the block it was at. What comes back are texts and vectors; one
process commits them under the writer lock, exactly once, as on one machine.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from types import TracebackType
from typing import Any

from retrieval.cluster.encoded import Row, encode_files, from_row, to_row
from retrieval.config import Settings, Value
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.errors import BackendMissingError, StoppedError, UsageError
from retrieval.media import Found
from retrieval.media.opened import open_loader
from retrieval.types import Failure, Loaded

LOCAL = "ray"
_FILES_PER_BLOCK = 64  # a killed worker costs so many files
_FILES_PER_RUN = 20_000  # of one pipeline: what Ray keeps a list of


class FileEncoder:
    """One actor: a model, and a Loader with decoders of its own."""

    def __init__(self, model: str, values: Mapping[str, Value]) -> None:
        settings = Settings(dict(values))
        self._encoder = open_encoder(
            model, threads=settings.threads, models_dir=settings.models_dir
        )
        self._loader = open_loader(
            self._encoder.media, settings=settings, n_workers=settings.workers, listens=True
        )

    def __call__(self, block: Row) -> Row:
        """Load and encode a block of jobs; as many rows come back, in their order."""
        jobs = [_job(text) for text in block["job"]]
        outcomes = [outcome for _, outcome in self._loader.load_many(jobs)]
        rows = [to_row(*done) for done in encode_files(outcomes, encoder=self._encoder)]
        return {"job": block["job"], **{n: [row[n] for row in rows] for n in ("head", "vectors")}}


class RayLoader:
    """Have a cluster of Ray load and encode files.

    Args:
        address: `ray` for a cluster of this machine's cores, or `ray://HOST:10001`.
        encoder: the store's model.
        settings: of the run; a worker takes one core each.

    Raises:
        BackendMissingError: Ray is not installed.
        UsageError: no cluster answers at the address.
    """

    def __init__(self, address: str, *, encoder: Encoder, settings: Settings) -> None:
        self._encoder = encoder
        self._values = {**settings.values, "workers": 1, "threads": 1}
        self._ray, self._is_ours = _connect(address, n_cores=settings.workers)
        self._closing = False

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Loaded | Failure]]:
        """Load and encode many files, in the order given.

        Args:
            jobs: what `scan` yields; pulled lazily, a few thousand at a time.

        Yields:
            Each file with what became of it; its payloads are for `EncodedElsewhere`.

        Raises:
            StoppedError: `close` was called meanwhile.
        """
        source = iter(jobs)
        while some := list(islice(source, _FILES_PER_RUN)):
            waiting = iter(some)
            for row in self._rows(some):
                if self._closing:
                    raise StoppedError("the loader is closed; run the same command again to go on")
                yield next(waiting), from_row(row, encoder=self._encoder)

    def close(self) -> None:
        """Stop as soon as the next file comes."""
        self._closing = True

    def __enter__(self) -> RayLoader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if self._is_ours:
            self._ray.shutdown()

    def _rows(self, jobs: list[Found]) -> Iterator[Row]:
        data = self._ray.data
        n_blocks = -(-len(jobs) // _FILES_PER_BLOCK)
        n_actors = max(1, min(n_blocks, int(self._ray.cluster_resources().get("CPU", 1))))
        gpus = self._ray.cluster_resources().get("GPU", 0)
        rows = [{"job": json.dumps(asdict(job))} for job in jobs]
        encoded = data.from_items(rows, override_num_blocks=n_blocks).map_batches(
            FileEncoder,
            fn_constructor_args=(self._encoder.name, self._values),
            compute=data.ActorPoolStrategy(size=n_actors),
            batch_size=_FILES_PER_BLOCK,
            num_cpus=1,
            num_gpus=min(1, gpus / n_actors) if gpus else None,
        )
        yield from encoded.iter_rows()


def _job(text: str) -> Found:
    found = Found(**json.loads(text))
    return replace(found, row_paths=tuple(found.row_paths))


def _connect(address: str, *, n_cores: int) -> tuple[Any, bool]:  # Any: a module without types
    """Connect this process, unless it is connected already; tell whether that was done here."""
    if address != LOCAL and not address.startswith("ray://"):
        raise UsageError(
            f"{address!r} is no cluster; write --on ray, or --on ray://HOST:10001",
            code="bad_address",
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendMissingError(
            "encoding on a cluster needs Ray: pip install 'crossfind[cluster]'"
        ) from error
    for name in ("ray", "ray.data"):  # they tell of every pipeline
        logging.getLogger(name).setLevel(logging.ERROR)
    is_ours = not ray.is_initialized()
    where = {"num_cpus": n_cores} if address == LOCAL else {"address": address}
    try:
        ray.init(
            **where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            ignore_reinit_error=True,
        )  # fmt: skip
    except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"no Ray answers at {address}: {reason}; start one with: ray start --head",
            code="cluster_unreachable",
        ) from error
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray, is_ours
