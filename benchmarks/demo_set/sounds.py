"""Bring a source sound to the length, level and format in which the demo ships it."""

from __future__ import annotations

import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from midi import phrase

SAMPLE_RATE_HZ = 48_000
LONGEST_S = 5.0
FADE_S = 0.15
PEAK = 0.7
MOST_GAIN = 8.0  # quiet recordings are lifted, but not until their noise is loud (18 dB)
BIT_RATES = (44_000, 38_000, 32_000)
MAX_BYTES = 40_000

Sound = npt.NDArray[np.float32]


def read_sound(source: Path) -> Sound:
    """Decode any sound file to mono float32 [T] at 48 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(str(source)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def play_phrase(*, program: str, tune: str, octave: int, soundfont: Path) -> Sound:
    """Play a short tune on one instrument of a General MIDI soundfont, through fluidsynth."""
    with tempfile.TemporaryDirectory() as folder:
        score, wave = Path(folder, "tune.mid"), Path(folder, "tune.wav")
        score.write_bytes(phrase(program=program, tune=tune, octave=octave))
        command = [
            "fluidsynth",
            "-ni",
            "-q",
            "-r",
            str(SAMPLE_RATE_HZ),
            "-g",
            "0.8",
            "-F",
            str(wave),
        ]
        subprocess.run([*command, str(soundfont), str(score)], check=True, capture_output=True)
        return read_sound(wave)


def save_sound(sound: Sound, target: Path) -> None:
    """Cut to 5 s without silent ends, level, fade out and write as Ogg Opus of at most 40 KB."""
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    start = max(0, loud[0] - SAMPLE_RATE_HZ // 20)
    sound = sound[start : loud[-1] + SAMPLE_RATE_HZ // 4][: int(LONGEST_S * SAMPLE_RATE_HZ)]
    sound = sound * np.float32(min(MOST_GAIN, PEAK / float(np.abs(sound).max())))
    n_fade = int(FADE_S * SAMPLE_RATE_HZ)
    sound[-n_fade:] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    for bit_rate in BIT_RATES:
        _write_opus(sound, target, bit_rate=bit_rate)
        if target.stat().st_size <= MAX_BYTES:
            return


def _write_opus(sound: Sound, target: Path, *, bit_rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(sound[None], "flt", "mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), 0
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ, frame_size=960)
    with av.open(str(target), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = bit_rate
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
