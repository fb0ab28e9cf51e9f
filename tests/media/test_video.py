"""Videos: scenes with times, the sound track, and rows V1 to V7."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import media_files
import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BadMediaError
from retrieval.media import find_file, frames, load_file, video
from retrieval.media.video import _coarse_to_fine
from retrieval.types import Loaded, LoadedPart, MediaSpec

SPEC = MediaSpec(image_size_px=32, sample_rate_hz=16_000, window_s=2, hop_s=2, frame_every_s=2.0)
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}


def load(path: Path, *, spec: MediaSpec = SPEC) -> Loaded:
    return load_file(find_file(path), spec=spec)


def pictures(loaded: Loaded) -> list[LoadedPart]:
    return [part for part in loaded.parts if part.modality == "image"]


def colours(loaded: Loaded) -> list[str]:
    """Name the nearest colour of each picture's centre."""
    centres = [part.payload[16, 16].astype(float) for part in pictures(loaded)]
    return [
        min(COLOURS, key=lambda name: float(np.abs(centre - COLOURS[name]).sum()))
        for centre in centres
    ]


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


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mov", "libx264"), ("mkv", "libx264"), ("webm", "libvpx-vp9"),
     ("webm", "libvpx"), ("avi", "mpeg4"), ("flv", "flv"), ("wmv", "wmv2"), ("ts", "libx264"),
     ("avi", "mjpeg"), ("3gp", "libx264")],
)  # fmt: skip
def test_each_scene_gives_a_picture_at_its_time(tmp_path, suffix, codec):
    path = media_files.video(tmp_path / f"a.{suffix}", codec=codec, fps=25)
    loaded = load(path)
    assert (loaded.modality, loaded.flags) == ("video", ())
    assert (loaded.width_px, loaded.height_px) == (64, 48)
    assert colours(loaded) == ["red", "lime", "blue"]
    assert [p.start_s for p in pictures(loaded)] == pytest.approx([0, 1, 2], abs=0.09)
    assert [p.end_s for p in pictures(loaded)] == pytest.approx([1, 2, 3], abs=0.15)
    for part in loaded.parts:
        assert part.payload.shape == (32, 32, 3)
        assert part.payload.dtype == np.uint8


@pytest.mark.parametrize("gop", [5, 1000])
def test_a_still_scene_gives_a_picture_every_two_seconds(tmp_path, gop):
    path = media_files.video(tmp_path / "a.mp4", scenes=("red",), scene_s=7, gop=gop)
    assert [p.start_s for p in pictures(load(path))] == [0, 2, 4, 6]


def test_quick_cuts_do_not_each_get_a_picture(tmp_path):
    path = media_files.video(tmp_path / "a.mp4", scenes=("red", "lime") * 10, scene_s=0.1)
    starts = [p.start_s for p in pictures(load(path))]
    assert min(np.diff(starts)) >= 0.5
    assert len(starts) == 4


def test_pictures_thin_out_evenly_beyond_their_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAMES", 8)
    path = media_files.video(tmp_path / "a.mp4", scenes=("red",), scene_s=60, fps=4)
    starts = [p.start_s for p in pictures(load(path))]
    assert 4 <= len(starts) <= 8
    assert len(set(np.diff(starts))) == 1
    assert starts[-1] >= 40


def test_the_sound_track_follows_the_pictures(tmp_path):
    path = media_files.video(tmp_path / "a.mp4", with_sound=True)
    loaded = load(path)
    sounds = [part for part in loaded.parts if part.modality == "audio"]
    assert loaded.parts == (*pictures(loaded), *sounds)
    assert sounds[0].start_s == pytest.approx(0, abs=0.05)
    assert sounds[-1].end_s == pytest.approx(3, abs=0.1)
    spectrum = np.abs(np.fft.rfft(sounds[0].payload[8000:24_000]))
    assert spectrum.argmax() == 440


def test_a_video_without_pictures_is_an_audio_item(tmp_path):
    path = media_files.sound(tmp_path / "a.mp4", codec="aac")
    loaded = load(path)
    assert loaded.modality == "audio"
    assert loaded.duration_s == pytest.approx(1, abs=0.05)


def test_a_container_without_streams_is_no_video(tmp_path):
    path = tmp_path / "a.avi"
    header = b"RIFF" + struct.pack("<I", 60) + b"AVI LIST" + struct.pack("<I", 4) + b"hdrl"
    path.write_bytes(header + b"LIST" + struct.pack("<I", 4) + b"movi" + bytes(20))
    assert refusal(path).code in ("no_video", "corrupt", "truncated")


def test_cover_art_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
        stream.disposition = av.stream.Disposition.attached_pic
        art = av.VideoFrame.from_ndarray(media_files.pixels(size=(32, 32)), format="rgb24")
        container.mux([*stream.encode(art), *stream.encode()])
    error = refusal(path)
    assert error.code == "no_video"
    assert "re-encode it" in str(error)


@pytest.mark.parametrize("claim", [0, 10**9])
def test_a_wrong_duration_in_the_header_does_no_harm(tmp_path, claim):
    path = media_files.video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"mvhd") + 4
    scale = struct.unpack(">I", data[at + 12 : at + 16])[0]
    data[at + 16 : at + 20] = struct.pack(">I", min(claim * scale, 2**32 - 1))
    path.write_bytes(data)
    loaded = load(path)
    assert colours(loaded) == ["red", "lime", "blue"]
    assert loaded.duration_s < 4


def test_a_video_without_its_index_is_truncated(tmp_path):
    path = media_files.video(tmp_path / "a.mp4", scene_s=3)
    error = refusal(media_files.cut(path, share=0.6))
    assert error.code == "truncated"
    assert "copy it again" in str(error)


def test_a_video_cut_behind_its_index_keeps_its_first_scenes(tmp_path):
    path = media_files.video(tmp_path / "a.mp4", options={"movflags": "faststart"}, gop=5)
    data = path.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + (len(data) - start) * 8 // 10])
    loaded = load(path)
    assert colours(loaded)[0] == "red"
    assert "blue" not in colours(loaded)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "<?xml version='1.0'?><MPD><Period><BaseURL>file://{secret}</BaseURL></Period></MPD>",
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mp3", "a"])
def test_a_playlist_opens_nothing(tmp_path, name, text):
    import sys

    secret = media_files.video(tmp_path / "secret.mp4")
    path = tmp_path / name
    path.write_text(text.format(secret=secret))
    opened: list[str] = []
    watching = [True]
    sys.addaudithook(lambda event, args: watching and event in ("open", "socket.connect")
                     and opened.append(str(args[0])))  # fmt: skip
    error = refusal(path)
    watching.clear()
    assert error.code == "format_not_enabled"
    assert not any("secret" in name for name in opened)


def test_a_container_that_asks_for_a_second_file_is_refused(tmp_path):
    from retrieval.media.containers import _refuse

    with pytest.raises(PermissionError):
        _refuse("file:///etc/passwd", 1, {})


def test_frames_of_changing_size_all_fit(tmp_path):
    path = tmp_path / "a.ts"
    parts = [
        media_files.video(tmp_path / f"{n}.ts", scenes=(c,), size=size, gop=5).read_bytes()
        for n, (c, size) in enumerate([("red", (64, 48)), ("lime", (128, 96)), ("blue", (48, 64))])
    ]
    path.write_bytes(b"".join(parts))
    loaded = load(path)
    assert set(colours(loaded)) >= {"red"}
    assert all(p.payload.shape == (32, 32, 3) for p in pictures(loaded))


def test_frames_over_the_budget_are_refused(tmp_path, monkeypatch):
    path = media_files.video(tmp_path / "a.mp4")
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    error = refusal(path)
    assert error.code == "too_many_pixels"
    assert "scale it down" in str(error)


def test_a_video_of_noise_has_no_decodable_frames(tmp_path):
    path = media_files.video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    start = path.read_bytes().index(b"mdat") + 4
    error = refusal(media_files.scramble(path, first=start))
    assert error.code == "no_decodable_frames"
    assert "re-encode it" in str(error)


def test_a_long_video_is_sampled_by_seeking(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "LONG_S", 20)
    monkeypatch.setattr(video, "_SEEK_FRAMES", 16)
    path = media_files.video(
        tmp_path / "a.mp4", scenes=("red", "lime", "blue"), scene_s=20, fps=5, gop=10
    )
    loaded = load(path)
    starts = [p.start_s for p in pictures(loaded)]
    assert loaded.flags == ("keyframes_only",)
    assert len(starts) == 16
    assert max(np.diff(starts)) <= 6
    assert colours(loaded) == sorted(colours(loaded), key=["red", "lime", "blue"].index)


def test_a_long_video_out_of_time_is_sampled_evenly_or_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "LONG_S", 20)
    path = media_files.video(tmp_path / "a.mp4", scenes=("red",), scene_s=30, fps=5, gop=10)
    clock = iter(range(10_000))
    monkeypatch.setattr(video._Film, "_spent", lambda _: next(clock))
    monkeypatch.setattr(video, "FRAMES_BUDGET_S", 3)
    loaded = load(path)
    assert loaded.flags == ("keyframes_only", "time_budget_reached")
    assert [p.start_s for p in pictures(loaded)] == pytest.approx([0, 7.5, 15, 22.5], abs=2)
    monkeypatch.setattr(video, "FRAMES_BUDGET_S", -1)
    error = refusal(path)
    assert error.code == "too_long"
    assert "cut it into pieces" in str(error)


def test_seeking_goes_from_coarse_to_fine():
    assert list(_coarse_to_fine(8)) == [0, 0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]


def test_a_video_held_upright_is_turned(tmp_path):
    """Patch a phone's rotation (90 degrees clockwise) into the track header's matrix."""
    path = tmp_path / "a.mp4"
    left_half = Image.new("RGB", (64, 48), "blue")
    left_half.paste((255, 0, 0), (0, 0, 32, 48))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_image(left_half)))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 0x10000
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 48 * one, 0, 0x40000000)
    path.write_bytes(data)
    loaded = load(path)
    top, bottom = loaded.parts[0].payload[4, 16], loaded.parts[0].payload[27, 16]
    assert (loaded.width_px, loaded.height_px) == (48, 64)
    assert (int(top.argmax()), int(bottom.argmax())) == (0, 2)  # what was left is now on top


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9")])
def test_noise_inside_a_video_gives_pictures_or_a_refusal(tmp_path, suffix, codec, seed):
    path = media_files.video(tmp_path / f"a.{suffix}", codec=codec, scene_s=0.4)
    place = int(np.random.default_rng(seed).integers(8, path.stat().st_size - 60))
    media_files.scramble(path, first=place, last=place + 50, seed=seed)
    assert outcome(path) in (
            "ok", "no_video", "corrupt", "truncated", "no_decodable_frames", "too_many_pixels",
            "not_video", "no_audio",
        )  # fmt: skip
