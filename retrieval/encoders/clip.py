"""Any open_clip model by name: pictures and texts in the space that it was published with.

`open_clip:NAME/TAG` and `open_clip:hf-hub:ORG/REPO` are read from a folder of the models folder;
nothing is downloaded here. Weights are read at the first `encode`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_folder import ModelFolder
from retrieval.encoders.onnx_towers import OnnxTowers, open_onnx
from retrieval.encoders.torch_cure import cure_torchvision, force_offline, quiet_libraries
from retrieval.encoders.torch_run import (
    TorchHost,
    TorchOptions,
    halving,
    need,
    pooled,
    split_text,
    to_numpy,
)
from retrieval.errors import ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space

PREFIX = "open_clip:"
CONFIG = "open_clip_config.json"
TEXT_TOWER = "text_tower"
"""Folder with the configuration of a text tower that transformers builds."""

# OpenAI's, which open_clip uses where a model says nothing (open_clip/constants.py).
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CONTEXT = 77


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """What an adapter must know of an open_clip model before it is built.

    Attributes:
        model: open_clip's own configuration of the architecture.
        dim: length of a vector.
        image_size_px, resize_mode, interpolation, mean, std: its preprocessing.
        context_length: the most tokens of a text, marks included.
    """

    model: dict[str, Any]  # Any: another library's configuration
    dim: int
    image_size_px: int
    resize_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    context_length: int

    def media(self) -> MediaSpec:
        """Ask the loader for exactly the picture that the library's own transform makes."""
        return MediaSpec(
            image_size_px=self.image_size_px,
            image_fit="squash" if self.resize_mode == "squash" else "crop",
            image_method="library",
            interpolation="bilinear" if self.interpolation == "bilinear" else "bicubic",
            # About two thirds of the tokens are words: one chunk is then read in one piece.
            text_max_words=max(16, int(self.context_length * 0.65)),
            text_overlap_words=max(4, int(self.context_length * 0.1)),
        )


class ClipEncoder(Encoder):
    """Encode pictures and texts with an open_clip model from a folder.

    Args:
        folder: of the model.
        options: device, precision and so on.

    Raises:
        ModelError: see `ModelFolder`; a preprocessing that is not square (`model_not_supported`).
    """

    def __init__(self, folder: ModelFolder, *, options: TorchOptions) -> None:
        folder.check_files()
        self._folder = folder
        self._options = options
        self._lock = threading.RLock()
        self._host: TorchHost | None = None
        self._config = read_config(folder.json(CONFIG), name=folder.manifest.name)
        self._tokenize: _Tokenizer | None = None
        self.onnx: OnnxTowers | None = open_onnx(folder, options=options)
        self.name = folder.manifest.name
        self.media = self._config.media()
        self.batch_size = {"image": 64, "text": 256}
        shown = [self._config.dim, self._config.mean, self._config.std]
        space = folder.space("open_clip 1", dim=self._config.dim, modalities=("image", "text"),
                             preprocessing=shown)  # fmt: skip
        self.spaces = (space,)

    @property
    def context_length(self) -> int:
        """Count the tokens of the longest text that is read in one piece, marks included."""
        return self._config.context_length

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002 - there is one
    ) -> npt.NDArray[np.float32]:
        if modality == "image":
            pictures = cast("Sequence[npt.NDArray[np.uint8]]", inputs)
            check_pictures(pictures, side_px=self._config.image_size_px, name=self.name)
            return halving(pictures, run=self._encode_pictures, name=self.name)
        tokenizer = self._tokenizer()
        pieces = [tokenizer.split(str(text)) for text in inputs]
        flat = [piece for of_one in pieces for piece in of_one]
        vectors = halving(flat, run=self._encode_texts, name=self.name)
        return pooled(vectors, counts=[len(of_one) for of_one in pieces])

    def _encode_pictures(
        self, pictures: Sequence[npt.NDArray[np.uint8]]
    ) -> npt.NDArray[np.float32]:
        if self.onnx is not None and self.onnx.serves("image"):
            values = (np.stack(pictures).astype(np.float32) / 255.0 - self._config.mean) / np.array(
                self._config.std
            )
            return self.onnx.run("image", values.transpose(0, 3, 1, 2).astype(np.float32))
        import torch

        host = self.open()
        with torch.inference_mode():
            pixels = host.pictures(pictures, mean=self._config.mean, std=self._config.std)
            return to_numpy(self._image(pixels))

    def _encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        tokens = self._tokenizer().tokens(texts)
        if self.onnx is not None and self.onnx.serves("text"):
            return self.onnx.run("text", tokens.numpy())
        import torch

        host = self.open()
        with torch.inference_mode():
            return to_numpy(self._text(tokens.to(host.device)))

    def open(self) -> TorchHost:
        """Read the weights, once; `encode` calls it."""
        with self._lock:
            if self._host is None:
                module = build_clip(self._folder, config=self._config)
                self._host = TorchHost(module, options=self._options, name=self.name)
                self._image = self._host.tower(self._host.module.encode_image)
                self._text = self._host.tower(self._host.module.encode_text)
                if self._host.device.type == "cuda":
                    self.batch_size |= {"image": 512, "text": 1024}
            return self._host

    def _tokenizer(self) -> _Tokenizer:
        with self._lock:
            if self._tokenize is None:
                self._tokenize = _Tokenizer(self._folder, config=self._config)
            return self._tokenize

    def close(self) -> None:
        """Let the weights go; the next `encode` reads them again."""
        with self._lock:
            self._host = self._tokenize = None
            self._image = self._text = _closed


class _Tokenizer:
    """The model's own tokenizer, with a count of tokens."""

    def __init__(self, folder: ModelFolder, *, config: ClipConfig) -> None:
        cure_torchvision()
        force_offline()
        import open_clip

        try:
            made = open_clip.get_tokenizer(f"local-dir:{folder.path}")
        except ImportError as error:
            raise need("transformers", extra="clap", reason=f"the tokenizer of "
                       f"{folder.manifest.name}") from error  # fmt: skip
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the tokenizer in {folder.path} cannot be read ({error}); fetch the model again",
                code="model_unavailable",
            ) from error
        self._made = made
        self._limit = config.context_length
        hub_tokenizer = getattr(made, "tokenizer", None)
        clean: Callable[[str], str] = getattr(made, "clean_fn", str)
        self._count: Callable[[str], int] = (
            (lambda text: len(made.encode(text)) + 2)
            if hub_tokenizer is None
            else (lambda text: len(hub_tokenizer(clean(text))["input_ids"]))
        )

    def split(self, text: str) -> list[str]:
        safe = text.encode("utf-8", "replace").decode("utf-8")
        return split_text(safe, count=self._count, limit=self._limit)

    def tokens(self, texts: Sequence[str]) -> Any:  # Any: a torch tensor
        return self._made(list(texts), context_length=self._limit)


def read_config(raw: dict[str, Any], *, name: str) -> ClipConfig:
    """Read `open_clip_config.json`.

    Raises:
        ModelError: not such a file (`model_hash_mismatch`), or pictures that are not squares
            (`model_not_supported`).

    Example:
        >>> config = {"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}
        >>> read_config(config, name="m").image_size_px
        224
    """
    try:
        model = dict(raw["model_cfg"])
        vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
        ready = dict(raw.get("preprocess_cfg") or {})
        size = vision.get("image_size", ready.get("size", 224))
        sizes: list[Any] = list(size) if isinstance(size, (list, tuple)) else [size]
        sides = {int(s) for s in sizes}
        config = ClipConfig(
            model=model,
            dim=int(model["embed_dim"]),
            image_size_px=min(sides),
            resize_mode=str(ready.get("resize_mode") or "shortest"),
            interpolation=str(ready.get("interpolation") or "bicubic"),
            mean=_three(ready.get("mean") or _MEAN),
            std=_three(ready.get("std") or _STD),
            context_length=int(text.get("context_length", _CONTEXT)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the {CONFIG} of {name} is not one of open_clip ({error!r}); fetch the "
                         "model again", code="model_hash_mismatch") from error  # fmt: skip
    if len(sides) > 1 or config.resize_mode not in ("shortest", "squash"):
        raise ModelError(
            f"model {name} reads pictures of {sorted(sides)} px by '{config.resize_mode}'; "
            "crossfind makes squares by 'shortest' or 'squash'; choose another model",
            code="model_not_supported",
        )
    return config


def build_clip(folder: ModelFolder, *, config: ClipConfig) -> Any:  # Any: an open_clip model
    """Build the architecture and read its weights from safetensors.

    Raises:
        ModelError: `unsafe_weights`, `model_hash_mismatch`, `model_shape`, `model_unavailable`.
    """
    cure_torchvision()
    force_offline()
    import open_clip
    from open_clip.factory import load_checkpoint

    try:
        with quiet_libraries():
            model = open_clip.create_model(
                f"local-dir:{folder.path}",
                load_weights=False,
                pretrained_text=False,
                **_hub_text_tower(folder, config=config),
            )
    except ImportError as error:
        raise need("transformers", extra="clap", reason=f"the text tower of "
                   f"{folder.manifest.name}") from error  # fmt: skip
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"open_clip {open_clip.__version__} cannot build {folder.manifest.name}: {error}; "
            "upgrade open-clip-torch, or choose another model",
            code="model_not_supported",
        ) from error
    with folder.filling() as weights:
        load_checkpoint(model, str(weights), strict=True)
    return model


def check_pictures(pictures: Sequence[npt.NDArray[np.uint8]], *, side_px: int, name: str) -> None:
    """Refuse pictures of another size than the model's.

    Raises:
        ModelError: `picture_size`.
    """
    for picture in pictures:
        if picture.shape != (side_px, side_px, 3):
            raise ModelError(
                f"model {name} reads pictures of {side_px} x {side_px}; this one is "
                f"{picture.shape[1]} x {picture.shape[0]}; load it as `encoder.media` says",
                code="picture_size",
            )


def _hub_text_tower(folder: ModelFolder, *, config: ClipConfig) -> dict[str, Any]:
    """Point a text tower that transformers builds to its configuration in the folder."""
    text = dict(config.model["text_cfg"])
    if "hf_model_name" not in text:
        return {}
    folder.json(f"{TEXT_TOWER}/config.json")  # there, unaltered, and without code of its own
    place = str(folder.path / TEXT_TOWER)
    return {"text_cfg": {**text, "hf_model_name": place, "hf_model_pretrained": False}}


def _three(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, (list, tuple)) else [value] * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} channels")
    return tuple(float(v) for v in values)


def _closed(*_: object) -> Any:
    raise ModelError("the model is closed", code="model_unavailable")
