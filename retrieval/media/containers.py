"""Open sound and video containers so that nothing but the bytes in hand is ever decoded.

FFmpeg can follow playlists, fetch addresses and probe hundreds of formats. Here the format is
forced to the one `kinds.sniff` saw, decoders come from a list, protocols are files and pipes only,
and a container that asks for a second file is refused.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, NoReturn

from retrieval.errors import BadMediaError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Our format -> FFmpeg's demuxer.
_DEMUXERS = {
    "wav": "wav",
    "flac": "flac",
    "ogg": "ogg",
    "opus": "ogg",
    "ogv": "ogg",
    "mp3": "mp3",
    "aac": "aac",
    "aiff": "aiff",
    "au": "au",
    "caf": "caf",
    "amr": "amr",
    "ape": "ape",
    "wv": "wv",
    "ac3": "ac3",
    "wma": "asf",
    "wmv": "asf",
    "m4a": "mov",
    "mp4": "mov",
    "mov": "mov",
    "3gp": "mov",
    "mkv": "matroska",
    "webm": "matroska",
    "avi": "avi",
    "flv": "flv",
    "mpeg": "mpeg",
    "mpegvideo": "mpegvideo",
    "mpegts": "mpegts",
}
_AUDIO_CODECS = (
    "aac aac_latm ac3 eac3 adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha alac amrnb "
    "amrwb libopencore_amrnb libopencore_amrwb ape flac gsm gsm_ms mp2 mp2float mp3 mp3float opus "
    "libopus speex vorbis wavpack wmalossless wmapro wmav1 wmav2 pcm_alaw pcm_bluray pcm_dvd "
    "pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16be_planar pcm_s16le "
    "pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar "
    "pcm_s64be pcm_s64le pcm_s8 pcm_s8_planar pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be "
    "pcm_u32le pcm_u8"
)
_VIDEO_CODECS = (
    "av1 libdav1d dnxhd flv h261 h263 h263p h264 hevc mjpeg mpeg1video mpeg2video mpeg4 mpegvideo "
    "msmpeg4 msmpeg4v1 msmpeg4v2 prores theora vc1 vp3 vp6 vp6a vp6f vp8 vp9 libvpx libvpx-vp9 "
    "wmv1 wmv2 wmv3"
)
_CODECS = frozenset(f"{_AUDIO_CODECS} {_VIDEO_CODECS}".split())
_MAX_PIXELS = 64_000_000  # of one frame, checked by the decoder before it allocates


def open_container(file: io.BufferedIOBase, *, format: str, what: str) -> InputContainer:
    """Open a container of a known format.

    Args:
        file: seekable.
        format: as `kinds.sniff` said.
        what: `sound` or `video`, for messages.

    Returns:
        The container; the caller closes it.

    Raises:
        BadMediaError: `truncated` (its index is missing), `corrupt`.

    Example:
        >>> open_container(io.BytesIO(b"fLaC"), format="flac", what="sound")
        Traceback (most recent call last):
        ...
        retrieval.errors.BadMediaError: the FLAC sound ends too early; copy it again
    """
    import av

    # Damage is our outcome codes' to tell, once; FFmpeg would tell it on every packet.
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    demuxer = _DEMUXERS[format]
    options = {
        "protocol_whitelist": "file,pipe",
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join(sorted(_CODECS)),
        "max_pixels": str(_MAX_PIXELS),
    }
    if demuxer == "mov" and _lacks_moov(file):
        raise _cut(format, what)
    file.seek(0)
    try:
        return av.open(
            file,
            mode="r",
            format=demuxer,
            options=options,
            metadata_errors="replace",
            io_open=_refuse,
            buffer_size=1 << 16,
        )
    except av.error.EOFError as error:
        raise _cut(format, what) from error
    except av.error.FFmpegError as error:
        text = f"the {format.upper()} {what} cannot be opened ({_say(error)}); re-encode it"
        raise BadMediaError(text, code="corrupt") from error


def sound_stream(container: InputContainer) -> AudioStream | None:
    """Pick the first sound stream whose decoder is on the list, single-threaded."""
    for stream in container.streams.audio:
        if _has_decoder(stream):
            stream.codec_context.thread_count = 1
            return stream
    return None


def video_stream(container: InputContainer) -> VideoStream | None:
    """Pick the first moving picture; cover art is none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if _has_decoder(stream) and not stream.disposition & Disposition.attached_pic:
            stream.codec_context.thread_count = 1
            return stream
    return None


def _has_decoder(stream: AudioStream | VideoStream) -> bool:
    context = stream.codec_context
    return context is not None and context.codec is not None and context.codec.name in _CODECS


def _refuse(url: str, *_: object) -> NoReturn:
    raise PermissionError(f"a media file asked for another file: {url[:200]}")


def _cut(format: str, what: str) -> BadMediaError:
    text = f"the {format.upper()} {what} ends too early; copy it again"
    return BadMediaError(text, code="truncated")


def _lacks_moov(file: io.BufferedIOBase) -> bool:
    """Say whether a file of the ISO base media family lost its index, or a part of it."""
    end = file.seek(0, io.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        box = file.read(16)
        size = int.from_bytes(box[:4], "big")
        if box[4:8] == b"moov":
            return position + size > end
        if size == 1:
            size = int.from_bytes(box[8:16], "big")
        if size < 8:
            break
        position += size
    return True


def _say(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or type(error).__name__).lower()
