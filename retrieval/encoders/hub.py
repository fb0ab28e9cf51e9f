"""The one place that talks to a model hub, and only when a user has named a model to fetch."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retrieval.errors import ModelError, StorageError

_DISK = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at the hub.

    Attributes:
        name: path inside the repository.
        size_bytes: as the hub says.
        sha256: as the hub says; empty for small files, for which it keeps none.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A repository at one commit.

    Attributes:
        repo: ORG/NAME.
        revision: the commit, 40 hex digits.
        licence: as its card says; `unknown` where it says nothing.
        files: all of them.
    """

    repo: str
    revision: str
    licence: str
    files: tuple[RemoteFile, ...]


class Hub(Protocol):
    """What fetching needs of a hub; tests put a folder in its place."""

    def describe(self, repo: str, *, revision: str) -> RemoteModel:
        """List a repository's files; `revision` is a branch, tag or commit, or empty."""

    def download(self, remote: RemoteModel, *, name: str, folder: Path) -> Path:
        """Put one file under `folder`, keeping its name; return where it is."""


class HuggingFaceHub:
    """The Hugging Face hub, by its own client; HF_TOKEN and HF_ENDPOINT are honoured."""

    def describe(self, repo: str, *, revision: str) -> RemoteModel:
        """List a repository's files at the commit that `revision` names now."""
        with _translated(repo):
            from huggingface_hub import HfApi

            info = HfApi().model_info(repo, revision=revision or None, files_metadata=True)
        data: Any = info.card_data  # Any: untyped in the client
        card = data.to_dict() if data else {}
        tagged = [t.partition(":")[2] for t in info.tags or () if t.startswith("license:")]
        licence = str(card.get("license_name") or card.get("license") or "")
        return RemoteModel(
            repo=repo,
            revision=str(info.sha or ""),
            licence=licence or next(iter(tagged), "unknown"),
            files=tuple(
                RemoteFile(
                    name=file.rfilename,
                    size_bytes=int(file.size or 0),
                    sha256=str(file.lfs.sha256) if file.lfs else "",
                )
                for file in info.siblings or ()
            ),
        )

    def download(self, remote: RemoteModel, *, name: str, folder: Path) -> Path:
        """Download one file of the pinned commit; an interrupted download goes on."""
        with _translated(remote.repo):
            from huggingface_hub import hf_hub_download

            return Path(
                hf_hub_download(
                    remote.repo, filename=name, revision=remote.revision, local_dir=str(folder)
                )
            )


@contextmanager
def _translated(repo: str) -> Iterator[None]:
    """Turn the client's errors, which come from three libraries, into one of ours."""
    from huggingface_hub import constants

    # An encoder opened before in this process has forbidden the network; this fetch is allowed,
    # unless the user has forbidden it too.
    before, constants.HF_HUB_OFFLINE = (
        constants.HF_HUB_OFFLINE,
        os.environ.get("CROSSFIND_OFFLINE", "") not in ("", "0"),
    )
    try:
        yield
    except _client_errors() as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise StorageError(f"cannot keep files of {repo}: {error}", code="disk_full") from error
        raise _unreachable(repo, error) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _client_errors() -> tuple[type[Exception], ...]:
    """List what the client raises; its HTTP library is httpx or requests, by its version."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    found: list[type[Exception]] = [HfHubHTTPError, HFValidationError, OSError, RuntimeError]
    for module, name in (("httpx", "HTTPError"), ("requests", "RequestException")):
        if importlib.util.find_spec(module) is not None:
            found.append(getattr(importlib.import_module(module), name))
    return tuple(found)


def _unreachable(repo: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(
        f"the hub gave nothing of {repo} ({reason}); check the name and the network, or fetch on "
        "another machine with --models-dir DIR and copy the model's folder",
        code="model_unavailable",
    )
