"""Sounds: any rate and channel count to mono windows, and rows A1 to A9."""

from __future__ import annotations

from pathlib import Path

import media_files
import numpy as np
import pytest

from retrieval.errors import BadMediaError
from retrieval.media import audio, find_file, load_file
from retrieval.types import Loaded, MediaSpec

RATE = 16_000
SPEC = MediaSpec(sample_rate_hz=RATE, window_s=2.0, hop_s=1.0)


def load(path: Path, *, spec: MediaSpec = SPEC) -> Loaded:
    loaded = load_file(find_file(path), spec=spec)
    for part in loaded.parts:
        assert part.modality == "audio"
        assert part.payload.dtype == np.float32
        assert np.isfinite(part.payload).all()
        assert np.abs(part.payload).max() <= 1
    return loaded


def outcome(path: Path) -> str:
    """Load a file that may be anything; `ok` or the code of the refusal."""
    try:
        load(path)
    except BadMediaError as error:
        return error.code
    return "ok"


def refusal(path: Path) -> BadMediaError:
    with pytest.raises(BadMediaError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return caught.value


def loudest_hz(samples: np.ndarray, *, rate_hz: int = RATE) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate_hz / len(samples))


def test_samples_at_the_wanted_rate_come_out_exactly(tmp_path):
    tone = media_files.tone(seconds=1.5, rate_hz=RATE)
    loaded = load(media_files.wav(tmp_path / "a.wav", samples=tone, rate_hz=RATE))
    (part,) = loaded.parts
    expected = np.round(tone[:, 0] * 32767) / 32768
    assert np.array_equal(part.payload, expected.astype(np.float32))
    assert (loaded.format, loaded.duration_s, loaded.flags) == ("wav", 1.5, ())
    assert (part.start_s, part.end_s) == (0.0, 1.5)


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 22_050, 44_100, 48_000, 96_000, 384_000])
def test_any_rate_becomes_the_wanted_rate(tmp_path, rate_hz):
    tone = media_files.tone(seconds=1, rate_hz=rate_hz, hz=440)
    loaded = load(media_files.wav(tmp_path / "a.wav", samples=tone, rate_hz=rate_hz))
    (part,) = loaded.parts
    assert abs(len(part.payload) - RATE) <= 32
    expected = media_files.tone(seconds=1, rate_hz=RATE, hz=440)[:, 0]
    inner = slice(500, 15_000)  # the filter fades in and out at the ends
    assert np.abs(part.payload[inner] - expected[inner]).max() < 0.02


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged(tmp_path, channels):
    tone = media_files.tone(seconds=1, rate_hz=RATE, channels=channels, hz=30)
    loaded = load(media_files.wav(tmp_path / "a.wav", samples=tone, rate_hz=RATE))
    assert np.abs(loaded.parts[0].payload - tone.mean(axis=1)).max() < 1e-4


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("flac", "flac"), ("ogg", "flac"), ("opus", "libopus"), ("mp3", "libmp3lame"),
     ("m4a", "aac"), ("m4a", "alac"), ("aac", "aac"), ("wma", "wmav2"), ("aiff", "pcm_s16be"),
     ("au", "pcm_s16be"), ("caf", "pcm_s24le"), ("wv", "wavpack"), ("ac3", "ac3"),
     ("wav", "pcm_s24le"), ("wav", "pcm_f64le"), ("wav", "pcm_u8"), ("mka", "flac")],
)  # fmt: skip
def test_every_format_gives_its_tone_back(tmp_path, suffix, codec):
    tone = media_files.tone(seconds=1.5, rate_hz=48_000, channels=2, hz=500)
    loaded = load(media_files.sound(tmp_path / f"a.{suffix}", codec=codec, samples=tone))
    assert loaded.modality == "audio"
    assert loaded.duration_s == pytest.approx(1.5, abs=0.1)
    assert loaded.flags == ()
    middle = loaded.parts[0].payload[4000:20_000]
    assert loudest_hz(middle) in (500.0, 1000.0)
    assert np.abs(middle).max() == pytest.approx(0.44, abs=0.06)  # of 0.25 sin x + 0.25 sin 2x


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.5, [(0.0, 0.5)]),
        (2.0, [(0.0, 2.0)]),
        (2.25, [(0.0, 2.0), (0.25, 2.25)]),
        (3.0, [(0.0, 2.0), (1.0, 3.0)]),
        (4.5, [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 4.5)]),
    ],
)
def test_long_sounds_become_overlapping_windows_to_their_end(tmp_path, seconds, expected):
    noise = np.random.default_rng(1).uniform(-0.9, 0.9, (round(seconds * RATE), 1))
    path = media_files.float_wav(tmp_path / "a.wav", samples=noise, rate_hz=RATE)
    loaded = load(path)
    assert [(part.start_s, part.end_s) for part in loaded.parts] == expected
    for part in loaded.parts:
        first, last = round(part.start_s * RATE), round(part.end_s * RATE)
        assert np.array_equal(part.payload, noise[first:last, 0].astype(np.float32))


def test_samples_beyond_full_scale_are_clipped(tmp_path):
    loud = 3 * media_files.tone(seconds=0.2, rate_hz=RATE)
    path = media_files.float_wav(tmp_path / "a.wav", samples=loud, rate_hz=RATE)
    assert np.allclose(load(path).parts[0].payload, np.clip(loud[:, 0], -1, 1), atol=1e-6)


def test_a_sound_without_samples_is_refused(tmp_path):
    path = media_files.raw_wav(tmp_path / "a.wav", data=b"")
    error = refusal(path)
    assert error.code == "no_audio"
    assert "record it again" in str(error)


def test_a_cut_wav_is_used_and_flagged(tmp_path):
    path = media_files.wav(tmp_path / "a.wav", samples=media_files.tone(seconds=1))
    media_files.cut(path, share=0.4)
    loaded = load(path)
    assert loaded.flags == ("shorter_than_header",)
    assert loaded.duration_s == pytest.approx(0.4, abs=0.01)


def test_a_header_that_claims_4_gb_is_flagged(tmp_path):
    data = np.round(media_files.tone(seconds=1) * 32767).astype("<i2").tobytes()
    path = media_files.raw_wav(tmp_path / "a.wav", data=data, claimed_bytes=0xFFFF_FFF0)
    loaded = load(path)
    assert (loaded.flags, loaded.duration_s) == (("shorter_than_header",), 1.0)


@pytest.mark.parametrize(("suffix", "codec"), [("flac", "flac"), ("mka", "flac"), ("m4a", "aac")])
def test_other_cut_sounds_are_flagged_or_truncated(tmp_path, suffix, codec):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (96_000, 1)).astype(np.float32)
    path = media_files.sound(tmp_path / f"a.{suffix}", codec=codec, samples=noise)
    media_files.cut(path, share=0.5)
    if suffix == "m4a":  # its index is at the end
        assert refusal(path).code == "truncated"
    else:
        loaded = load(path)
        assert "shorter_than_header" in loaded.flags
        assert 0.7 < loaded.duration_s < 1.1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, bad):
    samples = media_files.tone(seconds=0.5, channels=2)
    samples[3000, 1] = bad
    error = refusal(media_files.float_wav(tmp_path / "a.wav", samples=samples))
    assert error.code == "non_finite_audio"
    assert "export it again" in str(error)


@pytest.mark.parametrize("rate_hz", [0, 1, 3_999, 384_001, 2**31 - 1])
def test_absurd_rates_are_refused(tmp_path, rate_hz):
    path = media_files.raw_wav(tmp_path / "a.wav", data=bytes(4000), rate_hz=rate_hz)
    error = refusal(path)
    assert error.code == "bad_sample_rate"
    assert f"{rate_hz:,} Hz" in str(error)
    assert "384,000" in str(error)


@pytest.mark.parametrize("channels", [9, 1_024, 65_535])
def test_too_many_channels_are_refused(tmp_path, channels):
    path = media_files.raw_wav(tmp_path / "a.wav", data=bytes(channels * 200), channels=channels)
    error = refusal(path)
    assert error.code == "too_many_channels"
    assert "the limit is 8" in str(error)


def test_only_the_first_half_hour_is_used(tmp_path):
    path = media_files.silent_flac(tmp_path / "a.flac", seconds=7200, rate_hz=4_000)
    assert path.stat().st_size < 2_000_000
    loaded = load(path, spec=MediaSpec(sample_rate_hz=4_000, window_s=600, hop_s=600))
    assert loaded.flags == ("first_30_min_only", "silent")
    assert (loaded.duration_s, len(loaded.parts)) == (1800.0, 3)


def test_time_that_runs_out_is_flagged(tmp_path, monkeypatch):
    path = media_files.silent_flac(tmp_path / "a.flac", seconds=60)
    monkeypatch.setattr(audio, "_BUDGET_S", 0.01)
    assert "time_budget_reached" in load(path).flags


def test_silence_is_flagged(tmp_path):
    path = media_files.wav(tmp_path / "a.wav", samples=np.zeros((RATE, 1), dtype=np.float32))
    assert load(path).flags == ("silent",)


def test_a_click_is_too_short(tmp_path):
    path = media_files.wav(tmp_path / "a.wav", samples=media_files.tone(seconds=0.01))
    error = refusal(path)
    assert error.code == "too_short"
    assert "10.0 ms" in str(error)
    assert "20 ms" in str(error)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a"])
def test_noise_named_as_a_sound_is_refused(tmp_path, suffix):
    assert refusal(media_files.noise(tmp_path / f"a.{suffix}", seed=4)).code == "not_audio"


def test_a_cover_does_not_make_a_video(tmp_path):
    path = media_files.sound(tmp_path / "a.mp3", codec="libmp3lame", cover=True)
    assert load(path).modality == "audio"


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("flac", "flac"), ("opus", "libopus"), ("mp3", "libmp3lame"), ("m4a", "aac")],
)
def test_noise_inside_a_sound_gives_samples_or_a_refusal(tmp_path, suffix, codec, seed):
    path = media_files.sound(tmp_path / f"a.{suffix}", codec=codec)
    place = int(np.random.default_rng(seed).integers(8, path.stat().st_size - 60))
    media_files.scramble(path, first=place, last=place + 50, seed=seed)
    assert outcome(path) in (
            "ok", "no_audio", "corrupt", "truncated", "too_short", "not_audio", "bad_sample_rate",
            "too_many_channels", "no_video",
        )  # fmt: skip
