"""Vectors kept between runs, keyed by the Space's fingerprint and the SHA-256 of the content."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from index.storage import publish
from retrieval.types import Modality, Space

__all__ = ["VectorCache"]

_log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]


class VectorCache:
    """Remember vectors of one Space and modality as blocks of a safetensors file each.

    A block that is damaged is dropped with a warning: its content is simply encoded again.

    Args:
        folder: of all caches; the Space gets a folder of its own inside.
        space: whose vectors.
        modality: of what was encoded: one text and one picture may have the same bytes.

    Example:
        >>> import tempfile
        >>> space = Space("s", "m", "ab" * 32, 2, ("text",))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = VectorCache(Path(folder), space=space, modality="text")
        ...     cache.add({"11" * 32: np.array([1, 0], dtype=np.float32)})
        ...     again = VectorCache(Path(folder), space=space, modality="text")
        ...     again.get("11" * 32).tolist(), "22" * 32 in again
        ([1.0, 0.0], False)
    """

    def __init__(self, folder: Path, *, space: Space, modality: Modality) -> None:
        self._folder = folder / space.fingerprint[:32]
        self._space = space
        self._modality = modality
        self._known: dict[str, Vectors] = {}
        for path in sorted(self._folder.glob(f"{modality}-*.safetensors")):
            self._known.update(self._read(path))

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Vectors:
        """Return the vector float32 [D] of a key that is there; `key in cache` says whether."""
        return self._known[key]

    def missing(self, keys: Iterable[str]) -> list[str]:
        """List the keys that are not there, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._known]

    def add(self, vectors: Mapping[str, Vectors]) -> None:
        """Keep vectors float32 [D] by their keys, on disk too.

        Raises:
            StorageError: the disk refused; nothing was added.
        """
        from safetensors.numpy import save

        if not vectors:
            return
        tensors: dict[str, npt.NDArray[Any]] = {  # Any: uint8 and float32
            "keys": np.array([list(bytes.fromhex(key)) for key in vectors], dtype=np.uint8),
            "vectors": np.stack(list(vectors.values())).astype(np.float32),
        }
        raw = save(tensors, metadata={"fingerprint": self._space.fingerprint,
                                      "sha256": _digest(tensors)})  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._modality}-{uuid.uuid4().hex}.safetensors"

        def write(out: BinaryIO) -> None:
            out.write(raw)

        publish(path, tmp=self._folder, write=write)
        self._known.update(vectors)

    def _read(self, path: Path) -> dict[str, Vectors]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="np") as file:
                header = file.metadata() or {}
                tensors = {name: np.asarray(file.get_tensor(name)) for name in ("keys", "vectors")}
        except (SafetensorError, OSError) as error:
            _log.warning("dropped the damaged cache block %s: %s", path, error)
            return {}
        good = header == {"fingerprint": self._space.fingerprint, "sha256": _digest(tensors)}
        if not good or tensors["vectors"].shape != (len(tensors["keys"]), self._space.dim):
            _log.warning("dropped the damaged cache block %s: checksum or shape", path)
            return {}
        keys = [bytes(row).hex() for row in tensors["keys"]]
        return dict(zip(keys, tensors["vectors"], strict=True))


def _digest(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in ("keys", "vectors"):
        digest.update(json.dumps([name, str(tensors[name].dtype), tensors[name].shape]).encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
