"""Play the instruments and effects of sound fonts with fluidsynth, a few seconds of each."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_SECTION_S, _SOUND_S = 6.0, 5.0
_TICKS_S = 960.0
_RATE_HZ = 44_100
_SCALE = (0, 2, 4, 5, 7, 9, 11, 12)
_QUIETEST = 300  # of 32,768: an empty preset
_SPEED, _PAN, _SILENCE = 0xB0, 91, 120


@dataclass(frozen=True, slots=True)
class Preset:
    """One sound of a font.

    Attributes:
        bank: MIDI bank; 128 are drums.
        program: MIDI program.
        name: what the font, or the GM standard, calls it, in plain words.
        key: the drum's key; None for what is played in tunes.
        effect: a noise rather than an instrument.
    """

    bank: int
    program: int
    name: str
    key: int | None = None
    effect: bool = False


# What the effects of FluidR3 GS are, where their names do not say it.
_PLAIN = {
    "Bird  2": "bird singing",
    "Car-Engine": "car engine starting",
    "Car-Pass": "car passing by",
    "Car-Stop": "car skidding, tire squeal",
    "Car-Crash": "car crash",
    "Dog": "dog barking",
    "Fl. Key Click": "clicking keys",
    "Gtr. Cut Noise": "guitar strum",
    "String Slap": "slap on strings",
    "Telephone 2": "telephone ringing",
    "Laughs": "laughter",
    "Lazergun": "laser gun",
    "Horse Gallop": "horse galloping",
    "Door Creaking": "creaking door",
    "Stream/River": "stream, river",
    "Heart Beat": "heartbeat",
    "Jet Plane": "jet airplane",
    "StarShip": "spaceship, synthesizer",
}


def presets(font: Path) -> list[Preset]:
    """Read the presets of an SF2 font that are not drums: its `phdr` chunk.

    Args:
        font: the .sf2 file.

    Returns:
        In file order.
    """
    data = font.read_bytes()
    at = data.rindex(b"phdr")
    (size,) = struct.unpack_from("<I", data, at + 4)
    out = []
    for n in range(size // 38 - 1):  # the last record only ends the list
        name, program, bank = struct.unpack_from("<20sHH", data, at + 8 + 38 * n)
        if bank != 128:
            words = name.split(b"\0")[0].decode("latin1").strip()
            out.append(Preset(bank, program, _PLAIN.get(words, words), effect=True))
    return out


def play(
    font: Path, *, sounds: Sequence[Preset], work: Path, seed: int
) -> tuple[list[str], npt.NDArray[np.int16]]:
    """Render every preset once, one after the other in one MIDI file.

    Args:
        font: SF2 or SF3.
        sounds: what to play; name one twice to hear it twice.
        work: for the MIDI and the WAV file, which is removed.
        seed: of notes and rhythms.

    Returns:
        Names and int16 [N, 220500] at 44,100 Hz, without the silent ones.

    Raises:
        CalledProcessError: fluidsynth failed.
    """
    rng = random.Random(seed)
    events = [e for n, p in enumerate(sounds) for e in _section(p, n * _SECTION_S, rng)]
    midi, rendered = work / f"{font.stem}.mid", work / f"{font.stem}.wav"
    midi.write_bytes(_midi(sorted(events, key=lambda e: e[0])))
    command = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-F", str(rendered), "-T", "wav"]
    subprocess.run([*command, "-r", str(_RATE_HZ), str(font), str(midi)], check=True)
    with wave.open(str(rendered)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        mono = frames.reshape(-1, file.getnchannels()).mean(axis=1).astype(np.int16)
    rendered.unlink()
    names, out = [], []
    for n, preset in enumerate(sounds):
        start = int(n * _SECTION_S * _RATE_HZ)
        part = mono[start : start + int(_SOUND_S * _RATE_HZ)]
        if len(part) == int(_SOUND_S * _RATE_HZ) and np.abs(part).max() >= _QUIETEST:
            names.append(preset.name)
            out.append(part)
    return names, np.stack(out)


def _section(preset: Preset, start_s: float, rng: random.Random) -> Iterator[tuple[float, bytes]]:
    channel = 9 if preset.bank == 128 else 0
    if channel == 0:
        yield start_s, bytes([_SPEED, 0, preset.bank])
    yield start_s + 0.01, bytes([0xC0 | channel, preset.program])
    yield start_s + 0.01, bytes([0xB0 | channel, _PAN, rng.choice([0, 0, 20, 60])])
    for at_s, key, speed, length_s in _notes(preset, rng):
        on_s = start_s + 0.05 + at_s
        yield on_s, bytes([0x90 | channel, key, speed])
        yield min(on_s + length_s, start_s + _SOUND_S), bytes([0x80 | channel, key, 0])
    yield start_s + _SECTION_S - 0.05, bytes([0xB0 | channel, _SILENCE, 0])


def _notes(preset: Preset, rng: random.Random) -> Iterator[tuple[float, int, int, float]]:
    """Yield (start in s, key, speed, length in s) of a beat, a repeated noise or a tune."""
    t = rng.uniform(0, 0.4)
    if preset.key is not None:
        pause_s = rng.choice([0.2, 0.35, 0.5, 0.9, 1.6])
        while t < _SOUND_S - 0.2:
            yield t, preset.key, rng.randint(70, 127), 0.3
            t += pause_s
    elif preset.effect:
        key = rng.choice([60, 60, 60, 55, 57, 62, 64, 67, 48, 72])
        length_s = rng.choice([5, 2.5, 1.2, 0.7])
        while t < _SOUND_S - 0.3:
            yield t, key + rng.choice([-1, 0, 0, 1]), rng.randint(80, 127), length_s * 0.98
            t += length_s * rng.uniform(0.9, 1.4)
    else:
        yield from _tune(rng)


def _tune(rng: random.Random) -> Iterator[tuple[float, int, int, float]]:
    style = rng.choice(["melody", "chord", "long", "arpeggio"])
    base, t = rng.randint(43, 74), 0.0
    while t < _SOUND_S - 0.1:
        if style == "chord":
            root, length_s = base + rng.choice([0, 5, 7]), rng.choice([0.8, 1.2])
            yield from ((t, root + third, rng.randint(70, 110), length_s) for third in (0, 4, 7))
            t += length_s
        elif style == "arpeggio":
            yield t, base + rng.choice([0, 4, 7, 12, 16]), rng.randint(70, 120), 0.6
            t += 0.15
        else:
            lengths = [1.5, 2.4] if style == "long" else [0.2, 0.3, 0.5]
            length_s = rng.choice(lengths)
            yield t, base + rng.choice(_SCALE), rng.randint(70, 120), length_s
            t += length_s


def _midi(events: Sequence[tuple[float, bytes]]) -> bytes:
    """Write a one-track file at 120 beats a minute, 480 ticks a beat."""
    track, last = bytearray(), 0
    for at_s, message in events:
        tick = int(at_s * _TICKS_S)
        track += _variable_length(tick - last) + message
        last = tick
    track += _variable_length(int(_TICKS_S)) + b"\xff\x2f\x00"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480)
    return head + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _variable_length(n: int) -> bytes:
    out = bytearray([n & 127])
    while n := n >> 7:
        out.append(n & 127 | 128)
    return bytes(reversed(out))


# General MIDI: program number -> words; synthesizer sounds are called so.
GM_NAMES = """Acoustic Grand Piano;Bright Acoustic Piano;Electric Grand Piano;Honky-tonk Piano
Electric Piano;Electric Piano;Harpsichord;Clavinet;Celesta;Glockenspiel;Music Box;Vibraphone;Marimba
Xylophone;Tubular Bells;Dulcimer;Drawbar Organ;Percussive Organ;Rock Organ;Church Organ;Reed Organ
Accordion;Harmonica;Tango Accordion;Acoustic Guitar;Acoustic Guitar;Electric Guitar jazz
Electric Guitar clean;Electric Guitar muted;Overdriven Guitar;Distortion Guitar;Guitar harmonics
Acoustic Bass;Electric Bass;Electric Bass;Fretless Bass;Slap Bass;Slap Bass;Synth Bass;Synth Bass
Violin;Viola;Cello;Contrabass;Tremolo Strings;Pizzicato Strings;Orchestral Harp;Timpani
String Ensemble;String Ensemble;Synth Strings;Synth Strings;Choir singing Aahs;Voice Oohs
Synth Voice;Orchestra Hit;Trumpet;Trombone;Tuba;Muted Trumpet;French Horn;Brass Section;Synth Brass
Synth Brass;Soprano Sax;Alto Saxophone;Tenor Saxophone;Baritone Saxophone;Oboe;English Horn;Bassoon
Clarinet;Piccolo;Flute;Recorder;Pan Flute;Blown Bottle;Shakuhachi flute;Whistle;Ocarina"""
GM_LATER = {
    104: "Sitar;Banjo;Shamisen;Koto;Kalimba thumb piano;Bagpipe;Fiddle;Shanai;Tinkle Bell;Agogo",
    114: "Steel Drums;Woodblock;Taiko Drum;Melodic Tom drum;Synth Drum;Reverse Cymbal",
    120: "Guitar Fret Noise;Breath Noise;Sea waves on the shore;Bird Tweet;Telephone Ring",
    125: "Helicopter;Applause;Gunshot",
}
DRUMS = (
    "35 bass drum;37 side stick;38 snare drum;39 hand clap;41 tom drum;42 hi-hat;46 open hi-hat;"
    "49 crash cymbal;51 ride cymbal;53 ride bell;54 tambourine;56 cowbell;60 bongo;62 conga drum;"
    "65 timbale;67 agogo;69 cabasa;70 maracas;71 whistle;73 guiro;75 claves;76 wood block;"
    "78 cuica;81 triangle"
)


def general_midi(*, times: int) -> list[Preset]:
    """List the 128 programs and the drums of General MIDI.

    Args:
        times: how often each program is played; drums half as often, but at least twice.

    Returns:
        Programs, then drums.

    Example:
        >>> [general_midi(times=1)[n].name for n in (0, 40, 125)]
        ['Acoustic Grand Piano', 'Violin', 'Helicopter']
    """
    names = dict(enumerate(re.split(r"[;\n]", GM_NAMES)))
    for first, more in GM_LATER.items():
        names |= {first + n: name for n, name in enumerate(more.split(";"))}
    programs = [Preset(0, n, names.get(n, "Synthesizer"), effect=n >= 120) for n in range(128)]
    drums = [Preset(128, 0, d[3:], int(d[:2])) for d in DRUMS.split(";")]
    return [p for p in programs for _ in range(times)] + [
        d for d in drums for _ in range(max(2, times // 2))
    ]
