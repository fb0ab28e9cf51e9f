"""Two models as one: pictures and texts stay where the first puts them, sounds join them there.

The first model's space is never altered, so its published quality stays. Sounds get a second
vector in it, by a bridge that was fitted on texts alone; and they keep their own vector in the
audio model's space, where texts find them best. `space_for` names the better one for each pair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.config import expand_home
from retrieval.encoders.base import Encoder, Vectors
from retrieval.encoders.joined_file import SUFFIX, JoinedFile, read_joined_file
from retrieval.encoders.model_folder import folder_name
from retrieval.errors import ModelError
from retrieval.types import Modality, Payload, Space

PREFIX = "joined:"


class JoinedEncoder(Encoder):
    """Encode pictures, sounds and texts with two models and the bridge between them.

    Args:
        joined: contents of a joined file.
        name: of this model.
        image: the model of pictures and texts; closed with this encoder.
        audio: the model of sounds and texts; closed with this encoder.

    Raises:
        ModelError: a model is another one than was joined (`base_mismatch`).

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> fake = FakeEncoder()
        >>> place = fake.spaces[0].fingerprint
        >>> bridge = {"weight": np.eye(64, dtype=np.float32), "bias": np.zeros(64, np.float32),
        ...           "shift": np.zeros(64, np.float32)}
        >>> file = JoinedFile("fake", place, "fake", place, dim_hidden=0, tensors=bridge)
        >>> both = JoinedEncoder(file, name="joined:both", image=fake, audio=FakeEncoder())
        >>> [both.space_for(q, i).id == both.spaces[0].id
        ...  for q, i in (("text", "image"), ("image", "audio"), ("text", "audio"))]
        [True, True, False]
    """

    def __init__(self, joined: JoinedFile, *, name: str, image: Encoder, audio: Encoder) -> None:
        self._joined = joined
        self._image, self._audio = image, audio
        self._image_space = joint_space(image, other="image")
        self._audio_space = joint_space(audio, other="audio")
        _check_base(self._image_space, expected=joined.image_fingerprint, name=name)
        _check_base(self._audio_space, expected=joined.audio_fingerprint, name=name)
        self.name = name
        self.media = replace(
            image.media,
            sample_rate_hz=audio.media.sample_rate_hz,
            window_s=audio.media.window_s,
            hop_s=audio.media.hop_s,
        )
        self.batch_size = {**audio.batch_size, **image.batch_size}
        self.batch_size["audio"] = audio.batch_size.get("audio", 8)
        short = joined.fingerprint[:12]
        licence = " and ".join(
            sorted({s.licence for s in (self._image_space, self._audio_space) if s.licence})
        )
        self.spaces = (
            Space(f"joined-{short}", name, joined.fingerprint, dim=joined.dims[1],
                  modalities=("image", "audio", "text"), licence=licence),
            replace(self._audio_space, id=f"joined-{short}-audio", model=name,
                    modalities=("audio", "text")),
        )  # fmt: skip
        self._lock = threading.Lock()
        self._last: tuple[list[Payload], Vectors] = ([], np.zeros((0, 0), np.float32))

    def space_for(self, query: Modality, item: Modality) -> Space:
        """Name the audio model's own space between sounds and texts, the shared one elsewhere."""
        if "audio" in (query, item) and {query, item} <= {"audio", "text"}:
            return self.spaces[1]
        return super().space_for(query, item)

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> npt.NDArray[np.float32]:
        shared = space == self.spaces[0]
        if modality == "audio":
            vectors = self._sounds(inputs)
            return self._joined.bridge(vectors, sounds=True) if shared else vectors
        if shared:
            return self._image.encode(inputs, modality=modality, space=self._image_space)
        return self._audio.encode(inputs, modality=modality, space=self._audio_space)

    def _sounds(self, inputs: Sequence[Payload]) -> Vectors:
        """Encode sounds once for both spaces: adding asks for the same batch twice in a row."""
        with self._lock:
            held, vectors = self._last
            if len(held) == len(inputs) and all(a is b for a, b in zip(held, inputs, strict=True)):
                return vectors
        made = self._audio.encode(inputs, modality="audio", space=self._audio_space)
        with self._lock:
            self._last = (list(inputs), made)
        return made

    def close(self) -> None:
        """Close both models."""
        with self._lock:
            self._last = ([], np.zeros((0, 0), np.float32))
        self._image.close()
        self._audio.close()


def joined_path(name: str, *, models_dir: Path) -> Path:
    """Name the file of a joined model: `joined:NAME` lies in the models folder.

    Example:
        >>> joined_path("joined:mine", models_dir=Path("/models")).name
        'mine.joined'
    """
    bare = name.removeprefix(PREFIX)
    if bare.endswith(SUFFIX):
        return expand_home(bare).absolute()
    return models_dir / f"{folder_name(bare)}{SUFFIX}"


def open_joined(path: Path, *, name: str, open_base: Callable[[str], Encoder]) -> JoinedEncoder:
    """Open a joined file as an Encoder.

    Args:
        path: of the file.
        name: of the model.
        open_base: opens one of the two models by its name.

    Raises:
        ModelError: see `read_joined_file` and `JoinedEncoder`.
    """
    joined = read_joined_file(path)
    image = open_base(joined.image)
    return JoinedEncoder(joined, name=name, image=image, audio=open_base(joined.audio))


def joint_space(encoder: Encoder, *, other: Modality) -> Space:
    """Name the Space where a model has both texts and another modality.

    Raises:
        ModelError: there is none (`pair_not_served`).
    """
    return encoder.space_for("text", other)


def _check_base(space: Space, *, expected: str, name: str) -> None:
    if space.fingerprint != expected:
        raise ModelError(
            f"model {name} was joined with another version of {space.model} (fingerprint "
            f"{expected[:12]}, now {space.fingerprint[:12]}); join the models again",
            code="base_mismatch",
        )
