"""Pictures to uint8 RGB squares: one rule for every format, size and pixel type."""

from __future__ import annotations

import importlib
import io
import math
import struct
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.errors import BadMediaError
from retrieval.media.decoded import Decoded
from retrieval.media.details import read_details
from retrieval.types import LoadedPart, MediaSpec

if TYPE_CHECKING:
    from PIL import Image
    from PIL.Image import Image as Picture

MAX_PIXELS = 64_000_000
"""The most pixels that are ever decoded; 64 MP take 256 MB in Pillow."""
MAX_JPEG_PIXELS = 400_000_000
"""A JPEG's header may claim this many, because it can be decoded at 1/2, 1/4 or 1/8 size."""

# What Pillow calls our formats, and the module that registers each. Only these are ever tried.
_PILLOW = {
    "jpeg": ("JPEG", "JpegImagePlugin"),
    "png": ("PNG", "PngImagePlugin"),
    "webp": ("WEBP", "WebPImagePlugin"),
    "gif": ("GIF", "GifImagePlugin"),
    "bmp": ("BMP", "BmpImagePlugin"),
    "tiff": ("TIFF", "TiffImagePlugin"),
    "avif": ("AVIF", "AvifImagePlugin"),
}
# What Pillow's plugins raise on bytes that break their rules (ImageFile lists the same).
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error,
    OverflowError, AttributeError, NotImplementedError, RuntimeError,
)  # fmt: skip
_CUT = ("truncat", "not enough data", "end of file", "unexpected eof", "broken data stream")


def load_image(data: bytes, *, format: str, spec: MediaSpec) -> Decoded:
    """Decode a picture and bring it to the encoder's square.

    The first frame of an animation is used, EXIF orientation is honoured, transparency is laid
    over white, 16-bit samples keep their upper 8 bits; broken EXIF and colour profiles are ignored.

    Args:
        data: the file's bytes.
        format: as `kinds.sniff` said.
        spec: size and fit.

    Returns:
        One image part, uint8 RGB [S, S, 3]; width and height as the picture is seen upright.

    Raises:
        BadMediaError: `too_many_pixels` (from the header, before decoding), `truncated`,
            `corrupt`, `format_not_enabled`.

    Example:
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 20), "red").save(file, "PNG")
        >>> decoded = load_image(file.getvalue(), format="png", spec=MediaSpec(image_size_px=8))
        >>> decoded.width_px, decoded.parts[0].payload[0, 0].tolist()
        (40, [255, 0, 0])
    """
    image = _open(data, format=format)
    width, height = image.size
    try:
        _shrink_jpeg(image, spec=spec)
        _check_budget(image.size, of=(width, height))
        turn = _orientation(image)
        details = read_details(image)
        image.load()
        pixels = fit_image(to_rgb(image), spec=spec, orientation=turn)
    except BadMediaError:
        raise
    except MemoryError:
        raise
    except _BROKEN as error:
        raise _broken(data, format=format, error=error) from error
    if turn >= 5:
        width, height = height, width
    parts = (LoadedPart("image", pixels),)
    return Decoded("image", format, parts, width_px=width, height_px=height, details=details)


def fit_image(image: Picture, *, spec: MediaSpec, orientation: int = 1) -> npt.NDArray[np.uint8]:
    """Bring a picture to the encoder's square.

    `squash` scales both sides to S. `crop` keeps the centred square of `crop_fraction` times the
    short side and scales that to S. With antialiasing. The method `library` instead scales the
    whole upright picture and then cuts, with the rounding of torchvision's Resize and CenterCrop.

    Args:
        image: an RGB picture.
        spec: size and fit.
        orientation: EXIF's, 1 to 8; undone after scaling, where it is cheap.

    Returns:
        uint8 RGB [S, S, 3].

    Example:
        >>> from PIL import Image
        >>> fit_image(Image.new("RGB", (30, 10)), spec=MediaSpec(image_size_px=4)).shape
        (4, 4, 3)
    """
    from PIL import Image

    width, height = image.size
    # A picture like a thread would be scaled to gigabytes before it is cut: it goes the other way.
    if spec.image_method == "library" and max(width, height) <= _LONGEST * min(width, height):
        return _fit_as_library(image, spec=spec, orientation=orientation)
    box = (0.0, 0.0, float(width), float(height))
    if spec.image_fit == "crop":
        side = max(1.0, min(width, height) * spec.crop_fraction)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    size = (spec.image_size_px, spec.image_size_px)
    # reducing_gap: large pictures are first halved by a box filter; no visible difference.
    square = image.resize(size, _resampling(spec), box=box, reducing_gap=3.0)
    if orientation in _TURNS:
        square = square.transpose(Image.Transpose(_TURNS[orientation]))
    return np.array(square, dtype=np.uint8)


_LONGEST = 64


def _fit_as_library(image: Picture, *, spec: MediaSpec, orientation: int) -> npt.NDArray[np.uint8]:
    from PIL import Image

    if orientation in _TURNS:
        image = image.transpose(Image.Transpose(_TURNS[orientation]))
    side = spec.image_size_px
    if spec.image_fit == "squash":
        return np.array(image.resize((side, side), _resampling(spec)), dtype=np.uint8)
    # torchvision: short side to S, the long one truncated; the cut's corner rounded half to even.
    wanted = max(side, int(side / spec.crop_fraction))
    short = min(image.size)
    size = tuple(wanted if s == short else int(wanted * s / short) for s in image.size)
    scaled = image.resize((size[0], size[1]), _resampling(spec))
    left, top = round((size[0] - side) / 2.0), round((size[1] - side) / 2.0)
    return np.array(scaled.crop((left, top, left + side, top + side)), dtype=np.uint8)


def _resampling(spec: MediaSpec) -> Image.Resampling:
    from PIL import Image

    return Image.Resampling[spec.interpolation.upper()]


# EXIF orientation -> the Pillow Transpose that undoes it (as in PIL.ImageOps.exif_transpose).
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def to_rgb(image: Picture) -> Picture:
    """Convert any pixel type to RGB by one rule.

    Args:
        image: decoded, any mode.

    Returns:
        The picture as RGB: transparency over white; 16-bit integers by their upper byte; floats
        as they are if within [0, 1], else stretched from their least to their largest value.

    Example:
        >>> from PIL import Image
        >>> to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(layer, mask=layer.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_bytes(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    if samples.dtype.kind in "iu":
        upper = np.clip(samples.astype(np.int64), 0, 65535) >> 8
        return upper.astype(np.uint8)
    values = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, 1e-12)
    return np.asarray(values * 255 + 0.5, dtype=np.uint8)


def _open(data: bytes, *, format: str) -> Picture:
    from PIL import Image, UnidentifiedImageError

    if format == "heic":
        _register_heic()
        name = "HEIF"
    else:
        name, module = _PILLOW[format]
        importlib.import_module(f"PIL.{module}")
    # Pillow's own limit refuses 200 MP phone JPEGs and only warns at 90 MP: ours replaces it.
    Image.MAX_IMAGE_PIXELS = None
    try:
        return Image.open(io.BytesIO(data), formats=(name,))
    except (UnidentifiedImageError, *_BROKEN) as error:
        raise _broken(data, format=format, error=error) from error


def _register_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise BadMediaError(
            "HEIC pictures are not enabled; pip install 'crossfind[heic]'",
            code="format_not_enabled",
        ) from error
    pillow_heif.register_heif_opener()


def _shrink_jpeg(image: Picture, *, spec: MediaSpec) -> None:
    # The decoder skips what scaling would throw away: 5x faster at 12 MP, mean difference
    # 0.18/255. Twice the target is kept so that the antialiasing has something to do.
    if spec.image_method == "library" and image.width * image.height <= MAX_PIXELS:
        return
    share = spec.crop_fraction if spec.image_fit == "crop" else 1.0
    if image.format == "JPEG" and image.width * image.height <= MAX_JPEG_PIXELS:
        side = math.ceil(2 * spec.image_size_px / share)
        image.draft("RGB", (side, side))


def _check_budget(size: tuple[int, int], *, of: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise BadMediaError(
            f"the picture has {of[0]} x {of[1]} pixels; the limit is {MAX_PIXELS // 1_000_000} "
            f"million (JPEG: {MAX_JPEG_PIXELS // 1_000_000}); scale it down",
            code="too_many_pixels",
        )


def _orientation(image: Picture) -> int:
    try:
        turn = image.getexif().get(0x0112, 1)
    except _BROKEN:  # malformed EXIF says nothing about the pixels
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _broken(data: bytes, *, format: str, error: Exception) -> BadMediaError:
    text = str(error).lower()
    # WebP's decoder does not say why; the size in its RIFF header does.
    short = format == "webp" and len(data) < int.from_bytes(data[4:8], "little") + 8
    if short or any(word in text for word in _CUT):
        return BadMediaError(
            f"the {format.upper()} picture ends too early ({len(data):,} bytes); copy it again",
            code="truncated",
        )
    return BadMediaError(
        f"the {format.upper()} picture is damaged ({text or type(error).__name__}); replace it",
        code="corrupt",
    )
