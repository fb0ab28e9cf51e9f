"""The single sounds that the recipe hears: recordings, procedural effects and sound fonts."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.errors import BadMediaError
from retrieval.training.starter import effects, sounds, sounds_fonts
from retrieval.training.starter.sounds_licences import free_files

_log = logging.getLogger(__name__)

Samples = npt.NDArray[np.int16]
Named = Iterator[tuple[str, list[str], Samples]]

# The source of an ESC-10 clip (1-4211-A, freesound 4211): ESC-10 is what the model is judged by.
_JUDGED_BY = {"openclonk/Sound.ocg/Fire.ocg/Fire.ogg"}


@dataclass(frozen=True, slots=True)
class AudioSources:
    """Where things are installed.

    Attributes:
        packages: Debian package -> folder it was unpacked in (`dpkg-deb -x`); of these only files
            that their copyright statement names as free are used.
        folders: source -> folder of sounds that are free as a whole (sonic-pi, arcade, ...).
        clonk: /usr/share/games/openclonk (Debian openclonk-data).
        wad: freedoom2.wad (Debian freedoom).
        fonts: FluidR3_GS.sf2 for effects, then GM fonts (Debian fluid-soundfont-gs, -gm,
            musescore-general-soundfont).
        teachers: the two GPVAD files.
        labels: their labels.json.
        trunk: aiSFX's state dict as safetensors.
    """

    packages: Mapping[str, Path]
    folders: Mapping[str, Path]
    clonk: Path
    wad: Path
    fonts: Sequence[Path]
    teachers: Sequence[Path]
    labels: Path
    trunk: Path


@dataclass(frozen=True, slots=True)
class Amount:
    """How many sounds are made; recordings are always all.

    Attributes:
        effects: of each procedural class.
        noises: times each effect of the first sound font is played.
        tunes: times each instrument of the others is played.
    """

    effects: int = 28
    noises: int = 24
    tunes: int = 5


@dataclass(frozen=True, slots=True)
class Pool:
    """Sounds of one origin at 44,100 Hz, in one file of samples and one of names.

    Attributes:
        path: the JSON file of names; the samples lie beside it.
        keys: unique name of each sound.
        titles: wordings of each, maybe none.
        ends: where each ends among the samples.
    """

    path: Path
    keys: list[str] = field(default_factory=list)
    titles: list[list[str]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def save(self, parts: Named) -> None:
        """Write the sounds, and the names last, so that a broken run starts this pool again."""
        with self.path.with_suffix(".raw").open("wb") as file:
            for key, titles, samples in parts:
                file.write(samples.tobytes())
                self.keys.append(key)
                self.titles.append(titles)
                self.ends.append(file.tell() // 2)
        table = {"keys": self.keys, "titles": self.titles, "ends": self.ends}
        self.path.write_text(json.dumps(table), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Pool:
        """Open a pool that `save` wrote."""
        return cls(path=path, **json.loads(path.read_text(encoding="utf-8")))

    def sounds(self) -> Iterator[Samples]:
        """Yield the sounds, int16 [T] each."""
        samples = np.memmap(self.path.with_suffix(".raw"), np.int16, "r")
        for start, end in itertools.pairwise([0, *self.ends]):
            yield np.asarray(samples[start:end])


def collect(sources: AudioSources, *, work: Path, amount: Amount | None = None) -> None:
    """Gather recordings, make procedural effects and play the sound fonts.

    Args:
        sources: where things are.
        work: gets recordings.json, effects.json, fonts-N.json and their samples.
        amount: of what is made.
    """
    amount = amount or Amount()
    if not (path := work / "recordings.json").is_file():
        Pool(path).save(_recorded(sources, work=work))
    if not (path := work / "effects.json").is_file():
        Pool(path).save(_made(amount.effects))
    for n, font in enumerate(sources.fonts):
        if not (path := work / f"fonts-{n}.json").is_file():
            wanted = (
                sounds_fonts.presets(font) * amount.noises
                if n == 0
                else sounds_fonts.general_midi(times=amount.tunes)
            )
            names, played = sounds_fonts.play(font, sounds=wanted, work=work, seed=n + 1)
            keys = [f"font-{n}/{name}" for name in names]
            titles = [[name.lower(), f"sound of a {name.lower()}"] for name in names]
            Pool(path).save(zip(keys, titles, played, strict=True))


def recordings(work: Path) -> Pool:
    """Open the pool of recordings."""
    return Pool.load(work / "recordings.json")


def procedural(work: Path) -> Pool:
    """Open the pool of procedural effects."""
    return Pool.load(work / "effects.json")


def fonts(work: Path) -> list[Pool]:
    """Open the pools of the sound fonts: the effects first, then instruments."""
    return [Pool.load(path) for path in sorted(work.glob("fonts-*.json"))]


def _recorded(sources: AudioSources, *, work: Path) -> Named:
    sounds.unpack_clonk(sources.clonk, target=work / "clonk")
    sounds.unpack_doom(sources.wad, target=work / "doom")
    found = sounds.list_recordings(work / "clonk", source="openclonk")
    found += sounds.list_recordings(work / "doom", source="freedoom")
    for name, folder in sorted(sources.folders.items()):
        found += sounds.list_recordings(folder, source=name)
    for name, root in sorted(sources.packages.items()):
        every = sounds.list_recordings(root, source=name)
        statement = root / f"usr/share/doc/{name}/copyright"
        free = {p for p, _, _ in free_files(statement, files=[r.path for r in every])}
        found += [r for r in every if r.path in free]
    for recording in (r for r in found if r.key not in _JUDGED_BY):
        try:
            samples = sounds.decode(recording)
        except BadMediaError as error:
            _log.warning("%s: left out (%s)", recording.key, error)
            continue
        peak = float(np.abs(samples).max())
        if peak > 1e-3:
            titles = [recording.title] if recording.title else []
            yield recording.key, titles, (samples * (32_000 / peak)).astype(np.int16)


def _made(n_each: int) -> Named:
    for name, (_, *titles) in effects.CLASSES.items():
        for number in range(n_each):
            samples = effects.make(name, number=number)
            yield f"effect/{name}", list(titles), (samples * 32_767).astype(np.int16)
