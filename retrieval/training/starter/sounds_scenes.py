"""Scenes mixed of the single sounds, and what the teachers hear in them, in resumable parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.training.starter import sounds, sounds_pools
from retrieval.training.starter.gpvad import EventTeacher, scene_mel
from retrieval.training.starter.sounds_mix import Group, Mixer, halve
from retrieval.training.starter.sounds_pools import AudioSources, Samples

Halves = npt.NDArray[np.float16]

N_FRAMES, N_JUDGED = 250, 31
_PART = 500
_AT_ONCE = 16
_RECORDED, _EFFECTS, _FONT_EFFECTS, _FONT_TUNES = 0.55, 0.24, 0.12, 0.09
# The recordings that are heard too often otherwise: short game sounds made by synthesizers.
_MADE = ("arcade/", "freedoom/", "endless-sky-data/", "marsshooter-data/")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Scenes and what the teachers said of them.

    Attributes:
        mels: float16 [N, 250, 64].
        log_odds: float16 [N, 31, 527], averaged over 8 mel frames.
    """

    mels: Halves
    log_odds: Halves

    @classmethod
    def load(cls, work: Path, *, split: str) -> Scenes:
        """Read what `teach` wrote, in order of its parts."""
        mels, log_odds = [], []
        for path in sorted(work.glob(f"scenes-{split}-*.npz")):
            with np.load(path) as stored:
                mels.append(stored["mels"])
                log_odds.append(stored["log_odds"])
        return cls(np.concatenate(mels), np.concatenate(log_odds))


def teach(
    sources: AudioSources,
    *,
    work: Path,
    n_scenes: int,
    split: str = "train",
    seed: int = 11,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Mix scenes and ask the teachers about them, 500 to a file; a file that is there is kept.

    Args:
        sources: where things are.
        work: holds the pools; gets `scenes-SPLIT-NNN.npz`.
        n_scenes: how many.
        split: `train`, or `validation` for scenes of the recordings that are held out.
        seed: of the mixing; each file has its own stream, so files can be made in any order.
        share: (k, n) makes every n-th file from the k-th on; n processes share the work so.
    """
    starts = dict(enumerate(range(0, n_scenes, _PART)))
    paths = {n: work / f"scenes-{split}-{n:03}.npz" for n in starts}
    missing = [n for n in list(starts)[share[0] :: share[1]] if not paths[n].is_file()]
    if not missing:
        return
    groups = _groups(work, validation=split == "validation")
    teacher = EventTeacher(sources.teachers)
    for n in missing:
        mixer = Mixer(groups, seed=(seed, n))
        scenes = _judge(mixer, teacher=teacher, n_scenes=min(_PART, n_scenes - starts[n]))
        _write(scenes, path=paths[n])


def _judge(mixer: Mixer, *, teacher: EventTeacher, n_scenes: int) -> Scenes:
    mels = np.empty((n_scenes, N_FRAMES, 64), np.float16)
    log_odds = np.empty((n_scenes, N_JUDGED, 527), np.float16)
    for start in range(0, n_scenes, _AT_ONCE):
        rows = slice(start, min(n_scenes, start + _AT_ONCE))
        heard = np.stack([scene_mel(mixer.scene()) for _ in range(rows.stop - start)])
        said = teacher(heard)[:, : 2 * N_JUDGED]
        mels[rows] = np.clip(heard[:, :N_FRAMES], -40.0, 20.0)
        log_odds[rows] = said.reshape(len(said), N_JUDGED, 2, -1).mean(axis=2)
    return Scenes(mels, log_odds)


def _write(scenes: Scenes, *, path: Path) -> None:
    """Write a part whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        np.savez(file, mels=scenes.mels, log_odds=scenes.log_odds)
    unfinished.replace(path)


def _groups(work: Path, *, validation: bool) -> list[Group]:
    pool = sounds_pools.recordings(work)
    kept: list[Samples] = []
    chances: list[float] = []
    for key, titles, samples in zip(pool.keys, pool.titles, pool.sounds(), strict=True):
        if sounds.for_validation(key) == validation:
            kept.append(_half(samples))
            length = min(1.0, 0.3 + len(samples) / sounds.SAMPLE_RATE_HZ / 6)
            rarer = 0.35 if key.startswith(_MADE) else 1.0
            chances.append(length * rarer * (2.5 if titles and rarer == 1.0 else 1.0))
    recorded = np.array(chances) / np.sum(chances)
    if validation:
        return [Group(kept, 1.0, recorded)]
    made = [_half(s) for s in sounds_pools.procedural(work).sounds()]
    noises, *tunes = [[_half(s) for s in font.sounds()] for font in sounds_pools.fonts(work)]
    return [
        Group(kept, _RECORDED, recorded),
        Group(made, _EFFECTS),
        Group(noises, _FONT_EFFECTS),
        Group([s for part in tunes for s in part], _FONT_TUNES),
    ]


def _half(samples: Samples) -> Samples:
    small = halve(samples.astype(np.float32))
    return np.clip(small, -32_767, 32_767).astype(np.int16)
