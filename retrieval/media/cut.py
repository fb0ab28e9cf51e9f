"""A region of a picture or a stretch of a sound, in the encoder's form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from retrieval.errors import UsageError
from retrieval.types import Loaded, LoadedPart, MediaSpec

_SIDE_PX = 1024
_LONGEST_S = 1800.0


def wide_spec(spec: MediaSpec) -> MediaSpec:
    """Say in which form a file must be loaded so that it can be cut afterwards.

    The whole picture, whatever the encoder would leave out, and the whole sound in one window.

    Example:
        >>> wide_spec(MediaSpec(image_fit="crop")).image_fit
        'squash'
    """
    return replace(
        spec,
        image_size_px=max(_SIDE_PX, spec.image_size_px),
        image_fit="squash",
        image_method="fast",
        window_s=_LONGEST_S,
        hop_s=_LONGEST_S,
    )


def cut_picture(
    loaded: Loaded, *, crop: tuple[float, float, float, float], spec: MediaSpec
) -> npt.NDArray[np.uint8]:
    """Cut a region out of a picture that was loaded with `wide_spec`.

    Args:
        loaded: the picture.
        crop: left, top, right, bottom as shares of the upright picture, each in [0, 1].
        spec: the form the encoder wants.

    Returns:
        uint8 RGB [S, S, 3].

    Raises:
        UsageError: the file is no picture (`bad_query`).
    """
    from PIL import Image

    from retrieval.media.image import fit_image

    pictures = [part.payload for part in loaded.parts if part.modality == "image"]
    if loaded.modality != "image" or len(pictures) != 1:
        raise UsageError(f"a crop needs a picture; the file is {loaded.modality}", code="bad_query")
    pixels = np.asarray(pictures[0], dtype=np.uint8)
    side = len(pixels)
    left, right = _span(crop[0], crop[2], side)
    top, bottom = _span(crop[1], crop[3], side)
    region = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    # The square was squashed: give the region back its own shape before it is fitted.
    width = (crop[2] - crop[0]) * (loaded.width_px or side)
    height = (crop[3] - crop[1]) * (loaded.height_px or side)
    scale = min(1.0, side / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return fit_image(region.resize(size, Image.Resampling.BICUBIC), spec=spec)


def cut_sound(
    loaded: Loaded, *, slice_s: tuple[float, float], spec: MediaSpec
) -> tuple[LoadedPart, ...]:
    """Cut a stretch out of a sound that was loaded with `wide_spec`.

    Args:
        loaded: a sound, or a video with a sound track.
        slice_s: start and end in seconds.
        spec: the form the encoder wants.

    Returns:
        Audio parts as an encoder takes them; times count from the start of the stretch.

    Raises:
        UsageError: there is no sound, or it ends before the stretch starts (`bad_query`).
    """
    from retrieval.media.audio import Sound, windows

    sounds = [part for part in loaded.parts if part.modality == "audio"]
    if not sounds:
        raise UsageError(
            f"a slice needs a sound; the file is {loaded.modality} without one", code="bad_query"
        )
    samples = np.asarray(sounds[0].payload, dtype=np.float32)
    rate = spec.sample_rate_hz
    offset_s = sounds[0].start_s or 0.0
    first, last = (max(0, round((time - offset_s) * rate)) for time in slice_s)
    cut = np.ascontiguousarray(samples[first:last])
    if not len(cut):
        raise UsageError(
            f"the slice starts at {slice_s[0]:g} s; the sound is {len(samples) / rate:.1f} s long",
            code="bad_query",
        )
    return windows(Sound(cut, 0.0, ()), spec=spec)


def _span(low: float, high: float, side: int) -> tuple[int, int]:
    """Turn shares into pixels, at least one."""
    first = min(int(low * side), side - 1)
    return first, max(first + 1, round(high * side))
