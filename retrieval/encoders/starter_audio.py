"""The starter's audio tower: log-mel blocks, a trunk, a head and a mix of class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import Tensors, WeightFiles, dequantise
from retrieval.encoders.starter_head import Floats, Head, consensus, times, unit
from retrieval.encoders.starter_trunk import Threads, Trunk

SAMPLE_RATE_HZ = 44_100
_FRAME, _HOP, _N_MELS = 2048, 1024, 96
_BLOCK = 100  # frames of one block: 2.3 s
# The trunk was trained on log10(1 + 10^4 x) divided by this, the largest value in its data.
_LARGEST = 9.457798957824707
_PEAK = 0.9
# The event network: 50 frames a second, spectrum up to 11,025 Hz.
_EVENT_FFT, _EVENT_WINDOW, _EVENT_HOP = 4096, 1764, 882
_EVENT_LEAST = 32 * _EVENT_HOP


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
    power = _power(np.fft.rfft(frames * window))
    return np.asarray(np.log10(power @ filters.T * 1e4 + 1.0) / _LARGEST, dtype=np.float32)


def _power(spectrum: npt.NDArray[np.complex64] | npt.NDArray[np.complex128]) -> Floats:
    """Square the magnitudes without `abs`, which takes roots first."""
    return np.asarray(spectrum.real**2 + spectrum.imag**2, dtype=np.float32)


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


def event_filters() -> Floats:
    """Make the 64 triangular mel filters (Slaney) of the event network, up to 11,025 Hz.

    Returns:
        float32 [64, 1025].

    Example:
        >>> event_filters().shape
        (64, 1025)
    """

    def to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # linear below 1 kHz (mel 15), logarithmic above
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    highest = 15 + np.log(11_025 / 1000) / (np.log(6.4) / 27)
    edges = to_hz(np.linspace(0.0, highest, 66))
    hz = np.arange(1025) * SAMPLE_RATE_HZ / _EVENT_FFT
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    shape = np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle))
    return np.asarray(np.clip(shape, 0.0, None) * 2 / (high - low), dtype=np.float32)


def event_mel(sound: npt.NDArray[np.float32], *, filters: Floats) -> Floats:
    """Compute the event network's input: log mel power of the lower half of the spectrum.

    At 44,100 Hz with twice the frame it equals, but for the resampling filter, what the network
    was trained on at 22,050 Hz; the power is four times as large, which the 4 undoes.

    Args:
        sound: float32 [T] at 44,100 Hz.
        filters: from `event_filters`.

    Returns:
        float32 [frames, 64], 50 frames a second, at least 32.
    """
    peak = float(np.abs(sound).max())
    scaled = sound * (0.7 / max(peak, 1e-4))
    if len(scaled) < _EVENT_LEAST:
        scaled = np.tile(scaled, -(-_EVENT_LEAST // len(scaled)))[:_EVENT_LEAST]
    padded = np.pad(scaled, _EVENT_WINDOW // 2, mode="reflect")
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_EVENT_WINDOW) / _EVENT_WINDOW)).astype(
        np.float32
    )
    frames = np.lib.stride_tricks.sliding_window_view(padded, _EVENT_WINDOW)[::_EVENT_HOP]
    spectrum = np.fft.rfft(frames * window, _EVENT_FFT)[:, :1025]
    power = _power(spectrum) / 4
    return np.asarray(np.log(power @ filters.T + 2.2e-16), dtype=np.float32)


class AudioMix:
    """Map what the networks heard into the space.

    Args:
        tensors: of `audio.safetensors`: the head's, `classes`, `bias`, `names`, `shift`, `middle`.
        settings: `sharpness`, `share` of the names, `event_share` of the event network.

    Attributes:
        names: float32 [C, dim], vectors of the event classes' names.
    """

    def __init__(self, tensors: Tensors, *, settings: Mapping[str, float]) -> None:
        self._head = Head(tensors)
        self._classes, self.names = (dequantise(tensors, name) for name in ("classes", "names"))
        self._bias, self._shift, self._middle = (
            tensors[name].astype(np.float32) for name in ("bias", "shift", "middle")
        )
        self._sharpness = float(settings["sharpness"])
        self._share = float(settings["share"])
        self._event_share = float(settings["event_share"])

    def class_evidence(self, feature: Floats, *, events: Floats) -> Floats:
        """Weigh the event network's and the trunk's own estimate of the classes.

        Args:
            feature, events: from `AudioTower.hear`.

        Returns:
            float32 [N, C], the weighted mean of their log probabilities, less a shift that keeps
            common classes from drowning rare ones, sharpened.
        """
        seen = np.sqrt(np.maximum(feature, 0.0))
        own = times(self._head.hidden(seen), self._classes.T) + self._bias
        both = self._event_share * events - (1 - self._event_share) * np.logaddexp(0, -own)
        return np.asarray((both - self._shift) * self._sharpness, dtype=np.float32)

    def __call__(self, feature: Floats, *, events: Floats) -> Floats:
        """Map into the space: norm(head(sqrt(f))) mixed with ConSE, less what all sounds share.

        What they share says nothing of a sound, but some pictures are near to it and would answer
        every sound.

        Args:
            feature, events: from `AudioTower.hear`.

        Returns:
            float32 [N, dim].
        """
        named, _ = consensus(self.class_evidence(feature, events=events), names=self.names)
        learnt = unit(self._head(np.sqrt(np.maximum(feature, 0.0))))
        return unit((1.0 - self._share) * learnt + self._share * named) - self._middle


class AudioTower:
    """Encode sounds.

    Args:
        files: the starter's weights.
        threads: CPU threads the networks may use.

    Attributes:
        mix: what maps the networks' findings into the space.
    """

    def __init__(self, files: WeightFiles, *, threads: int) -> None:
        self._threads = Threads(threads)
        self._trunk = Trunk(
            files.read("audio.onnx"), given="mel", wanted=("feature",), threads=self._threads
        )
        self._hearing = Trunk(
            files.read("events.onnx"), given="mel", wanted=("logits",), threads=self._threads
        )
        self._filters, self._event_filters = mel_filters(), event_filters()
        self.mix = AudioMix(files.tensors("audio.safetensors"), settings=files.manifest["audio"])

    def encode(self, sounds: Sequence[npt.NDArray[np.float32]]) -> Floats:
        """Encode sounds: float32 [N, dim], any length; see `encode_with_features`."""
        return self.encode_with_features(sounds)[0]

    def encode_with_features(
        self, sounds: Sequence[npt.NDArray[np.float32]]
    ) -> tuple[Floats, Floats]:
        """Run the networks and map what they hear into the space.

        Args:
            sounds: float32 [T] at 44,100 Hz.

        Returns:
            float32 [N, dim], any length, a zero row for silence; and the trunk's features [N, F].
        """
        pooled, events = self.hear(sounds)
        vectors = self.mix(pooled, events=events)
        silent = np.array([float(np.abs(sound).max()) < 1e-4 for sound in sounds])
        vectors[silent] = 0.0
        return vectors, pooled

    def hear(self, sounds: Sequence[npt.NDArray[np.float32]]) -> tuple[Floats, Floats]:
        """Run both networks.

        Args:
            sounds: float32 [T] at 44,100 Hz.

        Returns:
            The trunk's features float32 [N, F], averaged over blocks, and the event network's log
            probabilities of the classes float32 [N, C].
        """
        cut, mels = zip(*self._threads.map(self._spectra, sounds), strict=True)
        (features,) = self._trunk.run(np.concatenate(cut))
        starts = np.cumsum([0, *(len(c) for c in cut[:-1])])
        counts = np.array([[len(c)] for c in cut], dtype=np.float32)
        pooled = (np.add.reduceat(features, starts, axis=0) / counts).astype(np.float32)
        return pooled, np.stack([_events(logits[0]) for (logits,) in self._hearing.run_each(mels)])

    def _spectra(self, sound: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Make the inputs of both networks: float32 [B, 100, 96] and [1, frames, 64]."""
        cut = blocks(log_mel(sound, filters=self._filters))
        return cut, event_mel(sound, filters=self._event_filters)[None]


def _events(logits: Floats) -> Floats:
    """Pool frames by sum p^2 / sum p: logits float32 [frames, C] to log-odds float32 [C]."""
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    clip = np.clip((p * p).sum(axis=0) / p.sum(axis=0), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clip), dtype=np.float32)
