"""The last verification of a store, remembered beside it: when, of what, with which result."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from index.storage import publish
from retrieval.errors import StorageError
from retrieval.store import Store
from retrieval.verify import VerifyReport

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verified:
    """A verification.

    Attributes:
        at: when it ended, ISO 8601 in UTC; for people, nothing is decided by it.
        generation: of the store then.
        n_segments, n_index_files, n_rows, n_encoded: see `VerifyReport`.
        n_findings: what was not as it was written.
        n_repaired: those of them that were mended.
    """

    at: str
    generation: int
    n_segments: int
    n_index_files: int
    n_rows: int
    n_encoded: int
    n_findings: int
    n_repaired: int


def remember(report: VerifyReport, *, store: Store, generation: int) -> None:
    """Write down a verification; a store that cannot be written to is left as it is."""
    verified = Verified(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        generation=generation,
        n_segments=report.n_segments,
        n_index_files=report.n_index_files,
        n_rows=report.n_rows,
        n_encoded=report.n_encoded,
        n_findings=len(report.findings),
        n_repaired=sum(finding.repaired for finding in report.findings),
    )
    text = json.dumps(asdict(verified))

    def write(sink: BinaryIO) -> None:
        sink.write(f"{text}\n".encode())

    try:
        publish(store.verified, tmp=store.tmp, write=write)
    except StorageError as error:  # perhaps a writer has just cleaned tmp/
        _log.warning("the verification is not remembered: %s", error)


def last_verified(store: Store) -> Verified | None:
    """Read the last verification; None where there was none, or its record is no more."""
    try:
        return Verified(**json.loads(store.verified.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be read: %s", store.verified, error)
        return None
