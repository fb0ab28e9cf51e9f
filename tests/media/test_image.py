"""Pictures: one square for every format, and an outcome for every bad one (rows I1 to I12)."""

from __future__ import annotations

import io
import time
from pathlib import Path

import media_files
import numpy as np
import pytest
from PIL import Image, ImageOps

from retrieval.errors import BadMediaError
from retrieval.media import find_file, load_file
from retrieval.media.image import load_image
from retrieval.types import Loaded, MediaSpec

SPEC = MediaSpec(image_size_px=32)
CROP = MediaSpec(image_size_px=32, image_fit="crop", crop_fraction=0.875)


def load(path: Path, *, spec: MediaSpec = SPEC) -> Loaded:
    return load_file(find_file(path), spec=spec)


def square(path: Path, *, spec: MediaSpec = SPEC) -> np.ndarray:
    (part,) = load(path, spec=spec).parts
    assert part.modality == "image"
    assert part.payload.dtype == np.uint8
    assert part.payload.shape == (spec.image_size_px, spec.image_size_px, 3)
    return part.payload


def outcome(path: Path) -> str:
    """Load a file that may be anything; `ok` or the code of the refusal."""
    try:
        square(path)
    except BadMediaError as error:
        return error.code
    return "ok"


def refusal(path: Path, *, spec: MediaSpec = SPEC) -> BadMediaError:
    with pytest.raises(BadMediaError) as caught:
        load(path, spec=spec)
    assert str(path) in str(caught.value)
    return caught.value


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def oracle(path: Path, *, spec: MediaSpec) -> np.ndarray:
    """Do it the slow obvious way: full decode, upright, crop in whole pixels, one resize."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if spec.image_fit == "crop":
        side = round(min(image.size) * spec.crop_fraction)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    size = (spec.image_size_px, spec.image_size_px)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("spec", [SPEC, CROP], ids=["squash", "crop"])
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (20, 15), (800, 600), (2000, 900)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif", "avif"])
def test_every_format_and_size_agrees_with_a_full_decode(tmp_path, suffix, size, spec):
    path = media_files.picture(tmp_path / f"a.{suffix}", size=size, seed=3)
    # The oracle cuts whole pixels, which shows in a picture smaller than the square.
    limit = 4 if size == (20, 15) else 1.5
    assert mean_difference(square(path, spec=spec), oracle(path, spec=spec)) < limit


def test_the_result_tells_format_size_and_hash(tmp_path):
    import hashlib

    path = media_files.picture(tmp_path / "a.png", size=(40, 30))
    loaded = load(path)
    assert (loaded.modality, loaded.format) == ("image", "png")
    assert (loaded.width_px, loaded.height_px, loaded.duration_s) == (40, 30, None)
    assert loaded.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    stat = path.stat()
    assert (loaded.size_bytes, loaded.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert loaded.inode == stat.st_ino


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert refusal(tmp_path / "a.jpg").code == "empty_file"


def test_text_named_jpg_is_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("I am a text.")
    error = refusal(tmp_path / "a.jpg")
    assert error.code == "not_an_image"
    assert ".jpg" in str(error)
    assert "replace" in str(error)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
def test_a_picture_cut_in_half_is_truncated(tmp_path, suffix):
    path = media_files.picture(tmp_path / f"a.{suffix}", size=(400, 300), seed=1)
    error = refusal(media_files.cut(path, share=0.5))
    assert error.code == "truncated"
    assert "copy it again" in str(error)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "avif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_cut_picture_is_refused_wherever_it_is_cut(tmp_path, suffix, share):
    path = media_files.picture(tmp_path / f"a.{suffix}", size=(400, 300), seed=1)
    error = refusal(media_files.cut(path, share=share))
    assert error.code in ("truncated", "corrupt", "not_an_image")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "avif", "bmp"])
def test_noise_inside_a_picture_gives_pixels_or_a_refusal(tmp_path, suffix, seed):
    path = media_files.picture(tmp_path / f"a.{suffix}", size=(80, 60), seed=1)
    place = np.random.default_rng(seed).integers(8, path.stat().st_size - 20)
    media_files.scramble(path, first=int(place), last=int(place) + 20, seed=seed)
    assert outcome(path) in ("ok", "truncated", "corrupt", "not_an_image", "too_many_pixels")


def test_a_png_named_jpg_is_indexed_as_png(tmp_path):
    path = media_files.picture(tmp_path / "a.jpg", format="PNG")
    assert load(path).format == "png"


@pytest.mark.parametrize("side", [9_400, 2_000_000_000])
def test_a_bomb_is_refused_from_its_header(tmp_path, side):
    path = media_files.png_claiming(tmp_path / "a.png", width=side, height=side)
    media_files.picture(tmp_path / "warm.png")
    load(tmp_path / "warm.png")  # imports are not what is timed
    started = time.perf_counter()
    error = refusal(path)
    assert time.perf_counter() - started < 0.05
    assert error.code == "too_many_pixels"
    assert "64 million" in str(error)


def test_a_jpeg_over_the_budget_is_decoded_small(tmp_path):
    path = tmp_path / "a.jpg"
    tile = Image.fromarray(media_files.pixels(size=(900, 800), seed=2)).convert("L")
    tile.resize((9000, 8000), Image.Resampling.NEAREST).save(path, quality=60)
    loaded = load(path)
    assert (loaded.width_px, loaded.height_px) == (9000, 8000)
    expected = np.asarray(tile.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    assert mean_difference(loaded.parts[0].payload, expected) < 2


@pytest.mark.parametrize("spec", [SPEC, CROP], ids=["squash", "crop"])
@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (1, 1)])
def test_extreme_shapes_give_a_full_square(tmp_path, size, spec):
    path = tmp_path / "a.png"
    Image.new("RGB", size, (10, 200, 30)).save(path)
    assert (square(path, spec=spec) == (10, 200, 30)).all()


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_only_the_first_frame_of_an_animation_counts(tmp_path, suffix):
    path = media_files.animation(tmp_path / f"a.{suffix}", n_frames=300)
    assert mean_difference(square(path), np.full((32, 32, 3), (255, 0, 0))) < 3


def test_samples_of_16_bits_keep_their_upper_byte(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 0x80FF, dtype=np.uint16)).save(path)
    assert (square(path) == 128).all()


def test_floats_are_stretched_only_outside_0_to_1(tmp_path):
    half = np.full((8, 8), 0.5, dtype=np.float32)
    Image.fromarray(half).save(tmp_path / "a.tif")
    assert (square(tmp_path / "a.tif") == 128).all()
    wide = np.repeat(np.array([[-1.0, 3.0]], dtype=np.float32), 8, axis=0).repeat(4, axis=1)
    Image.fromarray(wide).save(tmp_path / "b.tif")
    stretched = square(tmp_path / "b.tif")
    assert (stretched[0, 0].tolist(), stretched[0, -1].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_transparency_lies_over_white(tmp_path):
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    half.save(tmp_path / "a.png")
    assert np.abs(square(tmp_path / "a.png").astype(int) - (255, 127, 127)).max() <= 1
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "b.png", transparency=1)
    assert (square(tmp_path / "b.png") == 255).all()
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "c.png")
    assert (square(tmp_path / "c.png") == 255).all()


def test_ink_and_single_bits_become_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert mean_difference(square(tmp_path / "a.jpg"), np.full((32, 32, 3), (254, 0, 0))) < 4
    Image.new("1", (8, 8), 1).save(tmp_path / "b.png")
    assert (square(tmp_path / "b.png") == 255).all()


def test_a_broken_colour_profile_is_ignored(tmp_path):
    plain = media_files.picture(tmp_path / "a.png")
    broken = media_files.picture(tmp_path / "b.png", icc_profile=b"not a profile" * 40)
    assert (square(plain) == square(broken)).all()


@pytest.mark.parametrize("spec", [SPEC, CROP], ids=["squash", "crop"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_all_eight_orientations_look_the_same(tmp_path, turn, spec):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose that makes EXIF say `turn`
    upright = Image.fromarray(media_files.pixels(size=(90, 60), seed=7))
    stored = upright if turn == 1 else upright.transpose(Image.Transpose(undo[turn]))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / "a.png", exif=exif)
    upright.save(tmp_path / "b.png")
    a, b = square(tmp_path / "a.png", spec=spec), square(tmp_path / "b.png", spec=spec)
    assert mean_difference(a, b) < 0.6
    loaded = load(tmp_path / "a.png", spec=spec)
    assert (loaded.width_px, loaded.height_px) == (90, 60)


@pytest.mark.filterwarnings("ignore")
def test_malformed_exif_is_ignored(tmp_path):
    junk = b"Exif\0\0II*\0" + np.random.default_rng(0).bytes(60_000)
    plain = media_files.picture(tmp_path / "a.jpg", quality=90)
    broken = media_files.picture(tmp_path / "b.jpg", quality=90, exif=junk)
    assert (square(plain) == square(broken)).all()


@pytest.mark.parametrize(
    "head",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><svg/>",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"8BPS\0\1" + bytes(20),
        b"%PDF-1.7\n",
        b"SIMPLE  =                    T",
    ],
)
def test_closed_formats_are_refused_under_any_name(tmp_path, head):
    path = tmp_path / "a.png"
    path.write_bytes(head)
    error = refusal(path)
    assert error.code == "format_not_enabled"
    assert "convert it" in str(error)


def test_heic_names_its_extra_where_it_is_absent(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    error = refusal(path)
    assert error.code == "format_not_enabled"
    assert "crossfind[heic]" in str(error)


def test_only_the_sniffed_plugin_is_tried():
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    with pytest.raises(BadMediaError):
        load_image(data.getvalue(), format="gif", spec=SPEC)
