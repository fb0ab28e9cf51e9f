"""Write the short tunes of the demo as MIDI files; every melody is traditional or made up here."""

from __future__ import annotations

import struct

TICKS_PER_BEAT = 480
BEAT_US = 450_000

# (start in beats, length in beats, MIDI pitch); 60 is middle C
Note = tuple[float, float, int]


def _line(*steps: tuple[int, float]) -> list[Note]:
    notes, start = [], 0.0
    for pitch, length in steps:
        notes.append((start, length * 0.95, pitch))
        start += length
    return notes


def _chords(*steps: tuple[tuple[int, ...], float]) -> list[Note]:
    notes, start = [], 0.0
    for pitches, length in steps:
        notes += [(start, length * 0.95, pitch) for pitch in pitches]
        start += length
    return notes


KICK, SNARE, HAT, CRASH, TOM = 36, 38, 42, 49, 45
TUNES: dict[str, list[Note]] = {
    "joy": _chords(
        ((64, 48, 55), 1),
        ((64,), 1),
        ((65,), 1),
        ((67, 52), 1),
        ((67, 48, 55), 1),
        ((65,), 1),
        ((64, 50), 1),
        ((62,), 1),
        ((60, 48, 52), 2),
    ),
    "arpeggio": _line(
        *[(p, 0.5) for p in (60, 64, 67, 72, 76, 72, 67, 64, 57, 60, 64, 69, 72, 69)],
        (65, 0.5),
        (69, 0.5),
        (72, 0.5),
        (77, 0.5),
        (72, 2),
    ),
    "riff": _chords(
        ((64, 71), 1),
        ((67, 74), 0.5),
        ((69, 76), 1),
        ((64, 71), 0.5),
        ((67, 74), 0.5),
        ((70, 77), 0.5),
        ((69, 76), 1.5),
        ((64, 71), 0.5),
        ((67, 74), 0.5),
        ((64, 71), 3),
    ),
    "slow": _line(
        (60, 1.5), (67, 1.5), (65, 0.5), (64, 0.5), (62, 1), (69, 1.5), (67, 0.5), (64, 3)
    ),
    "jacques": _line(
        *[(p, 0.75) for p in (60, 62, 64, 60, 60, 62, 64, 60, 64, 65)], (67, 1.5), (72, 2)
    ),
    "fanfare": _line(
        (60, 0.5),
        (60, 0.25),
        (60, 0.25),
        (64, 0.75),
        (60, 0.25),
        (64, 0.5),
        (67, 1.5),
        (67, 0.25),
        (67, 0.25),
        (67, 0.5),
        (72, 1),
        (67, 0.5),
        (72, 3),
    ),
    "chorale": _chords(
        ((48, 60, 64, 67), 2), ((53, 60, 65, 69), 2), ((55, 59, 62, 67), 2), ((48, 60, 64, 72), 4)
    ),
    "waltz": _chords(
        ((48, 72), 1),
        ((64, 67, 76), 1),
        ((64, 67, 79), 1),
        ((43, 77), 1),
        ((65, 71, 74), 1),
        ((65, 71), 1),
        ((48, 76), 1),
        ((64, 67), 1),
        ((64, 67, 72), 2),
    ),
    "peal": _line((76, 1), (72, 1), (74, 1), (67, 2), (67, 1), (74, 1), (76, 1), (72, 3)),
    "beat": [
        *[(i * 0.5, 0.4, HAT) for i in range(18)],
        *[(float(i), 0.4, KICK) for i in (0, 2, 4, 6, 8)],
        *[(i + 0.5, 0.4, KICK) for i in (2, 6)],
        *[(float(i), 0.4, SNARE) for i in (1, 3, 5, 7)],
        *[(7 + i / 4, 0.2, TOM) for i in range(4)],
        (8.0, 2.0, CRASH),
    ],
}


def phrase(*, program: str, tune: str, octave: int) -> bytes:
    """Return a MIDI file that plays one tune on one General MIDI program (or on `drums`)."""
    channel = 9 if program == "drums" else 0
    events = [] if program == "drums" else [(0, 0, bytes([0xC0, int(program)]))]
    for start, length, pitch in TUNES[tune]:
        key = pitch + 12 * octave
        events.append((round(start * TICKS_PER_BEAT), 2, bytes([0x90 | channel, key, 100])))
        events.append(
            (round((start + length) * TICKS_PER_BEAT), 1, bytes([0x80 | channel, key, 0]))
        )
    track, now = b"\x00\xff\x51\x03" + BEAT_US.to_bytes(3, "big"), 0
    for tick, _, message in sorted(events):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_BEAT)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + track


def _variable_length(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))
