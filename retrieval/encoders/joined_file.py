"""The `.joined` file: how the sounds of one model come into the space of another.

    bridge(x) = r(norm(W norm(x) + b)),   r(y) = y + W2 gelu(W1 y + b1) + b2, or y
    a text of the audio model goes through the bridge as it is, a sound as a + shift,
    shift = mean of its texts - mean of its sounds: it closes the gap between the modalities.

One safetensors file: tensors, and a header that names both models with their fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from index.storage import publish
from retrieval.encoders.model_file import HeadSpec
from retrieval.encoders.trained import apply_head
from retrieval.errors import ModelError

SUFFIX = ".joined"
FORMAT = "crossfind-joined"
FORMAT_VERSION = 1

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class JoinedFile:
    """What a joined file holds.

    Attributes:
        image, audio: names of the two models.
        image_fingerprint, audio_fingerprint: of the Spaces that were joined.
        dim_hidden: width of the residual head; 0 where there is none.
        tensors: `shift` [A], `weight` [I, A], `bias` [I], and the residual head's; float32.
        metrics: name -> figure that joining measured on held-out texts and pairs.
    """

    image: str
    image_fingerprint: str
    audio: str
    audio_fingerprint: str
    dim_hidden: int
    tensors: Mapping[str, Vectors]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def dims(self) -> tuple[int, int]:
        """Length of the audio model's vectors, and of the image model's."""
        dim_image, dim_audio = self.tensors["weight"].shape
        return dim_audio, dim_image

    @property
    def fingerprint(self) -> str:
        """Identify the vectors: both models and the bridge, but no metrics."""
        digest = hashlib.sha256(b"crossfind joined 1\0")
        digest.update(f"{self.image_fingerprint}\0{self.audio_fingerprint}\0".encode())
        for name in sorted(self.tensors):
            digest.update(name.encode() + b"\0")
            digest.update(np.ascontiguousarray(self.tensors[name], dtype="<f4").tobytes())
        return digest.hexdigest()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name the tensors with the shapes they must have."""
        dim_audio, dim_image = self.dims
        wanted: dict[str, tuple[int, ...]] = {
            "shift": (dim_audio,), "weight": (dim_image, dim_audio), "bias": (dim_image,)
        }  # fmt: skip
        return wanted | (self.residual.shapes() if self.dim_hidden else {})

    @property
    def residual(self) -> HeadSpec:
        """Describe the residual head."""
        dim = self.dims[1]
        return HeadSpec("residual", dim_in=dim, dim_out=dim, dim_hidden=self.dim_hidden)

    def bridge(self, vectors: Vectors, *, sounds: bool) -> Vectors:
        """Carry vectors of the audio model into the image model's space.

        Args:
            vectors: float32 [N, A], unit length.
            sounds: True for sounds, which are shifted to where the texts lie; False for texts.

        Returns:
            float32 [N, I], any length; rows of zeros stay.
        """
        moved = _unit(vectors + self.tensors["shift"]) if sounds else _unit(vectors)
        out = _unit(moved @ self.tensors["weight"].T + self.tensors["bias"])
        if self.dim_hidden:
            head = self.residual
            weights = {name: self.tensors[name] for name in head.shapes()}
            out = apply_head(out, head=head, weights=weights)
        return np.where(vectors.any(axis=1, keepdims=True), out, np.float32(0))


def save_joined_file(path: Path, *, joined: JoinedFile) -> None:
    """Write a joined file, whole or not at all.

    Raises:
        StorageError: the disk refused; an existing file is as it was.
        ModelError: tensors that do not fit (`model_shape`, `model_self_test_failed`).
    """
    from safetensors.numpy import save

    _check(joined, path=path)
    info = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "image": joined.image,
        "image_fingerprint": joined.image_fingerprint,
        "audio": joined.audio,
        "audio_fingerprint": joined.audio_fingerprint,
        "dim_hidden": joined.dim_hidden,
        "metrics": dict(joined.metrics),
        "fingerprint": joined.fingerprint,
    }
    tensors = {name: np.ascontiguousarray(value) for name, value in joined.tensors.items()}
    raw = save(tensors, metadata={"info": json.dumps(info, sort_keys=True)})

    def write(sink: BinaryIO) -> None:
        sink.write(raw)

    publish(path, tmp=path.parent, write=write)


def read_joined_file(path: Path) -> JoinedFile:
    """Read a joined file and check that it is what was written.

    Raises:
        ModelError: absent (`model_unavailable`), no safetensors file (`unsafe_weights`), not one of
            ours (`not_a_model_file`), too new (`model_too_new`), altered
            (`model_hash_mismatch`), or its tensors do not fit (`model_shape`,
            `model_self_test_failed`).
    """
    tensors, info = _read_raw(path)
    try:
        if int(info["version"]) > FORMAT_VERSION:
            raise ModelError(
                f"{path} has format {info['version']}; this crossfind knows up to "
                f"{FORMAT_VERSION}; upgrade crossfind",
                code="model_too_new",
            )
        joined = JoinedFile(
            image=str(info["image"]),
            image_fingerprint=str(info["image_fingerprint"]),
            audio=str(info["audio"]),
            audio_fingerprint=str(info["audio_fingerprint"]),
            dim_hidden=int(info["dim_hidden"]),
            tensors=tensors,
            metrics={str(n): float(v) for n, v in info["metrics"].items()},
        )
        expected = str(info["fingerprint"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} has a header that crossfind did not write ({error!r}); join the models again",
            code="not_a_model_file",
        ) from error
    _check(joined, path=path)
    if joined.fingerprint != expected:
        raise ModelError(
            f"{path} was altered (fingerprint {joined.fingerprint[:12]}, its header says "
            f"{expected[:12]}); join the models again",
            code="model_hash_mismatch",
        )
    return joined


def _read_raw(path: Path) -> tuple[dict[str, Vectors], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(
            f"no joined model at {path}; make one with: crossfind models join --image NAME "
            f"--audio NAME --out {path.stem}",
            code="model_unavailable",
        )
    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        info = json.loads(header.get("info", "null"))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}); join the models again",
                         code="unsafe_weights") from error  # fmt: skip
    except ValueError as error:
        raise ModelError(f"{path} has a damaged header ({error}); join the models again",
                         code="not_a_model_file") from error  # fmt: skip
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ModelError(f"{path} is no {FORMAT} file; give one that `models join` wrote",
                         code="not_a_model_file")  # fmt: skip
    return tensors, info


def _check(joined: JoinedFile, *, path: Path) -> None:
    weight = joined.tensors.get("weight")
    found = {name: value.shape for name, value in joined.tensors.items()}
    if weight is None or weight.ndim != 2 or found != joined.shapes():
        raise ModelError(f"{path} has tensors {found}, which do not fit together; join the models "
                         "again", code="model_shape")  # fmt: skip
    for name, value in joined.tensors.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise ModelError(f"{path} holds tensor {name} that is not finite float32; join the "
                             "models again", code="model_self_test_failed")  # fmt: skip


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)
