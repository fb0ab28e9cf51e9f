"""The model that ships in the package: pictures, sounds and texts in one space, offline."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import TrunkEncoder
from retrieval.encoders.starter_files import open_weights
from retrieval.errors import ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space

if TYPE_CHECKING:
    from retrieval.encoders.starter_audio import AudioTower
    from retrieval.encoders.starter_image import ImageTower
    from retrieval.encoders.starter_text import TextTower

NAME = "starter"


class StarterEncoder(TrunkEncoder):
    """Encode pictures, sounds and texts with the weights in `retrieval/weights`.

    Each modality's files are read, hash-checked and opened at its first use: a text query loads
    the text table alone.

    Args:
        threads: CPU threads the image and audio trunks may use.
        folder: other weights than the package's.

    Raises:
        ModelError: the weights are absent or altered, or `threads` is below 1.

    Example:
        >>> encoder = StarterEncoder(threads=1)
        >>> a, b, c = encoder.encode(["a dog", "a puppy", "stock market"], modality="text")
        >>> bool(a @ b > a @ c)
        True
    """

    def __init__(self, *, threads: int = 2, folder: Path | None = None) -> None:
        if threads < 1:
            raise ModelError(f"threads is {threads}; at least 1 is needed", code="bad_threads")
        self._files = open_weights(folder)
        self._threads = threads
        self._lock = threading.Lock()
        self._text: TextTower | None = None
        self._image: ImageTower | None = None
        self._audio: AudioTower | None = None
        manifest = self._files.manifest
        modalities: tuple[Modality, ...] = ("image", "audio", "text")
        self.name = NAME
        space = Space(NAME, NAME, self._files.fingerprint, int(manifest["dim"]), modalities)
        self.spaces = (space,)
        self.media = MediaSpec(**manifest["media"])
        self.batch_size = {"image": 16, "audio": 8, "text": 1024}
        trunks: tuple[Modality, ...] = ("image", "audio")
        shapes = {m: manifest["files"][f"{m}.safetensors"]["shapes"] for m in trunks}
        self.trunk_dims = {m: int(shape["mean"][0]) for m, shape in shapes.items()}

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002 - one
    ) -> npt.NDArray[np.float32]:
        if modality == "text":
            return self._open_text().encode(cast("Sequence[str]", inputs))
        if modality == "image":
            pictures = cast("Sequence[npt.NDArray[np.uint8]]", inputs)
            return self._open_image().encode(pictures)
        return self._open_audio().encode(cast("Sequence[npt.NDArray[np.float32]]", inputs))

    def _trunk_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002 - one
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if modality == "image":
            tower = self._open_image()
            features = tower.features(cast("Sequence[npt.NDArray[np.uint8]]", inputs))
            return tower.project(features), features
        sounds = cast("Sequence[npt.NDArray[np.float32]]", inputs)
        return self._open_audio().encode_with_features(sounds)

    def _open_text(self) -> TextTower:
        with self._lock:
            if self._text is None:
                from retrieval.encoders.starter_text import TextTower

                self._text = TextTower(self._files)
            return self._text

    def _open_image(self) -> ImageTower:
        with self._lock:
            if self._image is None:
                from retrieval.encoders.starter_image import ImageTower

                self._image = ImageTower(self._files, threads=self._threads)
            return self._image

    def _open_audio(self) -> AudioTower:
        with self._lock:
            if self._audio is None:
                from retrieval.encoders.starter_audio import AudioTower

                self._audio = AudioTower(self._files, threads=self._threads)
            return self._audio

    def close(self) -> None:
        """Give back the towers; the next `encode` opens them again."""
        with self._lock:
            self._text = self._image = self._audio = None
