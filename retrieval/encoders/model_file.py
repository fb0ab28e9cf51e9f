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
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from index.storage import publish
from retrieval.errors import ModelError
from retrieval.types import Modality

SUFFIX = ".model"
FORMAT = "crossfind-model"
FORMAT_VERSION = 2

Vectors = npt.NDArray[np.float32]
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
    from safetensors.numpy import save

    _check_tensors(model, path=path)
    info = {
        "format": FORMAT,
        # The oldest version that can read it: only blends need the second.
        "version": 1 + any(head.kind == "blend" for head in model.heads.values()),
        "base": model.base,
        "base_fingerprint": model.base_fingerprint,
        "heads": _heads_json(model.heads),
        "metrics": dict(model.metrics),
        "fingerprint": model.fingerprint,
    }
    tensors = {name: np.ascontiguousarray(value) for name, value in model.tensors.items()}
    # One key only: safetensors writes several in no fixed order, and equal models are equal files.
    raw = save(tensors, metadata={"info": json.dumps(info, sort_keys=True)})
    publish(path, tmp=path.parent, write=lambda out: _write(out, raw))


def read_model_file(path: Path) -> ModelFile:
    """Read a model file and check that it is what was written.

    Args:
        path: an existing file.

    Returns:
        Its contents.

    Raises:
        ModelError: the file is absent (`model_unavailable`), no safetensors file
            (`unsafe_weights`), no model file of ours (`not_a_model_file`), too new
            (`model_too_new`), altered (`model_hash_mismatch`), or its weights do not fit
            (`model_shape`, `model_self_test_failed`).
    """
    tensors, info = _read_raw(path)
    try:
        if int(info["version"]) > FORMAT_VERSION:
            raise ModelError(
                f"{path} has format {info['version']}; this crossfind knows up to "
                f"{FORMAT_VERSION}; upgrade crossfind",
                code="model_too_new",
            )
        model = ModelFile(
            base=str(info["base"]),
            base_fingerprint=str(info["base_fingerprint"]),
            heads={cast(Modality, m): _head_spec(spec) for m, spec in info["heads"].items()},
            tensors=tensors,
            metrics={name: float(value) for name, value in info["metrics"].items()},
        )
        expected = str(info["fingerprint"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} has a header that crossfind did not write ({error!r}); train the model again",
            code="not_a_model_file",
        ) from error
    _check_tensors(model, path=path)
    if model.fingerprint != expected:
        raise ModelError(
            f"{path} has fingerprint {model.fingerprint[:12]}, its header says {expected[:12]}: "
            "the file was altered; restore it or train the model again",
            code="model_hash_mismatch",
        )
    return model


def _read_raw(path: Path) -> tuple[dict[str, Vectors], dict[str, Any]]:
    """Read tensors and the info of the header; the values are checked by the caller."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"no model file at {path}; check the path or train one with: "
                         "crossfind train heads", code="model_unavailable")  # fmt: skip
    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a whole safetensors file ({error}); nothing of it was run; "
            "restore it or train the model again",
            code="unsafe_weights",
        ) from error
    try:
        info = json.loads(header.get("info", "null"))
    except ValueError as error:
        raise ModelError(f"{path} has a damaged header ({error}); train the model again",
                         code="not_a_model_file") from error  # fmt: skip
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ModelError(
            f"{path} is a safetensors file but no {FORMAT}; give one that `crossfind train` wrote",
            code="not_a_model_file",
        )
    return tensors, info


def _head_spec(raw: object) -> HeadSpec:
    spec = HeadSpec(**cast("dict[str, int]", raw))  # type: ignore[arg-type]  # checked right here
    dims_good = all(type(d) is int for d in (spec.dim_in, spec.dim_out, spec.dim_hidden))
    if spec.kind not in get_args(HeadKind) or not dims_good:
        raise ValueError(f"unknown head {raw}")
    return spec


def _heads_json(heads: Mapping[Modality, HeadSpec]) -> dict[str, dict[str, object]]:
    return {modality: asdict(head) for modality, head in heads.items()}


def _check_tensors(model: ModelFile, *, path: Path) -> None:
    wanted = {f"{m}.{n}": s for m, h in model.heads.items() for n, s in h.shapes().items()}
    found = {name: value.shape for name, value in model.tensors.items()}
    dims_out = {head.dim_out for head in model.heads.values()}
    broken = [
        h
        for h in model.heads.values()
        if (h.kind == "residual" and h.dim_in != h.dim_out)
        or (h.kind == "blend" and h.dim_in <= h.dim_out)
    ]
    if wanted != found or len(dims_out) != 1 or broken:
        raise ModelError(
            f"{path} has tensors {found} and output dims {sorted(dims_out)}; its heads need "
            f"{wanted} and one output dim; train the model again",
            code="model_shape",
        )
    for name, value in model.tensors.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise ModelError(
                f"{path} holds tensor {name} that is not finite float32; train the model again",
                code="model_self_test_failed",
            )


def _write(out: BinaryIO, raw: bytes) -> None:
    out.write(raw)
