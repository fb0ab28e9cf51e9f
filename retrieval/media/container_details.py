"""What a sound or video says of itself: its streams, its tags, when it was made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from retrieval.media.details import printable_line
from retrieval.types import Details

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

_MAX_CHARS = 200
_MAX_FPS = 1_000.0


def container_details(
    container: InputContainer, *, sound: AudioStream | None = None, video: VideoStream | None = None
) -> Details:
    """Read what an opened container says of itself; what is impossible is as if it were not there.

    Args:
        container: open; nothing of it is decoded.
        sound, video: the streams that are used.
    """
    told = _tags(container, sound, video)
    context = sound.codec_context if sound is not None else None
    main = video if video is not None else sound
    return Details(
        taken_ns=_made_ns(told.get("creation_time")),
        sample_rate_hz=context.sample_rate or None if context is not None else None,
        n_channels=context.channels or None if context is not None else None,
        fps=_fps(video) if video is not None else None,
        codec=main.codec_context.name if main is not None else None,
        title=told.get("title"),
        artist=told.get("artist"),
        album=told.get("album"),
    )


def _tags(
    container: InputContainer, sound: AudioStream | None, video: VideoStream | None
) -> dict[str, str]:
    """Join the tags of the container and of its streams, the container's first."""
    found: dict[str, str] = {}
    for source in (container, sound, video):
        for name, value in source.metadata.items() if source is not None else ():
            line = printable_line(value)[:_MAX_CHARS].strip()
            if line:
                found.setdefault(name.lower(), line)
    return found


def _made_ns(text: str | None) -> int | None:
    """Read a time such as "2020-05-31T12:00:00.000000Z"; without a zone it counts as UTC."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = since.days * 86_400 + since.seconds
    # A camera that was never set says 1904 or 1970.
    return seconds * 10**9 if seconds > 0 else None


def _fps(video: VideoStream) -> float | None:
    rate = float(video.average_rate or 0)
    return round(rate, 3) if 0 < rate <= _MAX_FPS else None
