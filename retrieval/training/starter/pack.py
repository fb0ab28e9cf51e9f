"""Write the starter's weight files and the manifest that names them by hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.generic]]


def quantise(name: str, values: npt.NDArray[np.floating[Any]]) -> Arrays:
    """Store a matrix as int8 rows with one float16 scale each.

    Args:
        name: of the tensor; the scale gets `.scale` behind it.
        values: [N, D].

    Returns:
        `name` int8 [N, D] and `name.scale` float16 [N].

    Example:
        >>> quantise("w", np.array([[0.5, -1.0]]))["w"].tolist()
        [[63, -127]]
    """
    scale = np.maximum(np.abs(values).max(axis=1), 1e-8) / 127.0
    # Rounded up to float16 first, so that no value leaves the int8 range.
    scale = np.nextafter(scale.astype(np.float16), np.float16(np.inf), dtype=np.float16)
    rows = np.clip(np.rint(values / scale.astype(np.float32)[:, None]), -127, 127)
    return {name: rows.astype(np.int8), f"{name}.scale": scale}


def write_tensors(path: Path, tensors: Arrays) -> None:
    """Write one safetensors file.

    Args:
        path: the file.
        tensors: name -> array.
    """
    from safetensors.numpy import save

    path.write_bytes(save({key: np.ascontiguousarray(v) for key, v in tensors.items()}))


FILES = (
    "text.safetensors",
    "tokenizer.json",
    "image.onnx",
    "image.safetensors",
    "audio.onnx",
    "events.onnx",
    "audio.safetensors",
)


def write_manifest(
    folder: Path, settings: dict[str, Any], *, names: Sequence[str] = FILES
) -> dict[str, Any]:
    """Write `starter.json`: the settings and, for each file, size, hash and shapes.

    Args:
        folder: holds the weight files.
        settings: everything but `files`.
        names: of the files; a tower opens with its own alone.

    Returns:
        The manifest.
    """
    from safetensors.numpy import load

    files: dict[str, Any] = {}
    for name in names:
        data = (folder / name).read_bytes()
        files[name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if name.endswith(".safetensors"):
            shapes = {key: list(value.shape) for key, value in sorted(load(data).items())}
            files[name]["shapes"] = shapes
    manifest = {"format": 1, "name": "starter", **settings, "files": files}
    (folder / "starter.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest
