"""Duplicates in three tiers: the same bytes, the same look or sound, nearly the same vector.

A pair that an earlier tier explains is not told again by a later one. Within the second and third
tier, shots of a burst are told from copies by when they were taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from retrieval.around.fingerprints import (
    PICTURE_BITS,
    Bits,
    bit_error,
    picture_bits,
    sound_bits,
    taken_s,
)
from retrieval.around.pairs import close_pairs, groups_of
from retrieval.contents import Contents
from retrieval.errors import BadMediaError, UsageError
from retrieval.evaluation.encoded import LoadsMany
from retrieval.media import Found, find_file
from retrieval.types import Failure, Item, Loaded, Modality

__all__ = ["TIERS", "Duplicate", "DuplicateGroup", "DuplicateReport", "find_duplicates"]

Tier = Literal["bytes", "perceptual", "vectors"]
Kind = Literal["copy", "burst", "similar"]
TIERS: tuple[Tier, ...] = ("bytes", "perceptual", "vectors")

_LOOK_BITS = 16  # of 128 that may differ for two pictures to look alike
_COPY_BITS = 8  # of 128 that another size, format or quality turns at most
_COLOUR_STEPS = 24  # of 255 that the mean colours may differ: hashes see grey only
_SOUND_ERROR = 0.30  # of the bits; two different sounds differ in half of them


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A member of a group.

    Attributes:
        id: the item's id.
        path: its path.
        copies: further paths with the same bytes.
        taken_s: when it was taken by EXIF, seconds since 1970; None where that is not known.
    """

    id: int
    path: str
    copies: tuple[str, ...]
    taken_s: float | None


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Items that are nearly one.

    Attributes:
        tier: what found them.
        kind: `copy`, shots of a `burst`, or merely `similar`.
        modality: of all of them.
        similarity: of the least similar pair that joined the group, in [0, 1].
        items: ascending by id; one item alone has copies.
    """

    tier: Tier
    kind: Kind
    modality: Modality
    similarity: float
    items: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What was found.

    Attributes:
        n_items: how many items were looked at.
        groups: by tier, then by kind and first id.
        failures: files that could not be decoded again for the second tier.
    """

    n_items: int
    groups: tuple[DuplicateGroup, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    a: int
    b: int
    similarity: float
    kind: Kind


@dataclass
class _Looks:
    """Fingerprints by item id."""

    pictures: dict[int, Bits]
    colours: dict[int, np.ndarray]
    sounds: dict[int, Bits]


def find_duplicates(
    contents: Contents,
    *,
    pictures: LoadsMany,
    sounds: LoadsMany,
    tiers: Sequence[Tier] = TIERS,
    threshold: float = 0.98,
    burst_s: float = 10.0,
) -> DuplicateReport:
    """Find items of a store that are nearly one.

    Args:
        contents: of the store.
        pictures: decodes pictures as `PICTURE_SPEC` says.
        sounds: decodes sounds as `SOUND_SPEC` says.
        tiers: which to run. Videos and texts have no second tier.
        threshold: least cosine of the third tier, in (0, 1].
        burst_s: shots taken within so many seconds of each other are a burst, not copies.

    Returns:
        The groups.

    Raises:
        UsageError: `threshold` or `burst_s` is out of range (`bad_threshold`).
    """
    if not 0 < threshold <= 1 or not 0 <= burst_s <= 86_400:
        raise UsageError(
            f"threshold is {threshold}, burst_s {burst_s}; they must be in (0, 1] and 0 to 86400",
            code="bad_threshold",
        )
    groups: list[DuplicateGroup] = []
    failures: list[Failure] = []
    told: set[tuple[int, int]] = set()
    whole = {id_: item for id_, item in contents.items.items() if not item.record}
    taken = {id_: _taken(item.path) for id_, item in whole.items() if item.modality == "image"}
    if "bytes" in tiers:
        groups += [
            _group("bytes", "copy", [item], 1.0, taken) for item in whole.values() if item.copies
        ]
    looks = _Looks({}, {}, {})
    if "perceptual" in tiers:
        looks = _read_looks(whole, pictures=pictures, sounds=sounds, failures=failures)
        pairs = _alike(looks, taken=taken, burst_s=burst_s)
        told = {(pair.a, pair.b) for pair in pairs}
        groups += _groups("perceptual", pairs, contents.items, taken)
    if "vectors" in tiers:
        near = _near(contents, threshold=threshold, told=told, taken=taken, burst_s=burst_s)
        groups += _groups("vectors", near, contents.items, taken)
    return DuplicateReport(len(contents.items), tuple(groups), tuple(failures))


def _read_looks(
    items: dict[int, Item], *, pictures: LoadsMany, sounds: LoadsMany, failures: list[Failure]
) -> _Looks:
    looks = _Looks({}, {}, {})
    for id_, outcome in _load(items, "image", loader=pictures, failures=failures):
        pixels = next(p.payload for p in outcome.parts if p.modality == "image")
        assert isinstance(pixels, np.ndarray)
        looks.pictures[id_] = picture_bits(pixels.astype(np.uint8))
        looks.colours[id_] = pixels.reshape(-1, 3).mean(axis=0)
    for id_, outcome in _load(items, "audio", loader=sounds, failures=failures):
        samples = next(p.payload for p in outcome.parts if p.modality == "audio")
        assert isinstance(samples, np.ndarray)
        looks.sounds[id_] = sound_bits(samples.astype(np.float32))
    return looks


def _load(
    items: dict[int, Item], modality: Modality, *, loader: LoadsMany, failures: list[Failure]
) -> Iterator[tuple[int, Loaded]]:
    jobs: list[Found] = []
    ids: dict[str, int] = {}
    for id_, item in items.items():
        if item.modality != modality:
            continue
        try:
            jobs.append(find_file(Path(item.path)))
            ids[jobs[-1].path] = id_
        except (UsageError, BadMediaError) as error:
            failures.append(Failure(item.path, error.code, str(error)))
    for found, outcome in loader.load_many(jobs):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            yield ids[found.path], outcome


def _alike(looks: _Looks, *, taken: dict[int, float | None], burst_s: float) -> list[_Pair]:
    pairs = []
    ids = list(looks.pictures)
    if ids:
        # Signs instead of bits: an inner product counts equal bits minus different ones.
        signs = np.stack([looks.pictures[i] for i in ids]).astype(np.float32) * 2 - 1
        for a, b, score in close_pairs(signs, threshold=PICTURE_BITS - 2 * _LOOK_BITS):
            first, second = ids[a], ids[b]
            colours = np.abs(looks.colours[first] - looks.colours[second]).max()
            if colours <= _COLOUR_STEPS:
                n_bits = round((PICTURE_BITS - score) / 2)
                gap_s = _gap_s(taken, first, second)
                kind = _kind(gap_s, burst_s=burst_s, same=n_bits <= _COPY_BITS)
                pairs.append(_Pair(first, second, 1 - n_bits / PICTURE_BITS, kind))
    heard = list(looks.sounds)
    for position, first in enumerate(heard):
        for second in heard[position + 1 :]:
            error = bit_error(looks.sounds[first], looks.sounds[second])
            if error <= _SOUND_ERROR:
                pairs.append(_Pair(first, second, 1 - error, "copy"))
    return pairs


def _near(
    contents: Contents,
    *,
    threshold: float,
    told: set[tuple[int, int]],
    taken: dict[int, float | None],
    burst_s: float,
) -> list[_Pair]:
    ids, vectors = contents.item_vectors()
    modalities = np.array([contents.items[int(id_)].modality for id_ in ids])
    pairs = []
    for modality in np.unique(modalities):
        rows = np.flatnonzero(modalities == modality)
        for a, b, score in close_pairs(vectors[rows], threshold=threshold):
            first, second = int(ids[rows[a]]), int(ids[rows[b]])
            if (first, second) not in told:
                gap_s = _gap_s(taken, first, second)
                kind = _kind(gap_s, burst_s=burst_s, same=False)
                pairs.append(_Pair(first, second, min(1.0, score), kind))
    return pairs


def _kind(gap_s: float | None, *, burst_s: float, same: bool) -> Kind:
    """Tell copies, bursts and likes apart.

    A camera writes whole seconds: shots of one second are a burst if they do not look the same.
    """
    if gap_s is None or gap_s == 0:
        if same:
            return "copy"
        return "similar" if gap_s is None else "burst"
    return "burst" if gap_s <= burst_s else "similar"


def _gap_s(taken: dict[int, float | None], a: int, b: int) -> float | None:
    first, second = taken.get(a), taken.get(b)
    return None if first is None or second is None else abs(first - second)


def _groups(
    tier: Tier, pairs: Sequence[_Pair], items: dict[int, Item], taken: dict[int, float | None]
) -> list[DuplicateGroup]:
    out = []
    kinds: tuple[Kind, ...] = ("copy", "burst", "similar")
    for kind in kinds:
        own = [pair for pair in pairs if pair.kind == kind]
        for ids in groups_of((pair.a, pair.b) for pair in own):
            least = min(pair.similarity for pair in own if pair.a in ids)
            out.append(_group(tier, kind, [items[id_] for id_ in ids], least, taken))
    return out


def _group(
    tier: Tier, kind: Kind, items: Sequence[Item], similarity: float, taken: dict[int, float | None]
) -> DuplicateGroup:
    members = tuple(
        Duplicate(item.id, item.path, item.copies, taken.get(item.id)) for item in items
    )
    return DuplicateGroup(tier, kind, items[0].modality, round(similarity, 4), members)


def _taken(path: str) -> float | None:
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return taken_s(file.read(128 << 10))
    except OSError:  # gone since it was added: it has no date, and its failure is told by decoding
        return None
