"""The `.joined` file: how the sounds of one model come into the space of another.

    bridge(x) = r(norm(W norm(x) + b)),   r(y) = y + W2 gelu(W1 y + b1) + b2, or y
    a text of the audio model goes through the bridge as it is, a sound as a + shift,
    shift = mean of its texts - mean of its sounds: it closes the gap between the modalities.

One safetensors file: tensors, and a header that names both models with their fingerprints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from retrieval.encoders.model_file import HeadSpec
from retrieval.encoders.tensor_file import (
    FileKind,
    Info,
    Vectors,
    check_tensors,
    read_tensor_file,
    write_tensor_file,
)
from retrieval.encoders.trained import apply_head
from retrieval.errors import ModelError

SUFFIX = ".joined"
_KIND = FileKind(
    "crossfind-joined",
    1,
    maker="crossfind models join --image NAME --audio NAME --out NAME",
    again="join the models again",
)


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
    _check(joined, path=path)
    info = {
        "version": _KIND.version,
        "image": joined.image,
        "image_fingerprint": joined.image_fingerprint,
        "audio": joined.audio,
        "audio_fingerprint": joined.audio_fingerprint,
        "dim_hidden": joined.dim_hidden,
        "metrics": dict(joined.metrics),
        "fingerprint": joined.fingerprint,
    }
    write_tensor_file(path, kind=_KIND, tensors=joined.tensors, info=info)


def read_joined_file(path: Path) -> JoinedFile:
    """Read a joined file and check that it is what was written.

    Raises:
        ModelError: see `read_tensor_file`; its tensors do not fit (`model_shape`,
            `model_self_test_failed`).
    """
    return read_tensor_file(
        path, kind=_KIND, parse=_parse, check=lambda joined: _check(joined, path=path)
    )


def _parse(tensors: dict[str, Vectors], info: Info) -> JoinedFile:
    return JoinedFile(
        image=str(info["image"]),
        image_fingerprint=str(info["image_fingerprint"]),
        audio=str(info["audio"]),
        audio_fingerprint=str(info["audio_fingerprint"]),
        dim_hidden=int(info["dim_hidden"]),
        tensors=tensors,
        metrics={str(n): float(v) for n, v in info["metrics"].items()},
    )


def _check(joined: JoinedFile, *, path: Path) -> None:
    weight = joined.tensors.get("weight")
    if weight is None or weight.ndim != 2:
        raise ModelError(f"{path} has no matrix 'weight'; {_KIND.again}", code="model_shape")
    check_tensors(path, kind=_KIND, tensors=joined.tensors, shapes=joined.shapes())


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)
