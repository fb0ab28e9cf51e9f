"""Videos to pictures with times, and their sound track to windows."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import BadMediaError
from retrieval.media.audio import decode_sound, heard_parts, load_audio
from retrieval.media.container_details import container_details
from retrieval.media.containers import open_container, sound_stream, video_stream
from retrieval.media.decoded import Decoded
from retrieval.media.frames import Shot, pick_frames
from retrieval.types import LoadedPart, MediaSpec

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FRAMES_BUDGET_S = 12.0
SOUND_BUDGET_S = 8.0
LONG_S = 20 * 60
"""Longer videos are sampled by seeking: reading 12 h from end to end would take too long."""
MAX_PIXELS = 64_000_000

_SEEK_FRAMES = 240  # of a long video; each costs a seek and a few decoded frames
_MIN_BITS_PER_S = 100  # a header that claims less lies about the duration
_MAX_ERRORS = 500
_PROBE_PACKETS = 600


def load_video(file: io.BufferedIOBase, *, format: str, spec: MediaSpec) -> Decoded:
    """Decode pictures and sound of a video.

    Pictures are taken where the scene changes, and at least every `spec.frame_every_s`, from
    decoded timestamps (headers lie); `frames.pick_frames` bounds their number. Videos over
    20 minutes are sampled by seeking. A file with sound only becomes an audio item.

    Args:
        file: seekable.
        format: as `kinds.sniff` said.
        spec: the form the encoder wants.

    Returns:
        Image parts (uint8 RGB [S, S, 3], each from its time to the next one's), then the sound
        track's audio parts. Flags of `audio`, and `keyframes_only`, `time_budget_reached`,
        `damaged_packets`, `sound_left_out`.

    Raises:
        BadMediaError: `no_video`, `truncated`, `corrupt`, `too_many_pixels`,
            `no_decodable_frames`, `too_long`.
    """
    with open_container(file, format=format, what="video") as container:
        stream = video_stream(container)
        if stream is None:
            return _as_audio(
                file, format=format, spec=spec, has_sound=bool(container.streams.audio)
            )
        duration_s = _plausible_duration_s(container, file)
        film = _Film(container, stream, spec=spec)
        dense = _has_dense_keyframes(file, format=format, within_s=spec.frame_every_s)
        shots = film.shots(duration_s, dense_keyframes=dense)
        details = container_details(container, sound=sound_stream(container), video=stream)
        size = (stream.codec_context.width, stream.codec_context.height)
        if film.rotation % 180:
            size = (size[1], size[0])
    end_s = max(duration_s or 0.0, shots[-1].time_s)
    times = [shot.time_s for shot in shots] + [end_s]
    parts = tuple(
        LoadedPart("image", shot.pixels, start_s=shot.time_s, end_s=max(shot.time_s, following))
        for shot, following in zip(shots, times[1:], strict=True)
    )
    sound, sound_flags = _sound_parts(file, format=format, spec=spec)
    return Decoded(
        "video",
        format,
        parts + sound,
        width_px=size[0],
        height_px=size[1],
        duration_s=end_s,
        flags=tuple(sorted(film.flags | sound_flags)),
        details=details,
    )


def _as_audio(file: io.BufferedIOBase, *, format: str, spec: MediaSpec, has_sound: bool) -> Decoded:
    if not has_sound:
        raise BadMediaError(
            "there is neither a picture nor a sound stream in it that crossfind decodes; "
            "re-encode it as H.264, VP9 or AV1",
            code="no_video",
        )
    return load_audio(file, format=format, spec=spec)


def _sound_parts(
    file: io.BufferedIOBase, *, format: str, spec: MediaSpec
) -> tuple[tuple[LoadedPart, ...], set[str]]:
    """Decode the sound track; a video is still a video when it has none, or a bad one."""
    with open_container(file, format=format, what="video") as container:
        stream = sound_stream(container)
        if stream is None:
            return (), set()
        try:
            sound = decode_sound(
                container, stream, spec=spec, header_s=None, budget_s=SOUND_BUDGET_S
            )
        except BadMediaError as error:
            return (), set() if error.code in ("no_audio", "too_short") else {"sound_left_out"}
    parts, flags = heard_parts(sound, spec=spec)
    return parts, set(flags)


def _has_dense_keyframes(file: io.BufferedIOBase, *, format: str, within_s: float) -> bool:
    """Look at the first packets, undecoded; a video that ends among them is decoded in full."""
    import av

    times: list[float] = []
    with open_container(file, format=format, what="video") as container:
        stream = video_stream(container)
        packets = container.demux(stream) if stream else iter(())
        try:
            for _ in range(_PROBE_PACKETS):
                packet = next(packets)
                if packet.is_keyframe and packet.pts is not None and packet.time_base:
                    times.append(float(packet.pts * packet.time_base))
        except (StopIteration, av.error.FFmpegError):
            return False
    return len(times) > 2 and float(np.diff(sorted(times)).max()) <= within_s


def _plausible_duration_s(container: InputContainer, file: io.BufferedIOBase) -> float | None:
    """Tell the header's duration, unless it is missing or the file is too small for it."""
    if not container.duration or container.duration <= 0:
        return None
    duration_s = container.duration / 1_000_000
    size_bits = 8 * file.seek(0, io.SEEK_END)
    return duration_s if size_bits >= duration_s * _MIN_BITS_PER_S else None


_Timed = tuple[float, "VideoFrame"]


class _Film:
    """Takes pictures out of one video stream, within a budget of time."""

    def __init__(self, container: InputContainer, stream: VideoStream, *, spec: MediaSpec) -> None:
        import av

        self.flags: set[str] = set()
        self.rotation = 0
        self._error = av.error.FFmpegError
        self._container, self._stream, self._spec = container, stream, spec
        self._begin_s = (container.start_time or 0) / 1_000_000
        self._started = time.monotonic()
        self._n_refused = 0
        self._n_errors = 0

    def shots(self, duration_s: float | None, *, dense_keyframes: bool) -> list[Shot]:
        """Take the pictures, at least one.

        Raises:
            BadMediaError: `too_many_pixels`, `too_long`, `no_decodable_frames`.
        """
        long = duration_s is not None and duration_s > LONG_S
        found = (
            self._by_seeking(duration_s)
            if duration_s is not None and long
            else self._in_order(dense_keyframes)
        )
        shots = pick_frames(found, spec=self._spec)
        if not shots:
            raise self._nothing(long=long)
        return shots

    def _in_order(self, dense_keyframes: bool) -> Iterator[_Timed]:
        context = self._stream.codec_context
        if dense_keyframes:
            context.skip_frame = "NONKEY"  # 10 to 20 times faster, and dense enough
        for frame in self._frames():
            if self._spent() > FRAMES_BUDGET_S / 2 and context.skip_frame != "NONKEY":
                context.skip_frame = "NONKEY"
                self.flags.add("keyframes_only")
            # VP9 ignores skip_frame; then we do the skipping.
            if "keyframes_only" in self.flags and not frame.key_frame:
                continue
            yield from self._timed(frame)
            if self._spent() > FRAMES_BUDGET_S:
                self.flags.add("time_budget_reached")
                return

    def _by_seeking(self, duration_s: float) -> Iterator[_Timed]:
        # Coarse to fine: wherever the budget ends, the whole video has been sampled evenly.
        self._stream.codec_context.skip_frame = "NONKEY"
        self.flags.add("keyframes_only")
        found: dict[float, VideoFrame] = {}
        for share in _coarse_to_fine(_SEEK_FRAMES):
            if self._spent() > FRAMES_BUDGET_S:
                self.flags.add("time_budget_reached")
                break
            target_s = self._begin_s + share * duration_s
            try:
                self._container.seek(int(target_s * 1_000_000), backward=True)
                frame = next(self._frames(), None)
            except self._error:
                self.flags.add("damaged_packets")
                continue
            found |= dict(self._timed(frame) if frame else ())
        yield from sorted(found.items())

    def _frames(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while self._n_errors < _MAX_ERRORS:
            try:
                packet = next(packets, None)
            except self._error:
                self.flags.add("damaged_packets")
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except self._error:
                self._n_errors += 1
                self.flags.add("damaged_packets")

    def _timed(self, frame: VideoFrame) -> Iterator[_Timed]:
        """Give a frame its time; a damaged one, or one over the budget of pixels, is left out."""
        if frame.is_corrupt:
            self.flags.add("damaged_packets")
            return
        if frame.width * frame.height > MAX_PIXELS:
            self._n_refused += 1
            return
        self.rotation = frame.rotation
        yield max(0.0, float(frame.time or 0.0) - self._begin_s), frame

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _nothing(self, *, long: bool) -> BadMediaError:
        if self._n_refused:
            return BadMediaError(
                f"its frames have more than {MAX_PIXELS // 1_000_000} million pixels; "
                "scale it down",
                code="too_many_pixels",
            )
        if long and "time_budget_reached" in self.flags:
            return BadMediaError(
                f"no frame could be reached within {FRAMES_BUDGET_S:g} s; cut it into pieces",
                code="too_long",
            )
        return BadMediaError(
            "none of its frames can be decoded (damaged or protected); re-encode it",
            code="no_decodable_frames",
        )


def _coarse_to_fine(n: int) -> Iterator[float]:
    """Yield n shares in [0, 1): 0, 1/2, 1/4, 3/4, ... (van der Corput's sequence)."""
    for position in range(n):
        share, weight, rest = 0.0, 0.5, position
        while rest:
            share += weight * (rest & 1)
            rest >>= 1
            weight /= 2
        yield share
