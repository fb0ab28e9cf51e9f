"""The type of a file comes from its bytes."""

from __future__ import annotations

import media_files
import numpy as np
import pytest

from retrieval.errors import BadMediaError
from retrieval.media.kinds import HEAD_BYTES, sniff

SOUNDS = {
    "flac": ("flac", "flac"),
    "ogg": ("flac", "ogg"),
    "opus": ("libopus", "opus"),
    "mp3": ("libmp3lame", "mp3"),
    "m4a": ("aac", "m4a"),
    "aac": ("aac", "aac"),
    "wma": ("wmav2", "wma"),
    "aiff": ("pcm_s16be", "aiff"),
    "au": ("pcm_s16be", "au"),
    "caf": ("pcm_s16be", "caf"),
    "wv": ("wavpack", "wv"),
    "ac3": ("ac3", "ac3"),
}
VIDEOS = {
    "mp4": ("libx264", "mp4"),
    "mov": ("libx264", "mov"),
    "mkv": ("libx264", "mkv"),
    "webm": ("libvpx-vp9", "webm"),
    "avi": ("mpeg4", "avi"),
    "flv": ("flv", "flv"),
    "wmv": ("wmv2", "wmv"),
    "mpg": ("mpeg1video", "mpeg"),
    "ts": ("libx264", "mpegts"),
    "3gp": ("libx264", "3gp"),
}


def head(path) -> bytes:
    return path.read_bytes()[:HEAD_BYTES]


@pytest.mark.parametrize("suffix", SOUNDS)
def test_sounds_are_told_whatever_their_name(tmp_path, suffix):
    codec, format = SOUNDS[suffix]
    path = media_files.sound(tmp_path / f"a.{suffix}", codec=codec)
    for name in {"", ".jpg", ".txt"} - ({""} if suffix == "wma" else set()):
        expected = ("video", "wmv") if suffix == "wma" else ("audio", format)
        assert sniff(head(path), suffix=name) == expected
    assert sniff(head(path), suffix=f".{suffix}") == ("audio", format)


def test_wav_is_told(tmp_path):
    assert sniff(head(media_files.wav(tmp_path / "a.wav")), suffix=".mp3") == ("audio", "wav")


@pytest.mark.parametrize("suffix", VIDEOS)
def test_videos_are_told_whatever_their_name(tmp_path, suffix):
    codec, format = VIDEOS[suffix]
    path = media_files.video(tmp_path / f"a.{suffix}", codec=codec, scene_s=0.5, fps=25)
    for name in ("", ".jpg", f".{suffix}"):
        assert sniff(head(path), suffix=name) == ("video", format)


@pytest.mark.parametrize(
    ("suffix", "code"),
    [(".jpg", "not_an_image"), (".wav", "not_audio"), (".mp4", "not_video"), (".txt", "not_text"),
     ("", "format_not_enabled")],
)  # fmt: skip
def test_noise_is_refused_by_what_the_suffix_promised(suffix, code):
    noise = np.random.default_rng(5).bytes(4096)
    with pytest.raises(BadMediaError) as caught:
        sniff(noise, suffix=suffix)
    assert caught.value.code == code


@pytest.mark.parametrize("start", [b"PK\3\4", b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c", b"BZh9"])
def test_a_renamed_archive_is_refused(start):
    with pytest.raises(BadMediaError) as caught:
        sniff(start + bytes(range(256)), suffix=".jpg")
    assert caught.value.code == "archive_not_enabled"


@pytest.mark.parametrize(
    "text", ["BMW is a car", "GIF8 is no GIF", "RIFF", "ID3", "OggS", "fLaC", "#EXTM3U", "<svg>"]
)
def test_texts_that_begin_like_something_else_are_texts(text):
    assert sniff(text.encode(), suffix=".txt") == ("text", "txt")


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_sound(mark):
    assert sniff(mark + b"d\0o\0g\0", suffix=".md") == ("text", "md")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".wav", ".jpg", ""])
@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd", "ffconcat version 1.0\nfile /etc/passwd",
     "<?xml version='1.0'?><MPD></MPD>", "[playlist]\nFile1=http://x", "\ufeff#EXTM3U\nhttp://x"],
)  # fmt: skip
def test_playlists_are_closed_under_any_media_name(text, suffix):
    with pytest.raises(BadMediaError) as caught:
        sniff(text.encode(), suffix=suffix)
    assert caught.value.code == "format_not_enabled"
