"""The starter's weight files: found by a manifest, checked by hash before they are parsed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import ModelError

Tensors = dict[str, npt.NDArray[np.generic]]

_FORMAT = 1
_DEFAULT = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """A folder of weights and what its manifest says of them.

    Attributes:
        folder: where the files are.
        manifest: the parsed `starter.json`.
        fingerprint: hex SHA-256 of the manifest's bytes; it names every file by hash, so it covers
            weights, preprocessing and dim.
    """

    folder: Path
    manifest: dict[str, Any]  # JSON: its shape is checked by open_weights
    fingerprint: str

    def read(self, name: str) -> bytes:
        """Read one weight file and check it.

        Args:
            name: as in the manifest.

        Returns:
            Its bytes.

        Raises:
            ModelError: absent (`model_file_missing`) or altered (`model_hash_mismatch`).
        """
        entry = self.manifest["files"][name]
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"starter model file {path} cannot be read ({error.strerror}); reinstall crossfind",
                code="model_file_missing",
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if len(data) != entry["size_bytes"] or found != entry["sha256"]:
            raise ModelError(
                f"starter model file {path} is not the one that was shipped: sha256 {found[:12]}, "
                f"{len(data):,} bytes; expected {entry['sha256'][:12]}, "
                f"{entry['size_bytes']:,} bytes; reinstall crossfind",
                code="model_hash_mismatch",
            )
        return data

    def tensors(self, name: str) -> Tensors:
        """Read one safetensors file and check its shapes.

        Args:
            name: as in the manifest.

        Returns:
            Tensor name -> array.

        Raises:
            ModelError: as `read`, no safetensors (`unsafe_weights`), or the shapes differ from the
                manifest (`model_shape`).
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors: Tensors = load(self.read(name))
        except SafetensorError as error:
            raise ModelError(
                f"{self.folder / name} is no safetensors file ({error}); nothing of it was run; "
                "reinstall crossfind",
                code="unsafe_weights",
            ) from error
        wanted = self.manifest["files"][name]["shapes"]
        found = {key: list(value.shape) for key, value in tensors.items()}
        if found != wanted:
            raise ModelError(
                f"starter model file {name} holds {found}; its manifest says {wanted}",
                code="model_shape",
            )
        return tensors


def open_weights(folder: Path | None = None) -> WeightFiles:
    """Read the manifest of a folder of starter weights.

    Args:
        folder: another folder than the one in the package.

    Returns:
        The files, none of them read yet.

    Raises:
        ModelError: no manifest (`model_file_missing`), not JSON (`model_hash_mismatch`), or of a
            newer format (`model_too_new`).

    Example:
        >>> open_weights().manifest["dim"]
        384
    """
    where = folder or _DEFAULT
    try:
        data = (where / "starter.json").read_bytes()
    except OSError as error:
        raise ModelError(
            f"no starter model in {where} ({error.strerror}); reinstall crossfind",
            code="model_file_missing",
        ) from error
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise ModelError(
            f"{where / 'starter.json'} is not JSON; reinstall crossfind",
            code="model_hash_mismatch",
        ) from error
    if manifest.get("format") != _FORMAT:
        raise ModelError(
            f"{where / 'starter.json'} has format {manifest.get('format')}; "
            f"this crossfind reads {_FORMAT}; upgrade crossfind",
            code="model_too_new",
        )
    return WeightFiles(where, manifest, hashlib.sha256(data).hexdigest())


def dequantise(tensors: Tensors, name: str) -> npt.NDArray[np.float32]:
    """Give a matrix back as float32: int8 rows times their scale, or as it was stored.

    Args:
        tensors: of one file; `name` int8 [N, D] with `name.scale` float16 [N], or floats.
        name: which one.

    Returns:
        float32 of the same shape.

    Example:
        >>> stored = {"w": np.array([[2, 4]], np.int8), "w.scale": np.array([0.5], np.float16)}
        >>> dequantise(stored, "w").tolist()
        [[1.0, 2.0]]
    """
    values = tensors[name].astype(np.float32)
    if tensors[name].dtype == np.int8:
        values *= tensors[f"{name}.scale"].astype(np.float32)[:, None]
    return values


def session(data: bytes, *, threads: int) -> Any:  # onnxruntime ships no types
    """Open an ONNX model for CPU threads that sleep when they wait.

    Args:
        data: the file's bytes, already checked.
        threads: CPU threads it may use.

    Returns:
        The onnxruntime session.

    Raises:
        ModelError: onnxruntime cannot run it (`model_unavailable`).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _refusals() as error:
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} cannot run the starter's model: {error}; "
            "install the version crossfind asks for",
            code="model_unavailable",
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    """List what onnxruntime raises about a model; its errors have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented",
             "RuntimeException")  # fmt: skip
    return (RuntimeError, ValueError, *(getattr(state, name) for name in names))
