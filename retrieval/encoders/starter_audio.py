"""The starter's audio tower: log-mel blocks, a trunk, a head and a mix of class names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import WeightFiles, dequantise, session
from retrieval.encoders.starter_head import Floats, Head, consensus, unit

SAMPLE_RATE_HZ = 44_100
_FRAME, _HOP, _N_MELS = 2048, 1024, 96
_BLOCK = 100  # frames of one block: 2.3 s
# The trunk was trained on log10(1 + 10^4 x) divided by this, the largest value in its data.
_LARGEST = 9.457798957824707
_PEAK = 0.9


def mel_filters() -> Floats:
    """Make the triangular HTK mel filters, each of sum 1.

    Returns:
        float32 [96, 1025].

    Example:
        >>> mel_filters().sum(axis=1).round(3).tolist() == [1.0] * 96
        True
    """
    hz = np.arange(_FRAME // 2 + 1) * SAMPLE_RATE_HZ / _FRAME
    mels = 1127.01048 * np.log(1 + hz / 700.0)
    edges = np.linspace(0.0, mels[-1], _N_MELS + 2)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (mels - low) / (middle - low), (high - mels) / (high - middle)
    filters = np.clip(np.minimum(rising, falling), 0.0, None)
    return np.asarray(filters / filters.sum(axis=1, keepdims=True), dtype=np.float32)


def log_mel(sound: npt.NDArray[np.float32], *, filters: Floats) -> Floats:
    """Compute the trunk's input: log10(1 + 10^4 power) / 9.46 of the sound scaled to peak 0.9.

    Args:
        sound: float32 [T] at 44,100 Hz.
        filters: from `mel_filters`.

    Returns:
        float32 [frames, 96].
    """
    peak = float(np.abs(sound).max())
    scaled = sound * (_PEAK / max(peak, 1e-4))
    padded = np.pad(scaled, (_FRAME // 2, _FRAME // 2 + _FRAME))
    n_frames = 1 + len(sound) // _HOP
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / (_FRAME - 1))).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:n_frames]
    power = (np.abs(np.fft.rfft(frames * window)) ** 2).astype(np.float32)
    return np.asarray(np.log10(power @ filters.T * 1e4 + 1.0) / _LARGEST, dtype=np.float32)


def blocks(mel: Floats) -> Floats:
    """Cut a spectrogram into blocks that cover it; a short one is repeated to fill a block.

    Args:
        mel: float32 [frames, 96].

    Returns:
        float32 [B, 100, 96].
    """
    if len(mel) < _BLOCK:
        mel = np.tile(mel, (-(-_BLOCK // len(mel)), 1))[:_BLOCK]
    n_blocks = max(1, round(len(mel) / _BLOCK + 0.2))
    starts = np.linspace(0, len(mel) - _BLOCK, n_blocks).round().astype(int)
    return np.stack([mel[start : start + _BLOCK] for start in starts])


class AudioTower:
    """Encode sounds.

    Args:
        files: the starter's weights.
        threads: CPU threads the trunk may use.
    """

    def __init__(self, files: WeightFiles, *, threads: int) -> None:
        settings = files.manifest["audio"]
        self._run = session(files.read("audio.onnx"), threads=threads)
        tensors = files.tensors("audio.safetensors")
        self._filters = mel_filters()
        self._names = dequantise(tensors, "names")
        self._head = Head(tensors)
        self._classes = dequantise(tensors, "classes")
        self._bias = tensors["bias"].astype(np.float32)
        self._temperature = float(settings["temperature"])
        self._share = float(settings["share"])

    def encode(self, sounds: Sequence[npt.NDArray[np.float32]]) -> Floats:
        """Encode sounds: float32 [N, dim], any length; see `encode_with_features`."""
        return self.encode_with_features(sounds)[0]

    def encode_with_features(
        self, sounds: Sequence[npt.NDArray[np.float32]]
    ) -> tuple[Floats, Floats]:
        """Run the trunk and map its features into the space.

        Args:
            sounds: float32 [T] at 44,100 Hz.

        Returns:
            float32 [N, dim], any length, a zero row for silence; and the features [N, F].
        """
        cut = [blocks(log_mel(sound, filters=self._filters)) for sound in sounds]
        features = self._run.run(["feature"], {"mel": np.concatenate(cut)})[0]
        starts = np.cumsum([0, *(len(c) for c in cut[:-1])])
        counts = np.array([[len(c)] for c in cut], dtype=np.float32)
        pooled: Floats = np.asarray(np.add.reduceat(features, starts, axis=0) / counts, np.float32)
        vectors = self.project(pooled)
        silent = np.array([float(np.abs(sound).max()) < 1e-4 for sound in sounds])
        vectors[silent] = 0.0
        return vectors, pooled

    def project(self, feature: Floats) -> Floats:
        """Map pooled features float32 [N, F] to float32 [N, dim]."""
        logits = (feature @ self._classes.T + self._bias) / self._temperature
        named, _ = consensus(logits, names=self._names)
        return (1.0 - self._share) * unit(self._head(feature)) + self._share * named
