"""The child process of `cut_clip`: reads one job from stdin, writes one file and one line."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import BadMediaError
from retrieval.media.containers import open_container, sound_stream, video_stream
from retrieval.media.kinds import sniff

_MEMORY_BYTES = 4 << 30
_CPU_S = 600
_CODECS = {
    ".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame",
    ".m4a": "aac", ".mp4": "aac",
}  # fmt: skip
_LOSSY_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # MP3 and AAC have these
# A seek lands on a keyframe, often early, rarely late: begin well before.
_LEAD_S = 12.0

# PyAV's stream and frame classes differ between its versions; Any keeps to what all have.
Track = Any


def main() -> int:
    """Cut, and answer `{"end_s": ...}` or `{"code": ..., "reason": ...}`."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, out, start_s, end_s = json.load(sys.stdin)
    try:
        answer: dict[str, object] = {"end_s": _cut(source, out, start_s, end_s)}
    except BadMediaError as error:
        answer = {"code": error.code, "reason": str(error)}
    except OSError as error:  # PyAV's own errors are OSErrors too
        code = "storage" if type(error).__module__ == "builtins" else "corrupt"
        answer = {"code": code, "reason": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if "end_s" in answer else 1


def _cut(source: str, out: str, start_s: float, end_s: float) -> float:
    suffix = os.path.splitext(out)[1].lower()
    with open(source, "rb") as file:
        modality, format = sniff(file.read(1 << 16), suffix=os.path.splitext(source)[1].lower())
        if modality not in ("audio", "video"):
            raise BadMediaError(f"it is {modality}; only sounds and videos have moments",
                                code="no_audio")  # fmt: skip
        ends = []
        sound = _read_sound(file, format, start_s, end_s)
        import av

        with av.open(out, "w") as target:
            track = frames = None
            if sound is not None:
                track = target.add_stream(
                    _CODECS[suffix], rate=_rate_hz(suffix, sound[1]), layout=sound[2]
                )
            if suffix == ".mp4":
                frames = _pictures(file, format, start_s, end_s)
                first = next(frames, None)
                if first is not None:
                    ends.append(_write_pictures(target, first, frames, start_s))
            if track is not None and sound is not None:
                ends.append(start_s + _write_sound(target, track, sound))
    if not ends:
        raise BadMediaError(f"there is nothing between {start_s} and {end_s} s",
                            code="nothing_there")  # fmt: skip
    return float(min(end_s, max(ends)))


def _rate_hz(suffix: str, rate_hz: int) -> int:
    """Keep the rate where the format has it; Opus works at 48 kHz alone."""
    if suffix in (".wav", ".flac") or (suffix != ".ogg" and rate_hz in _LOSSY_RATES_HZ):
        return rate_hz
    return 48_000


def _read_sound(
    file: io.BufferedReader, format: str, start_s: float, end_s: float
) -> tuple[npt.NDArray[np.float32], int, str] | None:
    """Decode the samples between two times: float32 [C, T], rate, layout; None for none."""
    import av

    parts: list[npt.NDArray[np.float32]] = []
    rate_hz, layout = 0, ""
    with open_container(file, format=format, what="sound") as container:
        stream = sound_stream(container)
        if stream is None:
            return None
        _seek(container, start_s)
        resampler: av.AudioResampler | None = None
        for frame in container.decode(stream):
            if frame.time is None or frame.time + frame.samples / frame.sample_rate <= start_s:
                continue
            if frame.time >= end_s:
                break
            if resampler is None:
                rate_hz = frame.sample_rate
                layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
                resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate_hz)
            at = round((frame.time - start_s) * rate_hz)
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray().astype(np.float32)
                room = round((end_s - start_s) * rate_hz) - at
                parts.append(samples[:, max(0, -at) : max(0, room)])
                at += samples.shape[1]
    joined = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), np.float32)
    return (joined, rate_hz, layout) if joined.shape[1] else None


def _pictures(
    file: io.BufferedReader, format: str, start_s: float, end_s: float
) -> Iterator[Track]:
    """Decode the frames between two times."""
    with open_container(file, format=format, what="video") as container:
        stream = video_stream(container)
        if stream is None:
            return
        _seek(container, start_s)
        for frame in container.decode(stream):
            if frame.time is None or frame.time < start_s - 1e-6:
                continue
            if frame.time >= end_s:
                return
            yield frame


def _seek(container: Track, start_s: float) -> None:
    if start_s > _LEAD_S:
        container.seek(int((start_s - _LEAD_S) * 1_000_000))


def _write_sound(
    target: Track, track: Track, sound: tuple[npt.NDArray[np.float32], int, str]
) -> float:
    import av

    samples, rate_hz, layout = sound
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
    context = track.codec_context
    resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=context.rate)
    fifo = av.AudioFifo()
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        fifo.write(piece)
    size = context.frame_size or 4096
    while (block := fifo.read(size, partial=True)) is not None:
        for packet in track.encode(block):
            target.mux(packet)
    for packet in track.encode():
        target.mux(packet)
    return float(samples.shape[1] / rate_hz)


def _write_pictures(target: Track, first: Track, frames: Iterator[Track], start_s: float) -> float:
    track = target.add_stream("libx264", rate=30)
    track.width, track.height = first.width // 2 * 2, first.height // 2 * 2
    track.pix_fmt = "yuv420p"
    track.codec_context.time_base = Fraction(1, 90_000)
    last_s = start_s
    frame: Track | None = first
    while frame is not None:
        shown = frame.reformat(width=track.width, height=track.height, format="yuv420p")
        shown.pts = round((frame.time - start_s) * 90_000)
        shown.time_base = Fraction(1, 90_000)
        for packet in track.encode(shown):
            target.mux(packet)
        last_s, frame = frame.time, next(frames, None)
    for packet in track.encode():
        target.mux(packet)
    return float(last_s + 1 / 30)


if __name__ == "__main__":
    raise SystemExit(main())
