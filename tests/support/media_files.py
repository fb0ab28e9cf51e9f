"""Good and bad media files of every kind, built in code from a seed; no binary is committed.

Each function writes one file and returns its path, so that a test reads like a table row:

    load(media_files.cut(media_files.picture(tmp_path / "a.jpg"), share=0.5))
"""

from __future__ import annotations

import os
import socket
import struct
import wave
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

# --- pictures ---------------------------------------------------------------------------------


def pixels(*, size: tuple[int, int] = (64, 48), seed: int = 0) -> np.ndarray:
    """Paint smooth colours with four different corners; uint8 RGB [H, W, 3]."""
    width, height = size
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float64)
    x = np.linspace(0, 1, width)[None, :, None]
    y = np.linspace(0, 1, height)[:, None, None]
    top = corners[0, 0] * (1 - x) + corners[0, 1] * x
    bottom = corners[1, 0] * (1 - x) + corners[1, 1] * x
    return np.round(top * (1 - y) + bottom * y).astype(np.uint8)


def picture(
    path: Path, *, size: tuple[int, int] = (64, 48), seed: int = 0, format: str = "", **save
) -> Path:
    """Write a picture; the format follows the suffix unless it is named."""
    image = Image.fromarray(pixels(size=size, seed=seed))
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}
    name = format or formats.get(path.suffix.lower(), path.suffix[1:].upper())
    image.save(path, name, **save)
    return path


def png_claiming(path: Path, *, width: int, height: int) -> Path:
    """Write a PNG whose header claims a size and whose data is a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def animation(path: Path, *, n_frames: int, size: tuple[int, int] = (16, 16)) -> Path:
    """Write a GIF or WebP whose first frame is red and whose others are blue."""
    frames = [Image.new("RGB", size, "red")]
    frames += [Image.new("RGB", size, (0, n % 256, 255)) for n in range(n_frames - 1)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=10)
    return path


# --- sounds -----------------------------------------------------------------------------------


def tone(
    *, seconds: float = 1.0, rate_hz: int = 16_000, channels: int = 1, hz: float = 440.0
) -> np.ndarray:
    """Make sines, an octave apart from channel to channel; float32 [T, C] in [-0.5, 0.5]."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    waves = [0.5 * np.sin(2 * np.pi * hz * 2**c * t) for c in range(channels)]
    return np.stack(waves, axis=1).astype(np.float32)


def wav(path: Path, *, samples: np.ndarray | None = None, rate_hz: int = 16_000) -> Path:
    """Write 16-bit PCM from float samples [T, C]."""
    samples = tone(rate_hz=rate_hz) if samples is None else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def float_wav(path: Path, *, samples: np.ndarray, rate_hz: int = 16_000) -> Path:
    """Write 32-bit float PCM [T, C], NaN and infinity included."""
    data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    return raw_wav(path, data=data, channels=samples.shape[1], rate_hz=rate_hz, tag=3, width=4)


def raw_wav(
    path: Path,
    *,
    data: bytes,
    channels: int = 1,
    rate_hz: int = 16_000,
    tag: int = 1,
    width: int = 2,
    claimed_bytes: int | None = None,
) -> Path:
    """Write a WAV header, true or not, before some bytes."""
    block = channels * width
    form = struct.pack(
        "<HHIIHH", tag, channels, rate_hz, rate_hz * block % 2**32, block % 2**16, width * 8
    )
    claimed = len(data) if claimed_bytes is None else claimed_bytes
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", (claimed + 36) % 2**32) + body)
    return path


def sound(
    path: Path,
    *,
    codec: str,
    samples: np.ndarray | None = None,
    rate_hz: int = 48_000,
    cover: bool = False,
    tags: dict[str, str] | None = None,
) -> Path:
    """Encode float samples [T, C] with any of FFmpeg's encoders; the suffix picks the container."""
    samples = tone(rate_hz=rate_hz) if samples is None else samples
    with av.open(str(path), "w") as container:
        container.metadata.update(tags or {})
        art = container.add_stream("png") if cover else None
        if art is not None:
            art.width = art.height = 32
            art.pix_fmt = "rgb24"
            art.disposition = av.stream.Disposition.attached_pic
        stream = sound_stream(container, codec=codec, samples=samples, rate_hz=rate_hz)
        if art is not None:
            frame = av.VideoFrame.from_ndarray(pixels(size=(32, 32)), format="rgb24")
            for packet in [*art.encode(frame), *art.encode()]:
                container.mux(packet)
        encode_sound(container, stream, samples=samples)
    return path


def sound_stream(container, *, codec: str, samples: np.ndarray, rate_hz: int):
    """Add a stream that fits samples [T, C]; all streams come before the first packet."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    stream = container.add_stream(codec, rate=rate_hz, layout=layout)
    if codec.startswith("wma"):
        stream.bit_rate = 128_000  # these encoders have no default of their own
    return stream


def encode_sound(container, stream, *, samples: np.ndarray) -> None:
    """Encode float samples [T, C] into a stream of an open container."""
    rate_hz, layout = stream.rate, stream.layout.name
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate_hz)
    packed = np.ascontiguousarray(samples.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
    fifo = av.AudioFifo()
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        fifo.write(part)
    size = stream.codec_context.frame_size or 4096
    while (part := fifo.read(size, partial=True)) is not None:
        for packet in stream.encode(part):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)


def silent_flac(path: Path, *, seconds: int, rate_hz: int = 8_000) -> Path:
    """Write long digital silence, which FLAC packs to nearly nothing."""
    return sound(
        path,
        codec="flac",
        samples=np.zeros((seconds * rate_hz, 1), dtype=np.float32),
        rate_hz=rate_hz,
    )


# --- videos -----------------------------------------------------------------------------------


def video(
    path: Path,
    *,
    scenes: tuple[str, ...] = ("red", "lime", "blue"),
    scene_s: float = 1.0,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    gop: int = 250,
    with_sound: bool = False,
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    """Encode scenes of one colour each; with sound, a tone as long as the pictures."""
    with av.open(str(path), "w", options=options or {}) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if codec == "libx264":
            # No keyframes at cuts: a test of scene changes must not get them for nothing.
            stream.options = {"sc_threshold": "0", "preset": "ultrafast"}
        frames = [s for s in scenes for _ in range(round(scene_s * fps))]
        samples = tone(seconds=len(frames) / fps, rate_hz=48_000)
        if with_sound:
            track = sound_stream(container, codec="aac", samples=samples, rate_hz=48_000)
        for position, colour in enumerate(frames):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, colour))
            frame.pts, frame.time_base = position, Fraction(1, fps)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
        if with_sound:
            encode_sound(container, track, samples=samples)
    return path


# --- damage, and things that are no files --------------------------------------------------------


def cut(path: Path, *, share: float) -> Path:
    """Keep only the first part of a file."""
    os.truncate(path, round(path.stat().st_size * share))
    return path


def scramble(path: Path, *, first: int, last: int | None = None, seed: int = 0) -> Path:
    """Overwrite the bytes [first, last) with noise."""
    data = bytearray(path.read_bytes())
    span = len(data[first:last])
    data[first:last] = np.random.default_rng(seed).integers(0, 256, span, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path


def noise(path: Path, *, n_bytes: int = 4096, seed: int = 0) -> Path:
    """Write random bytes."""
    path.write_bytes(np.random.default_rng(seed).bytes(n_bytes))
    return path


def fifo(path: Path) -> Path:
    """Make a named pipe that nobody writes to."""
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    """Make a socket file; kept short by binding from its own folder."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
    return path
