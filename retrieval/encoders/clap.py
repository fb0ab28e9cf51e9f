"""Any CLAP model of transformers by name: sounds and texts in the space it was published with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_folder import ModelFolder
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

PREFIX = "clap:"

Samples = npt.NDArray[np.float32]


class ClapEncoder(Encoder):
    """Encode sounds and texts with a CLAP model from a folder.

    Args:
        folder: of the model.
        options: device, precision and so on.

    Raises:
        ModelError: see `ModelFolder`.
    """

    def __init__(self, folder: ModelFolder, *, options: TorchOptions) -> None:
        folder.check_files()
        self._folder = folder
        self._options = options
        self._lock = threading.RLock()
        self._host: TorchHost | None = None
        self._parts: _Processors | None = None
        try:
            dim = int(folder.json("config.json").get("projection_dim", 512))
            sound = folder.json("preprocessor_config.json")
            rate_hz = int(sound.get("sampling_rate", 48_000))
            self._window_s = float(sound.get("max_length_s", 10))
        except (TypeError, ValueError) as error:
            raise ModelError(f"the configuration of {folder.manifest.name} is not CLAP's "
                             f"({error}); fetch the model again",
                             code="model_hash_mismatch") from error  # fmt: skip
        self.name = folder.manifest.name
        self.media = MediaSpec(
            sample_rate_hz=rate_hz, window_s=self._window_s, hop_s=self._window_s / 2
        )
        self.batch_size = {"audio": 8, "text": 128}
        self.spaces = (folder.space("clap 1", dim=dim, modalities=("audio", "text")),)

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002 - there is one
    ) -> npt.NDArray[np.float32]:
        self.open()
        if modality == "audio":
            sounds = [self._windows(cast(Samples, sound)) for sound in inputs]
            windows = [window for of_one in sounds for window in of_one]
            vectors = halving(windows, run=self._encode_sounds, name=self.name)
            return pooled(vectors, counts=[len(of_one) for of_one in sounds])
        assert self._parts is not None
        pieces = [self._parts.split(str(text)) for text in inputs]
        flat = [piece for of_one in pieces for piece in of_one]
        vectors = halving(flat, run=self._encode_texts, name=self.name)
        return pooled(vectors, counts=[len(of_one) for of_one in pieces])

    def _windows(self, sound: Samples) -> list[Samples]:
        """Cut what the model would crop at random: windows that cover the sound."""
        longest = int(self._window_s * self.media.sample_rate_hz)
        if len(sound) <= longest:
            return [sound]
        n_windows = -(-len(sound) // longest)
        starts = np.linspace(0, len(sound) - longest, n_windows).round().astype(int)
        return [sound[start : start + longest] for start in starts]

    def _encode_sounds(self, sounds: Sequence[Samples]) -> npt.NDArray[np.float32]:
        import torch

        host, parts = self.open(), self._parts
        assert parts is not None
        features = parts.sound(
            list(sounds), sampling_rate=self.media.sample_rate_hz, return_tensors="pt"
        )
        # A fused model's extractor calls one short sound of a batch "longer", at random.
        longer = torch.zeros((len(sounds), 1), dtype=torch.bool, device=host.device)
        values = features["input_features"].to(host.device, host.dtype)
        with torch.inference_mode():
            return to_numpy(_vectors(host.module.get_audio_features(values, is_longer=longer)))

    def _encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        import torch

        host, parts = self.open(), self._parts
        assert parts is not None
        tokens = parts.text(list(texts), padding=True, return_tensors="pt").to(host.device)
        with torch.inference_mode():
            out = host.module.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            return to_numpy(_vectors(out))

    def open(self) -> TorchHost:
        """Read the weights, once; `encode` calls it."""
        with self._lock:
            if self._host is None:
                module = build_clap(self._folder)
                limit = module.config.text_config.max_position_embeddings - 2
                self._parts = _Processors(self._folder, limit=int(limit))
                self._host = TorchHost(module, options=self._options, name=self.name)
                if self._host.device.type == "cuda":
                    self.batch_size |= {"audio": 64, "text": 1024}
            return self._host

    def close(self) -> None:
        """Let the weights go; the next `encode` reads them again."""
        with self._lock:
            self._host = self._parts = None


class _Processors:
    """The model's own tokenizer and feature extractor."""

    def __init__(self, folder: ModelFolder, *, limit: int) -> None:
        from transformers import AutoTokenizer, ClapFeatureExtractor

        try:
            self.text: Any = AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True)
            self.sound: Any = ClapFeatureExtractor.from_pretrained(
                str(folder.path), local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the tokenizer or feature extractor in {folder.path} cannot be read ({error}); "
                "fetch the model again",
                code="model_unavailable",
            ) from error
        self._limit = min(limit, int(self.text.model_max_length))

    def split(self, text: str) -> list[str]:
        safe = text.encode("utf-8", "replace").decode("utf-8")
        return split_text(safe, count=self._count, limit=self._limit)

    def _count(self, text: str) -> int:
        return len(self.text(text, verbose=False)["input_ids"])


def build_clap(folder: ModelFolder) -> Any:  # Any: transformers.ClapModel
    """Build the model and read its weights from safetensors.

    Raises:
        BackendMissingError: transformers is not installed.
        ModelError: `unsafe_weights`, `model_hash_mismatch`, `model_shape`, `remote_code_refused`.
    """
    folder.json("config.json")
    cure_torchvision()
    force_offline()
    try:
        from transformers import ClapModel
    except ImportError as error:
        raise need("transformers", extra="clap", reason=folder.manifest.name) from error

    with folder.filling() as weights, quiet_libraries():
        loaded: Any = ClapModel.from_pretrained(
            str(folder.path),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    model, info = loaded
    missing = sorted(set(info["missing_keys"]) | {str(key) for key in info["mismatched_keys"]})
    if missing:
        raise ModelError(
            f"{weights} lacks {len(missing)} tensors of its model, e.g. {missing[0]}; fetch the "
            "model again",
            code="model_shape",
        )
    return model.float()


def _vectors(out: Any) -> Any:
    """Take the vectors out of what transformers gives: a tensor in 4.57, an object in 5."""
    return getattr(out, "pooler_output", out)
