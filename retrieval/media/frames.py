"""Which frames of a video become pictures, and how a frame becomes one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.media.image import fit_image
from retrieval.types import MediaSpec

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MAX_FRAMES = 600
"""The most pictures of one video; beyond, every second is dropped and the step doubles."""
MIN_GAP_S = 0.5
"""Scenes that change faster than this do not each get a picture."""

_CUT = 24.0  # mean difference of brightness, of 255, between frames on both sides of a cut
_THUMB_PX = 32

# What the container says the player shall turn the frame by, counter-clockwise -> the EXIF
# orientation that means the same.
_ORIENTATION = {90: 8, -90: 6, 180: 3, -180: 3, 270: 6, -270: 8}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a video.

    Attributes:
        time_s: when it is shown, from the beginning.
        pixels: uint8 RGB [S, S, 3].
    """

    time_s: float
    pixels: npt.NDArray[np.uint8]


def pick_frames(frames: Iterable[tuple[float, VideoFrame]], *, spec: MediaSpec) -> list[Shot]:
    """Take a picture at each change of scene, and at least every `spec.frame_every_s`.

    Args:
        frames: times in seconds and decoded frames, in order of time.
        spec: the form the encoder wants.

    Returns:
        At most `MAX_FRAMES` pictures in order of time, evenly spread whatever the length.
    """
    shots: list[Shot] = []
    every_s, gap_s, due_s = spec.frame_every_s, min(MIN_GAP_S, spec.frame_every_s), -math.inf
    before: npt.NDArray[np.float32] | None = None
    cut = False
    for time_s, frame in frames:
        thumb = _thumb(frame)
        cut = cut or (before is not None and float(np.abs(thumb - before).mean()) > _CUT)
        before = thumb
        if time_s < due_s and not (cut and time_s >= due_s - every_s + gap_s):
            continue
        shots.append(Shot(time_s, to_pixels(frame, spec=spec)))
        if len(shots) > MAX_FRAMES:
            shots = shots[::2]
            every_s, gap_s = every_s * 2, gap_s * 2
        due_s, cut = time_s + every_s, False
    return sorted(shots, key=lambda shot: shot.time_s)


def to_pixels(frame: VideoFrame, *, spec: MediaSpec) -> npt.NDArray[np.uint8]:
    """Bring a frame, upright, to the encoder's square.

    Args:
        frame: decoded.
        spec: size and fit.

    Returns:
        uint8 RGB [S, S, 3].
    """
    from PIL import Image

    # As with JPEG's draft(): a cheap reduction to twice the target, then the careful one.
    share = spec.crop_fraction if spec.image_fit == "crop" else 1.0
    scale = min(1.0, 2 * spec.image_size_px / share / min(frame.width, frame.height))
    small = frame.reformat(
        width=max(1, round(frame.width * scale)),
        height=max(1, round(frame.height * scale)),
        format="rgb24",
        interpolation="AREA",
    )
    picture = Image.fromarray(small.to_ndarray())
    return fit_image(picture, spec=spec, orientation=_ORIENTATION.get(frame.rotation, 1))


def _thumb(frame: VideoFrame) -> npt.NDArray[np.float32]:
    small = frame.reformat(
        width=_THUMB_PX, height=_THUMB_PX, format="gray", interpolation="FAST_BILINEAR"
    )
    return small.to_ndarray().astype(np.float32)
