"""Moments: where a known clip lies in a long sound, and how it is cut out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import av
import media_files
import numpy as np
import pytest
from cli import crossfind

from retrieval.around.clip import cut_clip
from retrieval.around.moments import item_moments
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import BadMediaError, InputError, UsageError
from retrieval.media import Loader
from retrieval.query.moments import find_moments, overlap

# What the fake encoder hears: pitch is colour.
PITCH_HZ = {"red": 100.0, "green": 400.0, "blue": 1800.0}
RATE = 16_000


def long_sound(path: Path, *, seed: int) -> tuple[str, tuple[float, float]]:
    """Write five tones one after the other; a colour that comes once, and where."""
    rng = np.random.default_rng(seed)
    names = list(PITCH_HZ)
    wanted = names[int(rng.integers(3))]
    others = [n for n in names if n != wanted]
    order = [others[int(rng.integers(2))] for _ in range(4)]
    order.insert(int(rng.integers(5)), wanted)
    lengths_s = rng.uniform(5.0, 12.0, 5)
    tones = [
        media_files.tone(seconds=float(s), rate_hz=RATE, hz=PITCH_HZ[n])
        for n, s in zip(order, lengths_s, strict=True)
    ]
    media_files.wav(path, samples=np.concatenate(tones), rate_hz=RATE)
    ends = np.cumsum(lengths_s)
    at = order.index(wanted)
    return wanted, (float(ends[at] - lengths_s[at]), float(ends[at]))


def test_a_known_clip_is_found_where_it_lies(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    truth = {folder / f"{s:02}.wav": long_sound(folder / f"{s:02}.wav", seed=s) for s in range(25)}
    engine.add(folder)
    good = 0
    with Loader(spec=FakeEncoder().media) as loader:
        for path, (query, span) in truth.items():
            item, found = item_moments(engine, query=query, hit=str(path), loader=loader)
            assert item.path == str(path)
            good += overlap((found[0].start_s, found[0].end_s), span) >= 0.5
    assert good >= 20


def test_two_peaks_are_two_moments_and_do_not_overlap() -> None:
    spans = [(2.0 * i, 2.0 * i + 4) for i in range(20)]
    truth = [(8, 14), (28, 36)]
    scores = [0.1 + 0.8 * max(overlap_share(span, one) for one in truth) for span in spans]
    found = find_moments(spans, scores=scores)
    assert len(found) == 2
    for moment, one in zip(sorted(found, key=lambda m: m.start_s), truth, strict=True):
        assert overlap((moment.start_s, moment.end_s), one) >= 0.6
    first, second = sorted(found, key=lambda m: m.start_s)
    assert first.end_s <= second.start_s


def overlap_share(span: tuple[float, float], one: tuple[float, float]) -> float:
    return max(0.0, min(span[1], one[1]) - max(span[0], one[0])) / (span[1] - span[0])


def test_frames_reach_to_the_next_one_and_even_scores_are_one_moment() -> None:
    frames = [(0.0, 0.0), (2.0, 2.0), (4.0, 4.0), (6.0, 6.0), (8.0, 8.0)]
    (best, *_) = find_moments(frames, scores=[0.1, 0.1, 0.9, 0.1, 0.1])
    assert (best.start_s, best.end_s, best.score) == (4.0, 6.0, 0.9)
    (whole,) = find_moments([(0, 4), (2, 6)], scores=[0.5, 0.5])
    assert (whole.start_s, whole.end_s) == (0.0, 6.0)


def test_no_two_moments_overlap_whatever_the_scores() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        n = int(rng.integers(1, 30))
        starts = rng.uniform(0, 50, n)
        spans = [
            (float(s), float(s + d)) for s, d in zip(starts, rng.uniform(0, 9, n), strict=True)
        ]
        found = find_moments(spans, scores=rng.normal(size=n).tolist(), n=8)
        assert 1 <= len(found) <= 8
        ordered = sorted(found, key=lambda m: m.start_s)
        for a, b in pairwise(ordered):
            assert a.end_s <= b.start_s
        assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)


@pytest.mark.parametrize(
    ("spans", "scores"),
    [([], []), ([(0, 1)], [0.1, 0.2]), ([(1, 0)], [0.1]), ([(0, 1)], [float("nan")])],
)
def test_windows_that_make_no_sense_are_refused(spans, scores) -> None:
    with pytest.raises(InputError):
        find_moments(spans, scores=scores)


def samples_of(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        frames = [f.to_ndarray().astype(np.float64) for f in container.decode(audio=0)]
        return np.concatenate(frames, axis=1).ravel(), container.streams.audio[0].rate


def test_a_wav_clip_has_exactly_the_samples_of_its_source(tmp_path: Path) -> None:
    tone = media_files.tone(seconds=20, rate_hz=RATE, hz=310)
    source = media_files.wav(tmp_path / "a.wav", samples=tone, rate_hz=RATE)
    for start_s, end_s in ((0.0, 1.0), (15.25, 17.5), (19.0, 30.0)):
        out = tmp_path / f"{start_s}.wav"
        done = cut_clip(source, start_s=start_s, end_s=end_s, out=out)
        assert done.end_s == pytest.approx(min(end_s, 20.0), abs=1e-3)
        found, rate = samples_of(out)
        wanted = np.round(tone[round(start_s * RATE) : round(end_s * RATE), 0] * 32767)
        assert rate == RATE
        assert len(found) == len(wanted)
        assert np.abs(found - wanted).max() <= 1


def test_a_video_clip_keeps_pictures_and_sound(tmp_path: Path) -> None:
    source = media_files.video(tmp_path / "v.mp4", scene_s=2.0, with_sound=True)
    done = cut_clip(source, start_s=2.0, end_s=4.0, out=tmp_path / "c.mp4")
    assert done.end_s == pytest.approx(4.0, abs=0.1)
    with av.open(done.path) as container:
        assert len(container.streams.audio) == 1
        colours = [
            f.to_ndarray(format="rgb24").mean(axis=(0, 1)) for f in container.decode(video=0)
        ]
    assert len(colours) == 20
    assert all(c[1] > 200 and c[0] < 40 for c in colours)  # lime, the second scene
    for suffix in (".ogg", ".flac", ".mp3", ".m4a"):
        cut_clip(source, start_s=1.0, end_s=2.0, out=tmp_path / f"s{suffix}")
        found, rate = samples_of(tmp_path / f"s{suffix}")
        assert len(found) / rate == pytest.approx(1.0, abs=0.1)


def test_bad_cuts_leave_no_file(tmp_path: Path) -> None:
    source = media_files.wav(tmp_path / "a.wav")
    out = tmp_path / "out.wav"
    for start_s, end_s in ((2.0, 1.0), (-1.0, 1.0), (0.0, 1e9)):
        with pytest.raises(UsageError):
            cut_clip(source, start_s=start_s, end_s=end_s, out=out)
    with pytest.raises(UsageError, match="clips end in"):
        cut_clip(source, start_s=0, end_s=1, out=tmp_path / "out.exe")
    with pytest.raises(UsageError, match="exists"):
        cut_clip(source, start_s=0, end_s=1, out=source)
    with pytest.raises(BadMediaError, match="nothing between"):
        cut_clip(source, start_s=5, end_s=6, out=out)
    (tmp_path / "x.mp3").write_bytes(b"ID3" + bytes(range(256)) * 20)
    with pytest.raises(BadMediaError):
        cut_clip(tmp_path / "x.mp3", start_s=0, end_s=1, out=out)
    assert not out.exists()


def test_the_commands_find_and_cut(tmp_path: Path) -> None:
    query, span = long_sound(tmp_path / "long.wav", seed=3)
    crossfind("index", "add", "long.wav", "--model", "fake", cwd=tmp_path)
    done = crossfind("moments", query, "long.wav", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    first = json.loads(done.out)["moments"][0]
    assert overlap((first["start_s"], first["end_s"]), span) >= 0.5
    times = [str(first["start_s"]), str(first["end_s"])]
    done = crossfind("clip", "#1", *times, "--out", "c.wav", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "c.wav").exists()
    assert crossfind("clip", "nowhere.wav", "0", "1", "--out", "d.wav", cwd=tmp_path).code == 2
