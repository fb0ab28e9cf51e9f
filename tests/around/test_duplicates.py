"""Copies, bursts and likes: told apart by bytes, looks, sounds, vectors and the time taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.around.duplicates import find_duplicates
from retrieval.around.fingerprints import (
    PICTURE_SPEC,
    SOUND_SPEC,
    bit_error,
    picture_bits,
    sound_bits,
    taken_s,
)
from retrieval.around.pairs import close_pairs, groups_of
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.media import Loader, find_file


def scene(*, seed: int, side: int = 240, shift: int = 0) -> np.ndarray:
    """Paint random discs; `shift` moves them, as a hand does between two shots."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    pixels = np.full((side, side, 3), rng.integers(60, 200, 3), np.float64)
    for _ in range(12):
        (cx, cy), radius = rng.integers(0, side, 2), rng.integers(15, 70)
        pixels[(x - cx - shift) ** 2 + (y - cy) ** 2 < radius**2] = rng.integers(0, 256, 3)
    return pixels.astype(np.uint8)


def shot(path: Path, *, pixels: np.ndarray, taken: str = "", quality: int = 92) -> Path:
    exif = Image.Exif()
    if taken:
        exif[0x0132] = "2025:01:01 00:00:00"  # changed later by an editor
        exif.get_ifd(0x8769)[0x9003] = taken
    Image.fromarray(pixels).save(path, "JPEG", quality=quality, exif=exif)
    return path


def melody(*, seed: int, seconds: float = 6.0, rate_hz: int = 16_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    notes = rng.integers(300, 3000, round(seconds * 4))
    t = np.arange(rate_hz // 4) / rate_hz
    fade = np.exp(-4 * t / t[-1])
    tones = [np.sin(2 * np.pi * f * t) * fade + 0.4 * np.sin(5 * np.pi * f * t) for f in notes]
    return (0.4 * np.concatenate(tones))[:, None].astype(np.float32)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    one = scene(seed=1)
    shot(folder / "one.jpg", pixels=one, taken="2024:05:31 18:00:00")
    shutil.copy(folder / "one.jpg", folder / "one_again.jpg")
    small = np.asarray(Image.fromarray(one).resize((160, 160)))
    shot(folder / "one_small.jpg", pixels=small, quality=60)
    shot(folder / "burst_a.jpg", pixels=scene(seed=2), taken="2024:06:01 10:00:00")
    shot(folder / "burst_b.jpg", pixels=scene(seed=2, shift=3), taken="2024:06:01 10:00:02")
    shot(folder / "years_later.jpg", pixels=scene(seed=2, shift=2), taken="2026:06:01 10:00:00")
    shot(folder / "other.jpg", pixels=scene(seed=7))
    media_files.wav(folder / "song.wav", samples=melody(seed=1))
    media_files.sound(folder / "song.ogg", codec="libopus", samples=melody(seed=1, rate_hz=48_000))
    media_files.wav(folder / "other.wav", samples=melody(seed=9))
    return folder


def report_of(engine: Engine, **options):
    with Loader(spec=PICTURE_SPEC) as pictures, Loader(spec=SOUND_SPEC) as sounds:
        return find_duplicates(read_contents(engine), pictures=pictures, sounds=sounds, **options)


def told(report) -> list[tuple[str, str, list[str]]]:
    return [(g.tier, g.kind, sorted(Path(i.path).name for i in g.items)) for g in report.groups]


def test_three_tiers_tell_copies_bursts_and_likes_apart(engine: Engine, library: Path) -> None:
    engine.add(library)
    report = report_of(engine, tiers=("bytes", "perceptual"))
    assert report.failures == ()
    assert told(report) == [
        ("bytes", "copy", ["one.jpg"]),
        ("perceptual", "copy", ["one.jpg", "one_small.jpg"]),
        ("perceptual", "copy", ["song.ogg", "song.wav"]),
        ("perceptual", "burst", ["burst_a.jpg", "burst_b.jpg"]),
        ("perceptual", "similar", ["burst_a.jpg", "burst_b.jpg", "years_later.jpg"]),
    ]
    assert [Path(p).name for p in report.groups[0].items[0].copies] == ["one_again.jpg"]
    assert report.groups[0].items[0].taken_s == 1717178400.0


def test_the_vector_tier_tells_only_what_no_earlier_tier_told(
    engine: Engine, library: Path
) -> None:
    engine.add(library)
    shared = {"one.jpg", "one_small.jpg"}
    groups = told(report_of(engine, threshold=0.9999))
    assert [g for g in groups if set(g[2]) == shared] == [("perceptual", "copy", sorted(shared))]
    alone = told(report_of(engine, threshold=0.9999, tiers=("vectors",)))
    assert any(shared <= set(names) for tier, _, names in alone if tier == "vectors")


def test_a_missing_file_is_named_and_costs_no_other(engine: Engine, library: Path) -> None:
    engine.add(library)
    (library / "other.jpg").unlink()
    report = report_of(engine, tiers=("perceptual",))
    assert [Path(f.path).name for f in report.failures] == ["other.jpg"]
    assert len(report.groups) == 4


def test_colours_that_hash_alike_are_no_copies(engine: Engine, world: Path) -> None:
    engine.add(world)  # flat red, green, blue and white have the same bits
    assert told(report_of(engine, tiers=("perceptual",))) == []


def test_wrong_limits_are_refused(engine: Engine, world: Path) -> None:
    engine.add(world)
    for options in ({"threshold": 0.0}, {"threshold": 1.5}, {"burst_s": -1.0}):
        with pytest.raises(UsageError):
            report_of(engine, **options)


def test_scenes_differ_in_half_of_their_bits_and_scaling_turns_few(tmp_path: Path) -> None:
    with Loader(spec=PICTURE_SPEC) as loader:

        def bits(pixels: np.ndarray, quality: int = 95) -> np.ndarray:
            path = shot(tmp_path / "x.jpg", pixels=pixels, quality=quality)
            return picture_bits(loader.load(find_file(path)).parts[0].payload)

        whole = [bits(scene(seed=s)) for s in range(20)]
        small = [
            bits(np.asarray(Image.fromarray(scene(seed=s)).resize((120, 150))), quality=50)
            for s in range(20)
        ]
    assert max(int((a != b).sum()) for a, b in zip(whole, small, strict=True)) <= 8
    apart = [(whole[a] != whole[b]).sum() for a in range(20) for b in range(a)]
    assert min(apart) > 16
    assert 50 < np.mean(apart) < 78


def test_sounds_differ_in_half_of_their_bits() -> None:
    sounds = [melody(seed=s, rate_hz=8_000)[:, 0] for s in range(8)]
    bits = [sound_bits(s) for s in sounds]
    errors = [bit_error(bits[a], bits[b]) for a in range(8) for b in range(a)]
    assert min(errors) > 0.35
    late = sound_bits(np.concatenate([np.zeros(900, np.float32), sounds[0]]))
    assert bit_error(bits[0], late) < 0.3
    assert bit_error(bits[0], bits[0][:40]) == 1.0


def test_clips_padded_with_silence_are_alike_for_what_is_heard_alone() -> None:
    rng = np.random.default_rng(8)

    def padded(seed: int, seconds: float) -> np.ndarray:
        own = np.random.default_rng(seed).standard_normal(int(seconds * 8000)).astype(np.float32)
        return np.concatenate([0.3 * own, np.zeros(40_000 - len(own), np.float32)])

    first, second = padded(1, 2.0), padded(2, 2.0)
    assert bit_error(sound_bits(first), sound_bits(second)) > 0.4
    # A lossy copy has a faint hiss where there was silence.
    copy = first + 1e-6 * rng.standard_normal(len(first)).astype(np.float32)
    assert bit_error(sound_bits(first), sound_bits(copy)) < 0.05
    # A bark of a quarter second says too little.
    assert bit_error(sound_bits(padded(1, 0.25)), sound_bits(padded(2, 0.25))) == 1.0
    nothing = sound_bits(np.zeros(40_000, np.float32))
    assert bit_error(nothing, nothing) == 1.0


def test_the_earliest_date_counts_and_nonsense_does_not() -> None:
    head = b"x2024:01:01 00:00:10\x00y2024:01:01 00:00:00\x00z0000:00:00 00:00:00\x00"
    assert taken_s(head) == 1704067200.0
    assert taken_s(b"2024:99:01 00:00:10\x00") is None


def test_close_pairs_equal_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.around.pairs._BLOCK", 7)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 6)).astype(np.float32)
    slow = {(a, b) for a in range(40) for b in range(a + 1, 40) if rows[a] @ rows[b] >= 2.0}
    assert {(a, b) for a, b, _ in close_pairs(rows, threshold=2.0)} == slow
    assert groups_of([(3, 2), (9, 4), (2, 1), (4, 3)]) == [[1, 2, 3, 4, 9]]


def test_the_command_writes_a_json_report(library: Path, tmp_path: Path) -> None:
    crossfind("index", "add", library, "--model", "fake", cwd=tmp_path)
    done = crossfind("duplicates", "--tier", "bytes", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    (group,) = json.loads(done.out)["groups"]
    assert (group["tier"], group["kind"], len(group["items"])) == ("bytes", "copy", 1)
    lines = crossfind("duplicates", "--tier", "bytes", cwd=tmp_path).out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == [
        "library/one.jpg", "library/one_again.jpg",
    ]  # fmt: skip
