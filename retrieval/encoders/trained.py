"""A trained model: a base model with a head per modality, in a Space of its own.

Heads are applied in numpy, so a trained model needs no torch to search with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder, TrunkEncoder
from retrieval.encoders.model_file import SUFFIX, HeadSpec, ModelFile, read_model_file
from retrieval.encoders.tensor_file import Vectors
from retrieval.errors import ModelError
from retrieval.types import Modality, Payload, Space


class TrainedEncoder(Encoder):
    """Encode with a base model and a trained head per modality.

    Args:
        model: contents of a model file.
        name: of this model, usually the file's path.
        base: the base model, open; closed with this encoder.

    Raises:
        ModelError: the base is another one than the heads were trained on (`base_mismatch`).

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> base = FakeEncoder()
        >>> flip = {"text.last.weight": -np.eye(64, dtype=np.float32),
        ...         "text.last.bias": np.zeros(64, dtype=np.float32)}
        >>> head = HeadSpec("linear", dim_in=64, dim_out=64)
        >>> file = ModelFile("fake", base.spaces[0].fingerprint, {"text": head}, flip)
        >>> encoder = TrainedEncoder(file, name="flipped.model", base=base)
        >>> both = [e.encode(["red"], modality="text")[0] for e in (base, encoder)]
        >>> float((both[0] @ both[1]).round(4)), encoder.spaces[0].id == base.spaces[0].id
        (-1.0, False)
    """

    def __init__(self, model: ModelFile, *, name: str, base: Encoder) -> None:
        self._base = base
        self._base_space = _space_of(base, fingerprint=model.base_fingerprint, name=name)
        self._heads = dict(model.heads)
        self._tensors = dict(model.tensors)
        self.name = name
        self.media = base.media
        self.batch_size = base.batch_size
        dim = next((h.dim_out for h in model.heads.values()), self._base_space.dim)
        self.spaces = (
            Space(
                id=f"trained-{model.fingerprint[:12]}",
                model=name,
                fingerprint=model.fingerprint,
                dim=dim,
                modalities=self._served(dim),
                licence=self._base_space.licence,
            ),
        )

    def _served(self, dim: int) -> tuple[Modality, ...]:
        """Keep the modalities whose vectors end in the new Space's dim."""
        return tuple(
            m
            for m in self._base_space.modalities
            if m in self._heads or self._base_space.dim == dim
        )

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,
    ) -> npt.NDArray[np.float32]:
        head, base, space = self._heads.get(modality), self._base, self._base_space
        if head is None or head.kind != "blend":
            vectors = x = base.encode(inputs, modality=modality, space=space)
        else:
            if not isinstance(base, TrunkEncoder):
                raise self._misfit(f"{base.name} has no trunk for the head of {modality}")
            vectors, trunk = base.encode_with_trunk(inputs, modality=modality, space=space)
            x = np.concatenate([vectors, trunk], axis=1)
        if head is None:
            return vectors
        if x.shape[1] != head.dim_in:
            raise self._misfit(
                f"its head for {modality} wants {head.dim_in} numbers, {base.name} gives "
                f"{x.shape[1]}"
            )
        weights = {name: self._tensors[f"{modality}.{name}"] for name in head.shapes()}
        out = apply_head(x, head=head, weights=weights)
        # What the base could not place stays unplaced: a bias must not give it a direction.
        return np.where(vectors.any(axis=1, keepdims=True), out, np.float32(0))

    def _misfit(self, reason: str) -> ModelError:
        return ModelError(
            f"model {self.name} does not fit its base: {reason}; train the heads again",
            code="base_mismatch",
        )

    def close(self) -> None:
        """Close the base model."""
        self._base.close()


def apply_head(vectors: Vectors, *, head: HeadSpec, weights: Mapping[str, Vectors]) -> Vectors:
    """Compute a head in numpy, as training computed it in torch.

    Args:
        vectors: float32 [N, dim_in].
        head: how it is built.
        weights: its tensors, float32.

    Returns:
        float32 [N, dim_out], any length.

    Example:
        >>> weights = {"last.weight": 2 * np.eye(2, dtype=np.float32),
        ...            "last.bias": np.zeros(2, dtype=np.float32)}
        >>> head = HeadSpec("linear", dim_in=2, dim_out=2)
        >>> apply_head(np.ones((1, 2), dtype=np.float32), head=head, weights=weights).tolist()
        [[2.0, 2.0]]
    """
    base = vectors[:, : head.dim_out]
    hidden = _rooted(vectors[:, head.dim_out :]) if head.kind == "blend" else vectors
    if head.kind != "linear":
        x = hidden @ weights["first.weight"].T + weights["first.bias"]
        hidden = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    out = hidden @ weights["last.weight"].T + weights["last.bias"]
    if head.kind == "blend":
        share = weights["share"]
        norms = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        return np.asarray((1 - share) * base + share * out / norms, dtype=np.float32)
    return np.asarray(vectors + out if head.kind == "residual" else out, dtype=np.float32)


def _rooted(features: Vectors) -> Vectors:
    """Power normalisation (Perronnin et al. 2010): few strong features drown the others less."""
    roots = np.sign(features) * np.sqrt(np.abs(features))
    norms = np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-12)
    return np.asarray(roots * (features.shape[1] ** 0.5 / norms), dtype=np.float32)


def open_trained(
    path: Path, *, open_base: Callable[[str], Encoder], name: str | None = None
) -> TrainedEncoder:
    """Open a model file as an Encoder.

    Args:
        path: of the `.model` file.
        open_base: opens the base model by its name.
        name: what to call the model; the absolute path if left out.

    Returns:
        The encoder, in a Space of its own.

    Raises:
        ModelError: see `read_model_file` and `TrainedEncoder`.
    """
    model = read_model_file(path)
    if model.base.endswith(SUFFIX) and Path(model.base).absolute() == path.absolute():
        raise ModelError(f"{path} names itself as its base; train it again", code="base_mismatch")
    return TrainedEncoder(model, name=name or str(path.absolute()), base=open_base(model.base))


def _space_of(base: Encoder, *, fingerprint: str, name: str) -> Space:
    for space in base.spaces:
        if space.fingerprint == fingerprint:
            return space
    raise ModelError(
        f"model {name} was trained on another version of {base.name} (fingerprint "
        f"{fingerprint[:12]}, now {', '.join(s.fingerprint[:12] for s in base.spaces)}); "
        "train the heads again",
        code="base_mismatch",
    )
