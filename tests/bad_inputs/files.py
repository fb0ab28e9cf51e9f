"""One generator for every kind of bad file: seeded, from nothing but code.

A `Bad` says which row of BAD_INPUTS it stands for, what it is called, what must become of it, and
which words of its reason name the remedy. `make` writes it; another seed gives another file of the
same kind, so that hundreds can lie beside each other.
"""

from __future__ import annotations

import os
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.support import media_files as mf

Make = Callable[[Path, int], object]


@dataclass(frozen=True)
class Bad:
    """A kind of file that nobody should be given.

    Attributes:
        row: of BAD_INPUTS, e.g. `I3`.
        name: what the file is called; a name that begins with a fault's (`hang-`) asks for it.
        code: what it must be skipped with; empty for one that must be indexed all the same.
        remedy: words that the reason must have.
        make: writes it.
        format: what an indexed one must be recorded as; empty for whatever it is.
        flag: that an indexed one must bear.
        is_fault: its decoder misbehaves: costs a process, and maybe the time limit.
    """

    row: str
    name: str
    code: str
    remedy: str
    make: Make
    format: str = ""
    flag: str = ""
    is_fault: bool = False


def _only(make: Callable[[Path], object]) -> Make:
    return lambda path, _: make(path)


def text(body: str) -> Make:
    """Write a text that no other file has."""
    return lambda path, seed: path.write_text(body.replace("SEED", str(seed)))


def raw(head: bytes) -> Make:
    """Write bytes and a number behind them."""
    return lambda path, seed: path.write_bytes(head + b"\n" + str(seed).encode() + bytes(20))


def _picture(**save: object) -> Make:
    return lambda path, seed: mf.picture(path, size=(200, 150), seed=seed, **save)  # type: ignore[arg-type]


def _cut(make: Make, share: float) -> Make:
    return lambda path, seed: (make(path, seed), mf.cut(path, share=share))


def _claim(side: int) -> Make:
    return lambda path, seed: mf.png_claiming(path, width=side, height=side - seed % 100)


def _bomb(path: Path, seed: int) -> None:
    """Write 9,400 x 9,400 real pixels in a few kilobytes."""
    side = 9_400 - seed % 50
    rows = zlib.compress(bytes((side + 1) * side), 1)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", rows)]
    body = b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))
        for n, d in (*parts, (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _phone(path: Path, seed: int) -> None:
    """Write a JPEG of 200 megapixels."""
    tile = Image.fromarray(mf.pixels(size=(64, 48), seed=seed))
    tile.resize((16_384, 12_288), Image.Resampling.NEAREST).save(path, "JPEG", quality=50)


def _line(size: tuple[int, int]) -> Make:
    return lambda path, seed: Image.new("RGB", size, (seed % 256, 200, 30)).save(path)


def _frames(n: int) -> Make:
    return lambda path, seed: mf.animation(path, n_frames=n, size=(16, 16 + seed % 200))


def _mode(mode: str, **save: object) -> Make:
    def make(path: Path, seed: int) -> None:
        image = Image.fromarray(mf.pixels(size=(40, 30), seed=seed))
        if mode == "16":
            wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
            Image.fromarray(wide).save(path)
            return
        options = {"transparency": 1} if mode == "P" else {}
        image.convert(mode).save(path, **options, **save)

    return make


def _turned(turn: int) -> Make:
    def make(path: Path, seed: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = turn
        mf.picture(path, seed=seed, exif=exif)

    return make


def _bad_exif(path: Path, seed: int) -> None:
    junk = b"Exif\0\0II*\0" + np.random.default_rng(seed).bytes(60_000)
    mf.picture(path, seed=seed, exif=junk)


def _wav(**changes: object) -> Make:
    def make(path: Path, seed: int) -> None:
        noise = np.random.default_rng(seed).integers(-3000, 3000, 16_000, dtype=np.int16)
        mf.raw_wav(path, **{"data": noise.tobytes(), **changes})  # type: ignore[arg-type]

    return make


def _floats(bad: float) -> Make:
    def make(path: Path, seed: int) -> None:
        samples = mf.tone(seconds=0.5)
        samples[seed % 8000] = bad
        mf.float_wav(path, samples=samples)

    return make


def _sound(samples: Callable[[int], np.ndarray]) -> Make:
    return lambda path, seed: mf.wav(path, samples=samples(seed))


def _flac(seconds: int) -> Make:
    return lambda path, seed: mf.silent_flac(path, seconds=seconds + seed % 60)


def _video(path: Path, seed: int, **options: object) -> Path:
    return mf.video(path, scenes=_colours(seed), scene_s=0.6, **options)  # type: ignore[arg-type]


def _colours(seed: int) -> tuple[str, str, str]:
    rng = random.Random(seed)
    return tuple(f"#{rng.randrange(1 << 24):06x}" for _ in range(3))  # type: ignore[return-value]


def _cover_only(path: Path, seed: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
        stream.disposition = av.stream.Disposition.attached_pic
        art = av.VideoFrame.from_ndarray(mf.pixels(size=(32, 32), seed=seed), format="rgb24")
        container.mux([*stream.encode(art), *stream.encode()])


def _long_claim(path: Path, seed: int) -> None:
    data = bytearray(_video(path, seed).read_bytes())
    at = data.index(b"mvhd") + 16
    data[at + 4 : at + 8] = struct.pack(">I", 2**32 - 1)
    path.write_bytes(data)


def _no_frames(path: Path, seed: int) -> None:
    data = _video(path, seed, options={"movflags": "faststart"}).read_bytes()
    mf.scramble(path, first=data.index(b"mdat") + 4, seed=seed)


def _changing(path: Path, seed: int) -> None:
    sizes = ((64, 48), (128, 96), (48, 64))
    parts = [
        mf.video(path.with_name(f"part{n}-{seed}.ts"), scenes=(colour,), size=size, gop=5)
        for n, (size, colour) in enumerate(zip(sizes, _colours(seed), strict=True))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()


def _zip(path: Path, seed: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../{seed}.png", b"inside")


def _tar(path: Path, seed: int) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(f"../{seed}.png"))


def _link(path: Path, seed: int) -> None:
    path.symlink_to("/etc/hostname")


def _loop(path: Path, seed: int) -> None:
    path.symlink_to(path.name)


def _fault(row: str, name: str, code: str) -> Bad:
    return Bad(row, name, code, "leave it out", _picture(), is_fault=True)


_JPEG, _PNG = _picture(), _picture()
_M3U = "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXTINF:1,\nhttp://127.0.0.1:9/SEED\n"
_MPD = "<?xml version='1.0'?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD><!-- SEED -->"

BAD: tuple[Bad, ...] = (
    Bad("I1", "empty.png", "empty_file", "replace it", _only(Path.touch)),
    Bad("I1", "empty.wav", "empty_file", "replace it", _only(Path.touch)),
    Bad("I2", "words.jpg", "not_an_image", "replace the file", text("I am no picture SEED")),
    Bad("I3", "half.jpg", "truncated", "copy it again", _cut(_JPEG, 0.5)),
    Bad("I3", "half.webp", "truncated", "copy it again", _cut(_picture(), 0.5)),
    Bad("I3", "half.png", "truncated", "copy it again", _cut(_PNG, 0.5)),
    Bad("I4", "png-named.jpg", "", "", _picture(format="PNG"), format="png"),
    Bad("I5", "claim.png", "too_many_pixels", "scale it down", _claim(9_400)),
    Bad("I7", "wide.png", "", "", _line((30_000, 1)), format="png"),
    Bad("I7", "tall.png", "", "", _line((1, 30_000)), format="png"),
    Bad("I8", "vast.png", "too_many_pixels", "scale it down", _claim(2_000_000_000)),
    Bad("I9", "frames.gif", "", "", _frames(60), format="gif"),
    Bad("I9", "frames.webp", "", "", _frames(20), format="webp"),
    Bad("I10", "deep.png", "", "", _mode("16"), format="png"),
    Bad("I10", "ink.jpg", "", "", _mode("CMYK"), format="jpeg"),
    Bad("I10", "palette.png", "", "", _mode("P"), format="png"),
    Bad("I10", "bits.png", "", "", _mode("1"), format="png"),
    Bad("I10", "profile.png", "", "", _picture(icc_profile=b"no profile" * 40), format="png"),
    Bad("I11", "turned.png", "", "", _turned(6), format="png"),
    Bad("I11", "exif.jpg", "", "", _bad_exif, format="jpeg"),
    Bad("I12", "drawing.svg", "format_not_enabled", "convert it", text("<svg>SEED</svg>")),
    Bad("I12", "drawing.png", "format_not_enabled", "convert it", text("<svg>SEED</svg>")),
    Bad("I12", "page.eps", "format_not_enabled", "convert it", raw(b"%!PS-Adobe-3.0 EPSF-3.0")),
    Bad("I12", "layers.psd", "format_not_enabled", "convert it", raw(b"8BPS\0\1")),
    Bad("I12", "stars.fits", "format_not_enabled", "convert it", raw(b"SIMPLE  =      T")),
    Bad("I12", "page.jpg", "format_not_enabled", "convert it", raw(b"%PDF-1.7")),
    _fault("I13", "segfault-.png", "decoder_crashed"),
    _fault("I13", "abort-.png", "decoder_crashed"),
    _fault("I13", "lie-shape-.png", "decoder_crashed"),
    _fault("I14", "hang-.png", "decoder_timeout"),
    _fault("I14", "eat-memory-.png", "decoder_memory"),
    Bad("A1", "no-samples.wav", "no_audio", "record it again", _wav(data=b"")),
    Bad("A2", "short.wav", "", "", _wav(claimed_bytes=64_000), flag="shorter_than_header"),
    Bad("A3", "four-gb.wav", "", "", _wav(claimed_bytes=2**32 - 40), flag="shorter_than_header"),
    Bad("A4", "nan.wav", "non_finite_audio", "export it again", _floats(np.nan)),
    Bad("A4", "inf.wav", "non_finite_audio", "export it again", _floats(np.inf)),
    Bad("A5", "rate-zero.wav", "bad_sample_rate", "resample it", _wav(rate_hz=0)),
    Bad("A5", "rate-vast.wav", "bad_sample_rate", "resample it", _wav(rate_hz=2**31 - 1)),
    Bad("A6", "channels.wav", "too_many_channels", "mix it down", _wav(channels=1024)),
    Bad("A8", "silent.wav", "", "",
        _sound(lambda seed: np.zeros((16_000 + seed, 1), dtype=np.float32)), flag="silent"),
    Bad("A9", "click.wav", "too_short", "give a longer one",
        _sound(lambda seed: mf.tone(seconds=0.01, hz=440 + seed % 999))),
    Bad("V1", "cover.mp4", "no_video", "re-encode it", _cover_only),
    Bad("V1", "sound-only.mp4", "", "",
        lambda path, seed: mf.sound(path, codec="aac", samples=mf.tone(rate_hz=48_000,
                                                                       hz=300 + seed % 999))),
    Bad("V2", "long-claim.mp4", "", "", _long_claim, format="mp4"),
    Bad("V3", "no-moov.mp4", "truncated", "copy it again", _cut(_video, 0.6)),
    Bad("V4", "list.m3u8", "format_not_enabled", "convert it", text(_M3U)),
    Bad("V4", "list.mp4", "format_not_enabled", "convert it", text(_M3U)),
    Bad("V4", "concat.mkv", "format_not_enabled", "convert it",
        text("ffconcat version 1.0\nfile '/etc/passwd'\n# SEED\n")),
    Bad("V4", "dash.mpd", "format_not_enabled", "convert it", text(_MPD)),
    Bad("V5", "changing.ts", "", "", _changing, format="mpegts"),
    Bad("V6", "no-frames.mp4", "no_decodable_frames", "re-encode it", _no_frames),
    Bad("TX1", "surrogate.jsonl", "", "", text('{"text": "a dog \\ud800 runs SEED"}\n')),
    Bad("TX2", "carets.txt", "empty_text", "write something", text("^" * 1_000_000)),
    Bad("TX2", "carets-and-word.txt", "", "", text("dog SEED " + "^" * 1_000_000)),
    Bad("TX3", "spaces.txt", "empty_text", "write something", text(" \n\t \n")),
    Bad("TX3", "emoji.txt", "empty_text", "write something", text("\U0001f600 \U0001f600")),
    Bad("TX4", "noise.txt", "not_text", "right suffix",
        lambda path, seed: mf.noise(path, n_bytes=2000, seed=seed)),
    Bad("TX4", "utf16.txt", "", "",
        lambda path, seed: path.write_bytes(f"a grey cat {seed}".encode("utf-16"))),
    Bad("TX4", "nul.txt", "", "", text("a bl\0ue cat SEED")),
    Bad("TX6", "bidi.txt", "", "", text("\u202eevil\x1b[31m <script>alert(1)</script> SEED")),
    Bad("TX6", "<b>\x1b[31m\n\u202e&.txt", "", "", text("a named thing SEED")),
    Bad("P1", "link.png", "symlink_not_followed", "name its target", _link),
    Bad("P1", "loop.png", "symlink_not_followed", "name its target", _loop),
    Bad("P2", "pipe.png", "not_regular_file", "only regular files", _only(mf.fifo)),
    Bad("P2", "socket.wav", "not_regular_file", "only regular files", _only(mf.unix_socket)),
    Bad("P3", "bytes-\udcff\udcfe.png", "", "", _picture(), format="png"),
    Bad("P3", "n" * 240 + ".png", "", "", _picture(), format="png"),
    Bad("P6", "some.zip", "archive_not_enabled", "unpack it", _zip),
    Bad("P6", "zip.jpg", "archive_not_enabled", "unpack it", _zip),
    Bad("P6", "some.tar", "archive_not_enabled", "unpack it", _tar),
)  # fmt: skip

SLOW: tuple[Bad, ...] = (
    Bad("I5", "bomb.png", "too_many_pixels", "scale it down", _bomb),
    Bad("I6", "phone.jpg", "", "", _phone, format="jpeg"),
    Bad("I9", "many-frames.gif", "", "", _frames(10_000), format="gif"),
    Bad("A7", "two-hours.flac", "", "", _flac(7_200), flag="first_30_min_only"),
)
"""Kinds that take seconds to make or to read."""


def write(folder: Path, kind: Bad, *, seed: int) -> Path:
    """Write a file of a kind under a name that no other seed has."""
    stem, suffix = os.path.splitext(kind.name)
    path = folder / f"{stem[: 240 - len(suffix)]}{seed}{suffix}"
    kind.make(path, seed + zlib.crc32(os.fsencode(kind.name)) % 1_000_000)
    return path
