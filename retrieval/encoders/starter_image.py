"""The starter's image tower: a convolutional trunk, a trained head and a mix of class names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_colour import COLOURS, colour_shares
from retrieval.encoders.starter_files import WeightFiles, dequantise
from retrieval.encoders.starter_head import Head, consensus, times, unit
from retrieval.encoders.starter_trunk import Threads, Trunk
from retrieval.errors import ModelError

Pixels = npt.NDArray[np.uint8]


class ImageTower:
    """Encode pictures.

    Args:
        files: the starter's weights.
        threads: CPU threads the trunk may use.
    """

    def __init__(self, files: WeightFiles, *, threads: int) -> None:
        settings = files.manifest["image"]
        self._side = int(settings["side_px"])
        self._trunk = Trunk(
            files.read("image.onnx"),
            given="image",
            wanted=("feature", "middle"),
            threads=Threads(threads),
        )
        tensors = files.tensors("image.safetensors")
        self._classes = dequantise(tensors, "classes")
        self._bias = tensors["bias"].astype(np.float32)
        self._names = dequantise(tensors, "names")
        self._colours = dequantise(tensors, "colours")
        self._head = Head(tensors)
        self._power = float(settings["power"])
        self._tint = float(settings["tint"])
        self._temperature = float(settings["temperature"])
        self._share = (float(settings["share_low"]), float(settings["share_high"]))
        self._photo = tuple(float(settings[f"photo_{k}"]) for k in ("share", "from", "width"))

    def encode(self, pictures: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Encode pictures: float32 [N, dim], any length; see `features` and `project`."""
        return self.project(self.features(pictures))

    def features(self, pictures: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Run the trunk and measure the colours.

        Args:
            pictures: uint8 RGB [S, S, 3], S as the manifest says.

        Returns:
            float32 [N, F + 12 + M]: the trunk's features (not negative), the colour shares, and the
            means and maxima of three earlier stages.

        Raises:
            ModelError: a picture has another size (`picture_size`).
        """
        for picture in pictures:
            if picture.shape != (self._side, self._side, 3):
                raise ModelError(
                    f"the starter model reads pictures of {self._side} x {self._side}; "
                    f"this one is {picture.shape[1]} x {picture.shape[0]}; load it as "
                    "`encoder.media` says",
                    code="picture_size",
                )
        feature, middle = self._trunk.run(np.stack(pictures))
        seen = np.concatenate([feature, colour_shares(pictures), middle], axis=1)
        return np.asarray(seen, dtype=np.float32)

    def project(self, seen: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Map features and colours into the space.

        Mixes norm(head(f^power, sqrt(colours), m)) with norm(ConSE + tint * colours' words), where
        ConSE = norm(sum_c p(c) name(c)); the share of the latter grows with the largest p(c),
        from `share_low` at 0 to `share_high` at 1. The head learnt from drawings: the farther the
        features are from theirs, the more a picture is a photo: the share rises towards
        `photo_share`, and the earlier stages fade out.

        Args:
            seen: float32 [N, F + 12 + M], from `features`.

        Returns:
            float32 [N, dim].
        """
        n = self._classes.shape[1]
        feature, colours, middle = np.split(seen, [n, n + len(COLOURS)], axis=1)
        feature, colours = np.maximum(feature, 0.0), np.maximum(colours, 0.0)
        logits = (times(feature, self._classes.T) + self._bias) / self._temperature
        named, sure = consensus(logits, names=self._names)
        named = unit(named + self._tint * times(colours, self._colours))
        low, high = self._share
        share = low + (high - low) * sure
        sent = np.concatenate([feature**self._power, np.sqrt(colours), middle], axis=1)
        standard = self._head.standardised(sent)
        photo_like = self._photo_like(np.ascontiguousarray(standard[:, :n]))
        share += np.maximum(self._photo[0] - share, 0) * photo_like
        standard[:, n + len(COLOURS) :] *= 1 - photo_like
        return np.asarray((1.0 - share) * unit(self._head.read(standard)) + share * named)

    def _photo_like(self, standard: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """How unlike drawings: sigmoid((mean square of the standardised features - from) / width).

        Returns:
            float32 [N, 1], 0 to 1.
        """
        _, start, width = self._photo
        square = np.mean(standard**2, axis=1, keepdims=True)
        return np.asarray(1 / (1 + np.exp((start - square) / width)), dtype=np.float32)
