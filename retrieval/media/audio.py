"""Sounds of any rate and channel count to mono windows, streamed."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.errors import BadMediaError
from retrieval.media.container_details import container_details
from retrieval.media.containers import open_container, sound_stream
from retrieval.media.decoded import Decoded
from retrieval.types import LoadedPart, MediaSpec

if TYPE_CHECKING:
    from av.audio.fifo import AudioFifo
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MAX_SOUND_S = 1800
"""Only the first half hour is used (flag `first_30_min_only`): 2 h of silence fit into 181 KB."""
MIN_SOUND_S = 0.02
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
MAX_CHANNELS = 8

_SILENT_PEAK = 1 / 32768  # less than one step of a 16-bit sample
_MAX_ERRORS = 1_000
_BUDGET_S = 20.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded sound.

    Attributes:
        samples: float32 [T] in [-1, 1], mono, at the wanted rate.
        start_s: where in the container it starts.
        flags: `silent`, `shorter_than_header`, `first_30_min_only`, `time_budget_reached`.
    """

    samples: Samples
    start_s: float
    flags: tuple[str, ...]


def load_audio(file: io.BufferedIOBase, *, format: str, spec: MediaSpec) -> Decoded:
    """Decode a sound and cut it into windows.

    Args:
        file: seekable.
        format: as `kinds.sniff` said.
        spec: rate, window and hop.

    Returns:
        Audio parts, float32 [T] mono in [-1, 1] at `spec.sample_rate_hz`; see `windows`.

    Raises:
        BadMediaError: `no_audio`, `bad_sample_rate`, `too_many_channels`, `non_finite_audio`,
            `too_short`, `truncated`, `corrupt`.

    Example:
        >>> import wave
        >>> file = io.BytesIO()
        >>> with wave.open(file, "wb") as sound:
        ...     sound.setparams((1, 2, 8000, 0, "NONE", ""))
        ...     sound.writeframes(bytes(16000))
        >>> decoded = load_audio(file, format="wav", spec=MediaSpec(sample_rate_hz=16000))
        >>> decoded.duration_s, decoded.flags, len(decoded.parts[0].payload)
        (1.0, ('silent',), 16000)
    """
    if format == "wav":
        _check_wav_header(file)
    with open_container(file, format=format, what="sound") as container:
        stream = sound_stream(container)
        if stream is None:
            raise BadMediaError(
                "there is no sound in it that crossfind decodes; re-encode it as FLAC, Opus or MP3",
                code="no_audio",
            )
        header_s = _wav_header_s(file) if format == "wav" else _header_s(container, stream)
        details = container_details(container, sound=stream)
        sound = decode_sound(container, stream, spec=spec, header_s=header_s, budget_s=_BUDGET_S)
    parts, flags = heard_parts(sound, spec=spec)
    duration_s = len(sound.samples) / spec.sample_rate_hz
    return Decoded("audio", format, parts, duration_s=duration_s, flags=flags, details=details)


def heard_parts(sound: Sound, *, spec: MediaSpec) -> tuple[tuple[LoadedPart, ...], tuple[str, ...]]:
    """Cut a sound into windows and, where an engine is named, write down what is said in it.

    Args:
        sound: decoded.
        spec: window, hop and engine.

    Returns:
        Audio parts, then text parts with times; the sound's flags and those of the engine.
    """
    parts = windows(sound, spec=spec)
    if not spec.speech:
        return parts, sound.flags
    from retrieval.media.speech import spoken_parts

    said, flags = spoken_parts(
        sound.samples,
        sample_rate_hz=spec.sample_rate_hz,
        start_s=sound.start_s,
        engine=spec.speech,
        budget_s=spec.speech_s,
    )
    return parts + said, tuple(sorted({*sound.flags, *flags}))


def windows(sound: Sound, *, spec: MediaSpec) -> tuple[LoadedPart, ...]:
    """Cut a sound into overlapping windows.

    A sound of at most `window_s` is one part as it is. A longer one gives a full window every
    `hop_s`; where the last does not reach the end, one more is aligned with the end.

    Args:
        sound: decoded.
        spec: window and hop.

    Returns:
        Audio parts whose payloads are views of `sound.samples`.

    Example:
        >>> sound = Sound(np.zeros(25, dtype=np.float32), 0.0, ())
        >>> spec = MediaSpec(sample_rate_hz=1, window_s=10, hop_s=10)
        >>> [(part.start_s, part.end_s) for part in windows(sound, spec=spec)]
        [(0.0, 10.0), (10.0, 20.0), (15.0, 25.0)]
    """
    rate, total = spec.sample_rate_hz, len(sound.samples)
    width = max(1, round(spec.window_s * rate))
    hop = max(1, round(spec.hop_s * rate))
    last = max(0, total - width)
    starts = list(range(0, last + 1, hop))
    if starts[-1] < last:
        starts.append(last)
    return tuple(
        LoadedPart(
            "audio",
            sound.samples[start : start + width],
            start_s=sound.start_s + start / rate,
            end_s=sound.start_s + min(start + width, total) / rate,
        )
        for start in starts
    )


def decode_sound(
    container: InputContainer,
    stream: AudioStream,
    *,
    spec: MediaSpec,
    header_s: float | None,
    budget_s: float,
) -> Sound:
    """Decode a stream to mono at the wanted rate, in blocks of a second.

    Args:
        container, stream: open, at the beginning.
        spec: the wanted rate.
        header_s: how long the header says it is, or None.
        budget_s: seconds this may take; what is decoded by then is kept and flagged.

    Returns:
        The sound; channels are averaged, samples outside [-1, 1] are clipped.

    Raises:
        BadMediaError: as for `load_audio`.
    """
    reader = _Reader(container, stream, deadline=time.monotonic() + budget_s)
    blocks = [block for raw, rate in reader.blocks() for block in reader.resample(raw, rate, spec)]
    blocks += reader.flush()
    samples = np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)
    del blocks
    np.clip(samples, -1.0, 1.0, out=samples)
    duration_s = len(samples) / spec.sample_rate_hz
    _check_length(duration_s)
    flags = set(reader.flags)
    if header_s is not None and duration_s < 0.95 * min(header_s, MAX_SOUND_S) - 0.1:
        flags.add("shorter_than_header")
    if max(float(samples.max()), -float(samples.min())) < _SILENT_PEAK:
        flags.add("silent")
    return Sound(samples, reader.start_s, tuple(sorted(flags)))


class _Reader:
    """Decodes one stream and resamples it; keeps what the frames have in common."""

    def __init__(self, container: InputContainer, stream: AudioStream, *, deadline: float) -> None:
        import av

        self.flags: set[str] = set()
        self.start_s = 0.0
        self._av = av
        self._container, self._stream = container, stream
        self._deadline = deadline
        self._resampler: av.AudioResampler | None = None
        self._rate_hz = 0

    def blocks(self) -> Iterator[tuple[Samples, int]]:
        """Yield mono blocks of about a second at the stream's own rate."""
        total_s = 0.0
        for frame in self._gathered():
            mono, rate_hz = to_mono(frame), frame.sample_rate
            room = round((MAX_SOUND_S - total_s) * rate_hz)
            if len(mono) > room:
                self.flags.add("first_30_min_only")
                if room:
                    yield mono[:room], rate_hz
                return
            total_s += len(mono) / rate_hz
            yield mono, rate_hz

    def resample(self, mono: Samples, rate_hz: int, spec: MediaSpec) -> list[Samples]:
        """Bring a block to the wanted rate; the filter holds back a few samples until `flush`."""
        if rate_hz == spec.sample_rate_hz and self._resampler is None:
            return [mono]
        done: list[Samples] = []
        if self._resampler is None or rate_hz != self._rate_hz:
            done += self.flush()
            self._resampler = self._av.AudioResampler(
                format="flt", layout="mono", rate=spec.sample_rate_hz
            )
            self._rate_hz = rate_hz
        frame = self._av.AudioFrame.from_ndarray(mono[None], format="flt", layout="mono")
        frame.sample_rate = rate_hz
        return done + [out.to_ndarray()[0] for out in self._resampler.resample(frame)]

    def flush(self) -> list[Samples]:
        """Give what the resampler still holds."""
        if self._resampler is None:
            return []
        resampler, self._resampler = self._resampler, None
        return [out.to_ndarray()[0] for out in resampler.resample(None)]

    def _gathered(self) -> Iterator[AudioFrame]:
        """Join frames to about a second: Vorbis frames of 128 samples are too small for Python."""
        fifo, form = self._av.AudioFifo(), None
        for frame in self._frames():
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if form is None:
                begin_s = (self._container.start_time or 0) / 1_000_000
                self.start_s = max(0.0, float(frame.time or 0.0) - begin_s)
            elif form != now:
                yield from _all_of(fifo)
                fifo = self._av.AudioFifo()
            form = now
            frame.pts = None  # gaps in the timestamps are no reason to refuse a frame
            fifo.write(frame)
            if fifo.samples >= frame.sample_rate:
                yield from _all_of(fifo)
        yield from _all_of(fifo)

    def _frames(self) -> Iterator[AudioFrame]:
        """Decode frame by frame; a damaged packet is stepped over, a damaged container ends it."""
        _check_form(self._stream.codec_context.sample_rate, self._stream.codec_context.channels)
        n_errors = 0
        packets = self._container.demux(self._stream)
        while True:
            if time.monotonic() > self._deadline:
                self.flags.add("time_budget_reached")
                return
            try:
                packet = next(packets, None)
            except self._av.error.FFmpegError:
                self.flags.add("shorter_than_header")
                return
            if packet is None:
                return
            try:
                for frame in packet.decode():
                    _check_form(frame.sample_rate, frame.layout.nb_channels)
                    yield frame
            except self._av.error.FFmpegError:
                n_errors += 1
                self.flags.add("damaged_packets")
                if n_errors > _MAX_ERRORS:
                    return


def _all_of(fifo: AudioFifo) -> Iterator[AudioFrame]:
    frame = fifo.read() if fifo.samples else None
    if frame is not None:
        yield frame


def to_mono(frame: AudioFrame) -> Samples:
    """Average the channels of a decoded frame.

    Args:
        frame: of any sample format.

    Returns:
        float32 [T]; integers are scaled to [-1, 1].

    Raises:
        BadMediaError: a sample is NaN or infinite (`non_finite_audio`).
    """
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        raw = raw.astype(np.float32) / 128 - 1
    elif raw.dtype.kind == "i":
        raw = raw.astype(np.float32) / float(1 << (8 * raw.dtype.itemsize - 1))
    mixed = raw[0] if len(raw) == 1 else raw.mean(axis=0)
    mono = np.ascontiguousarray(mixed, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise BadMediaError(
            "the sound holds samples that are not numbers (NaN or infinite); export it again",
            code="non_finite_audio",
        )
    return mono


def _check_form(rate_hz: int, n_channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise BadMediaError(
            f"the sample rate is {rate_hz:,} Hz; the limits are {MIN_RATE_HZ:,} and "
            f"{MAX_RATE_HZ:,} Hz; resample it",
            code="bad_sample_rate",
        )
    if n_channels > MAX_CHANNELS:
        raise BadMediaError(
            f"the sound has {n_channels:,} channels; the limit is {MAX_CHANNELS}; mix it down",
            code="too_many_channels",
        )


def _check_length(duration_s: float) -> None:
    if duration_s == 0:
        raise BadMediaError("there are no samples in it; record it again", code="no_audio")
    if duration_s < MIN_SOUND_S:
        raise BadMediaError(
            f"the sound lasts {duration_s * 1000:.1f} ms; the least is {MIN_SOUND_S * 1000:.0f} "
            "ms; give a longer one",
            code="too_short",
        )


def _header_s(container: InputContainer, stream: AudioStream) -> float | None:
    """Tell how long the header says it is; None where it would only be a guess."""
    if container.format.name in ("aac", "ac3", "amr", "mp3", "mpegts", "mpeg"):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


def _check_wav_header(file: io.BufferedIOBase) -> None:
    """Check what FFmpeg refuses without a reason: absurd rates and channel counts."""
    form = _wav_chunks(file).get(b"fmt ")
    if form and len(form[1]) >= 8:
        n_channels = int.from_bytes(form[1][2:4], "little")
        _check_form(int.from_bytes(form[1][4:8], "little"), n_channels)


def _wav_header_s(file: io.BufferedIOBase) -> float | None:
    """Tell the length that the `data` chunk claims; FFmpeg trims the claim to the file."""
    position = file.tell()
    chunks = _wav_chunks(file)
    file.seek(position)
    if b"fmt " not in chunks or b"data" not in chunks:
        return None
    bytes_per_s = int.from_bytes(chunks[b"fmt "][1][8:12], "little")
    return chunks[b"data"][0] / bytes_per_s if bytes_per_s else None


def _wav_chunks(file: io.BufferedIOBase) -> dict[bytes, tuple[int, bytes]]:
    """Read the chunks up to `data`: name -> claimed length, first bytes."""
    file.seek(0)
    found: dict[bytes, tuple[int, bytes]] = {}
    if file.read(12)[:4] != b"RIFF":
        return found  # RF64 keeps its length elsewhere
    while len(found) < 100 and len(front := file.read(8)) == 8 and b"data" not in found:
        length = int.from_bytes(front[4:], "little")
        start = file.tell()
        found[front[:4]] = (length, file.read(16))
        file.seek(start + length + length % 2)
    return found
