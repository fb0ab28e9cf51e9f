"""Where the starter's training sounds are found, what they are called, and which are held back."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.media.load import load_file
from retrieval.media.scan import scan
from retrieval.training.starter.sources import held_back
from retrieval.types import Failure, MediaSpec

SAMPLE_RATE_HZ = 44_100
LONGEST_S = 30.0
_SUFFIXES = {".flac", ".mp3", ".ogg", ".wav"}
# C4Group, the archive of OpenClonk: gzip with another magic; a scrambled header, then entries.
_HEAD_BYTES, _ENTRY_BYTES, _NAME_BYTES = 204, 316, 260


@dataclass(frozen=True, slots=True)
class Recording:
    """A licensed sound.

    Attributes:
        key: unique name, `source/path`.
        path: the file.
        title: what is heard, from its file name; empty where that names nothing.
    """

    key: str
    path: Path
    title: str = ""


# What file names of the sources mean, where they mean something to anyone: pattern -> words.
_TITLES = {
    r"Waterdrop": "water drop",
    r"Splash": "splash of water",
    r"Bubble|Boiling": "bubbling water",
    r"Sizzle|Pshshsh": "sizzling",
    r"StereoRain": "rain",
    r"Waterfall": "waterfall",
    r"Birds": "birds singing",
    r"WindLoop|Gust": "wind",
    r"Thunder": "thunder",
    r"Earthquake": "earthquake, rumble",
    r"Fire\.ocg/Fire\.|Furnace.ocg/Loop": "crackling fire",
    r"Cracker|BlastFirework": "fireworks",
    r"Blast\d|explosion": "explosion",
    r"Fuse": "burning fuse, hiss",
    r"FanLoop": "fan",
    r"Propeller|PlaneCrash": "airplane propeller engine",
    r"SteamEngine": "steam engine",
    r"Pumpjack|EngineLoop": "machine engine running",
    r"SawmillRipcut": "saw cutting wood",
    r"Drilling": "drill",
    r"Chop": "chopping wood with an axe",
    r"Chain": "chain rattling",
    r"HingeCreak|WoodCreak": "creaking door",
    r"Door(Open|Close)": "door closing",
    r"Laughter": "laughter",
    r"Scream": "scream",
    r"Singing": "singing",
    r"Breathing": "breathing",
    r"Munch": "eating, chewing",
    r"Step(Soft|Hard)": "footsteps",
    r"Glass(Shatter|Break)": "glass breaking",
    r"WoodHit": "knock on wood",
    r"MetalHit|Clang": "metal hit",
    r"GunShot": "gunshot",
    r"Bat\.ocg": "bat",
    r"MosquitoBuzz": "mosquito buzzing",
    r"Mooq.*(Snort|Hurt)": "cow, snorting animal",
    r"Growl": "animal growling",
    r"Wipf.*Aroof": "dog bark",
    r"Wipf.*Whine": "dog whimper",
    r"Fanfare|UI.ocg/Trumpet": "trumpet",
    r"Cash": "coins, cash register",
    r"animals/rooster": "rooster crowing",
    r"animals/cat": "cat meowing",
    r"animals/dog": "dog barking",
    r"animals/cow": "cow mooing",
    r"animals/duck": "duck quacking",
    r"animals/frog": "frog croaking",
    r"animals/horse": "horse neighing",
    r"animals/owl": "owl hooting",
    r"animals/pig": "pig grunting",
    r"animals/sheep": "sheep bleating",
    r"assets/water": "running water",
    r"alarm\.wav": "alarm",
    r"laser": "laser gun",
    r"vinyl_(hiss|scratch)": "vinyl record",
    r"drum_|^bd_|^sn_": "drum",
    r"guit_": "guitar",
    r"tabla_": "tabla drum",
    r"perc_bell": "bell",
    r"camera_click": "camera shutter",
}


def title_of(key: str) -> str:
    """Word a recording from its file name.

    Args:
        key: `source/path`.

    Returns:
        What is heard; empty where the name says nothing.

    Example:
        >>> title_of("openclonk/Sound.ocg/Liquids.ocg/StereoRain.ogg")
        'rain'
        >>> title_of("freedoom/DSPOSIT1.wav")
        ''
    """
    return next((words for name, words in _TITLES.items() if re.search(name, key)), "")


def for_validation(key: str) -> bool:
    """Tell whether a recording is kept out of training to judge the event network.

    Args:
        key: of the recording.

    Returns:
        True for about one in eleven: the md5 of the key starts with 1, or 2 and an even digit.
    """
    digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    return digest[0] == "1" or (digest[0] == "2" and int(digest[1], 16) % 2 == 0)


def list_recordings(folder: Path, *, source: str, without: str = "") -> list[Recording]:
    """List the sounds below a folder that are not reserved for the demo set.

    Args:
        folder: where a source is installed or unpacked.
        source: first part of the keys.
        without: regular expression of relative paths of another licence.

    Returns:
        In path order.
    """
    out = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES):
        inside = path.relative_to(folder).as_posix()
        if held_back(path.name) or (without and re.search(without, inside)):
            continue
        key = f"{source}/{inside}"
        out.append(Recording(key, path, title_of(key)))
    return out


def decode(recording: Recording) -> npt.NDArray[np.float32]:
    """Decode the first half minute of a recording.

    Args:
        recording: which.

    Returns:
        float32 [T] at 44,100 Hz.

    Raises:
        BadMediaError: it cannot be decoded.
    """
    spec = MediaSpec(sample_rate_hz=SAMPLE_RATE_HZ, window_s=LONGEST_S, hop_s=LONGEST_S)
    (found,) = scan([recording.path], on_skip=_refuse)
    payload = load_file(found, spec=spec).parts[0].payload
    return np.asarray(payload, dtype=np.float32)


def _refuse(failure: Failure) -> None:
    raise FileNotFoundError(f"{failure.path}: {failure.reason}")


def unpack_clonk(archives: Path, *, target: Path) -> None:
    """Unpack the sounds of OpenClonk's archives (Debian openclonk-data; CC BY 3.0 and CC0).

    Args:
        archives: normally /usr/share/games/openclonk.
        target: folder the sounds go to.
    """
    for archive in sorted(p for p in archives.iterdir() if p.is_file()):
        for name, data in _members(archive.read_bytes(), prefix=archive.name):
            if Path(name).suffix.lower() in _SUFFIXES:
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def _members(data: bytes, *, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Walk a C4Group: every file in it and in the groups inside it."""
    if data[:2] == b"\x1e\x8c":
        data = zlib.decompressobj(31).decompress(b"\x1f\x8b" + data[2:])
    head = bytearray(byte ^ 237 for byte in data[:_HEAD_BYTES])
    for n in range(0, _HEAD_BYTES - 2, 3):
        head[n], head[n + 2] = head[n + 2], head[n]
    (n_entries,) = struct.unpack_from("<i", head, 36)
    first = _HEAD_BYTES + _ENTRY_BYTES * n_entries
    for n in range(n_entries):
        entry = data[_HEAD_BYTES + _ENTRY_BYTES * n :][:_ENTRY_BYTES]
        name = entry[:_NAME_BYTES].split(b"\0")[0].decode("latin1").replace("/", "_")
        _, is_group, size, _, offset = struct.unpack_from("<5i", entry, _NAME_BYTES)
        content = data[first + offset : first + offset + size]
        if is_group:
            yield from _members(content, prefix=f"{prefix}/{name}")
        elif name not in {"", ".", ".."}:
            yield f"{prefix}/{name}", content


def unpack_doom(wad: Path, *, target: Path) -> None:
    """Unpack the sounds of a Doom archive (Debian freedoom; BSD) as WAV files.

    Args:
        wad: freedoom2.wad.
        target: folder the sounds go to.
    """
    import wave

    data = wad.read_bytes()
    n_lumps, at = struct.unpack_from("<ii", data, 4)
    target.mkdir(parents=True, exist_ok=True)
    for n in range(n_lumps):
        offset, _, raw = struct.unpack_from("<ii8s", data, at + 16 * n)
        name = raw.split(b"\0")[0].decode("latin1")
        kind, rate_hz, n_samples = struct.unpack_from("<HHI", data, offset)
        if re.fullmatch(r"DS\w+", name) and kind == 3:
            with wave.open(str(target / f"{name}.wav"), "wb") as file:
                file.setparams((1, 1, rate_hz, 0, "NONE", ""))
                # 16 bytes of padding before and behind the samples
                file.writeframes(data[offset + 24 : offset + 8 + n_samples - 16])
