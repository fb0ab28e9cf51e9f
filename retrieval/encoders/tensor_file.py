"""The safetensors file under every model file of ours: float32 tensors and a checked header.

The header is one JSON object, `info`: format, version, fingerprint of what the file says, and
whatever its kind adds. Nothing in such a file can run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from index.storage import publish
from retrieval.errors import ModelError

Vectors = npt.NDArray[np.float32]
Info = dict[str, Any]
"""Any: JSON, read by the kind's own `parse`, whose errors are caught here."""


class Fingerprinted(Protocol):
    """What a file says, with a digest over it."""

    @property
    def fingerprint(self) -> str:
        """Digest everything that decides a vector."""


C = TypeVar("C", bound=Fingerprinted)


@dataclass(frozen=True, slots=True)
class FileKind:
    """One kind of model file.

    Attributes:
        format: as its header names it.
        version: the newest that is known.
        maker: the command that writes one.
        again: what to do about a bad one.
    """

    format: str
    version: int
    maker: str
    again: str


def write_tensor_file(
    path: Path, *, kind: FileKind, tensors: Mapping[str, Vectors], info: Info
) -> None:
    """Write a file, whole or not at all; equal contents are equal bytes.

    Args:
        path: where; an existing file is replaced.
        kind: names the format.
        tensors: name -> float32, any shape.
        info: what the header says besides the format; JSON.

    Raises:
        StorageError: the disk refused; an existing file is as it was.
    """
    from safetensors.numpy import save

    said = json.dumps({"format": kind.format, **info}, sort_keys=True)
    # One key only: safetensors writes several in no fixed order.
    raw = save({n: np.ascontiguousarray(t) for n, t in tensors.items()}, metadata={"info": said})

    def write(out: BinaryIO) -> None:
        out.write(raw)

    publish(path, tmp=path.parent, write=write)


def read_tensor_file(
    path: Path,
    *,
    kind: FileKind,
    parse: Callable[[dict[str, Vectors], Info], C],
    check: Callable[[C], None],
) -> C:
    """Read a file and check that it is what was written.

    Args:
        path: of the file.
        kind: what it must be.
        parse: makes the contents of tensors and header; may fail with what a header of other
            keys and types makes it fail with.
        check: raises for contents that do not fit together.

    Returns:
        The contents.

    Raises:
        ModelError: absent (`model_unavailable`), no safetensors file (`unsafe_weights`), not of
            this kind (`not_a_model_file`), too new (`model_too_new`), altered
            (`model_hash_mismatch`), or as `check` says.
    """
    tensors, info = _read_raw(path, kind=kind)
    try:
        if int(info["version"]) > kind.version:
            raise ModelError(
                f"{path} has format {info['version']}; this crossfind knows up to "
                f"{kind.version}; upgrade crossfind",
                code="model_too_new",
            )
        contents, expected = parse(tensors, info), str(info["fingerprint"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} has a header that crossfind did not write ({error!r}); {kind.again}",
            code="not_a_model_file",
        ) from error
    check(contents)
    if contents.fingerprint != expected:
        raise ModelError(
            f"{path} has fingerprint {contents.fingerprint[:12]}, its header says "
            f"{expected[:12]}: the file was altered; restore it, or {kind.again}",
            code="model_hash_mismatch",
        )
    return contents


def check_tensors(
    path: Path,
    *,
    kind: FileKind,
    tensors: Mapping[str, Vectors],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse tensors of other names, shapes or types, and values that are not finite.

    Raises:
        ModelError: `model_shape` or `model_self_test_failed`.

    Example:
        >>> kind = FileKind("toy", 1, maker="make", again="make it again")
        >>> check_tensors(Path("a.toy"), kind=kind, tensors={"w": np.zeros(2, np.float32)},
        ...               shapes={"w": (2,)})
    """
    found = {name: value.shape for name, value in tensors.items()}
    if found != dict(shapes):
        raise ModelError(
            f"{path} has tensors {found}; it needs {dict(shapes)}; {kind.again}",
            code="model_shape",
        )
    for name, value in tensors.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise ModelError(
                f"{path} holds tensor {name} that is not finite float32; {kind.again}",
                code="model_self_test_failed",
            )


def _read_raw(path: Path, *, kind: FileKind) -> tuple[dict[str, Vectors], Info]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(
            f"no model file at {path}; check the path, or make one with: {kind.maker}",
            code="model_unavailable",
        )
    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a whole safetensors file ({error}); nothing of it was run; "
            f"restore it, or {kind.again}",
            code="unsafe_weights",
        ) from error
    try:
        info = json.loads(header.get("info", "null"))
    except ValueError as error:
        raise ModelError(f"{path} has a damaged header ({error}); {kind.again}",
                         code="not_a_model_file") from error  # fmt: skip
    if not isinstance(info, dict) or info.get("format") != kind.format:
        raise ModelError(
            f"{path} is a safetensors file but no {kind.format}; give one that `{kind.maker}` "
            "wrote",
            code="not_a_model_file",
        )
    return tensors, info
