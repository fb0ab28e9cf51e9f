"""The `.model` file that training writes: heads on top of a base model, in one safetensors file.

Its header says which base it stands on (name and fingerprint), how each head is built, and what
training measured; its tensors are the heads. Nothing in it can run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from retrieval.encoders.tensor_file import (
    FileKind,
    Info,
    Vectors,
    check_tensors,
    read_tensor_file,
    write_tensor_file,
)
from retrieval.errors import ModelError
from retrieval.types import Modality

SUFFIX = ".model"
_KIND = FileKind("crossfind-model", 2, maker="crossfind train heads", again="train the model again")

HeadKind = Literal["linear", "mlp", "residual", "blend"]


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """How a head is built; `residual` adds the mlp to its input.

    linear: W x + b; mlp: W2 gelu(W1 x + b1) + b2; residual: x + mlp(x), with the tanh form of
    gelu (arXiv 1606.08415), which numpy can write without an error function. blend: of an input
    that is the base's vector v and the features f of its trunk, one behind the other,
    (1 - share) v + share norm(mlp(r)), r = sqrt(F) norm(sign(f) sqrt|f|): what the pairs do not
    teach, v still knows.

    Attributes:
        kind: see above.
        dim_in, dim_out: lengths of input and output; equal for `residual`, and for `blend` dim_in
            is dim_out and the length of the features.
        dim_hidden: width of the hidden layer; 0 for `linear`.
    """

    kind: HeadKind
    dim_in: int
    dim_out: int
    dim_hidden: int = 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name the tensors of the head with their shapes.

        Example:
            >>> HeadSpec("linear", dim_in=4, dim_out=2).shapes()
            {'last.weight': (2, 4), 'last.bias': (2,)}
        """
        dim_x = self.dim_in - self.dim_out if self.kind == "blend" else self.dim_in
        last_in = dim_x if self.kind == "linear" else self.dim_hidden
        last = {"last.weight": (self.dim_out, last_in), "last.bias": (self.dim_out,)}
        if self.kind == "linear":
            return last
        first = {"first.weight": (self.dim_hidden, dim_x), "first.bias": (self.dim_hidden,)}
        share = {"share": (1,)} if self.kind == "blend" else {}
        return {**first, **last, **share}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a model file holds.

    Attributes:
        base: name of the base model.
        base_fingerprint: of the base's Space that the heads stand on.
        heads: modality -> head; a modality of the base without one keeps its vectors.
        tensors: `modality.tensor` -> float32, shapes as `HeadSpec.shapes` says.
        metrics: name -> figure that training measured on held-out pairs.
    """

    base: str
    base_fingerprint: str
    heads: Mapping[Modality, HeadSpec]
    tensors: Mapping[str, Vectors]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Identify the vectors this model gives: base, architecture and weights, but no metrics."""
        digest = hashlib.sha256(b"crossfind trained heads 1\0")
        digest.update(self.base_fingerprint.encode())
        digest.update(json.dumps(_heads_json(self.heads), sort_keys=True).encode())
        for name in sorted(self.tensors):
            digest.update(name.encode() + b"\0")
            digest.update(np.ascontiguousarray(self.tensors[name], dtype="<f4").tobytes())
        return digest.hexdigest()


def save_model_file(path: Path, *, model: ModelFile) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: where; an existing file is replaced.
        model: what to write.

    Raises:
        StorageError: the disk refused; an existing file is as it was.
        ModelError: tensors and heads do not fit (`model_shape`, `model_self_test_failed`).
    """
    _check(model, path=path)
    info = {
        # The oldest version that can read it: only blends need the second.
        "version": 1 + any(head.kind == "blend" for head in model.heads.values()),
        "base": model.base,
        "base_fingerprint": model.base_fingerprint,
        "heads": _heads_json(model.heads),
        "metrics": dict(model.metrics),
        "fingerprint": model.fingerprint,
    }
    write_tensor_file(path, kind=_KIND, tensors=model.tensors, info=info)


def read_model_file(path: Path) -> ModelFile:
    """Read a model file and check that it is what was written.

    Args:
        path: an existing file.

    Returns:
        Its contents.

    Raises:
        ModelError: see `read_tensor_file`; its weights do not fit (`model_shape`,
            `model_self_test_failed`).
    """
    return read_tensor_file(
        path, kind=_KIND, parse=_parse, check=lambda model: _check(model, path=path)
    )


def _parse(tensors: dict[str, Vectors], info: Info) -> ModelFile:
    return ModelFile(
        base=str(info["base"]),
        base_fingerprint=str(info["base_fingerprint"]),
        heads={cast(Modality, m): _head_spec(spec) for m, spec in info["heads"].items()},
        tensors=tensors,
        metrics={name: float(value) for name, value in info["metrics"].items()},
    )


def _head_spec(raw: object) -> HeadSpec:
    spec = HeadSpec(**cast("dict[str, int]", raw))  # type: ignore[arg-type]  # checked right here
    dims_good = all(type(d) is int for d in (spec.dim_in, spec.dim_out, spec.dim_hidden))
    if spec.kind not in get_args(HeadKind) or not dims_good:
        raise ValueError(f"unknown head {raw}")
    return spec


def _heads_json(heads: Mapping[Modality, HeadSpec]) -> dict[str, dict[str, object]]:
    return {modality: asdict(head) for modality, head in heads.items()}


def _check(model: ModelFile, *, path: Path) -> None:
    dims_out = {head.dim_out for head in model.heads.values()}
    broken = [
        h
        for h in model.heads.values()
        if (h.kind == "residual" and h.dim_in != h.dim_out)
        or (h.kind == "blend" and h.dim_in <= h.dim_out)
    ]
    if len(dims_out) != 1 or broken:
        raise ModelError(
            f"{path} has heads {_heads_json(model.heads)}; they need one output dim, and inputs "
            f"that fit their kinds; {_KIND.again}",
            code="model_shape",
        )
    shapes = {f"{m}.{n}": s for m, h in model.heads.items() for n, s in h.shapes().items()}
    check_tensors(path, kind=_KIND, tensors=model.tensors, shapes=shapes)
