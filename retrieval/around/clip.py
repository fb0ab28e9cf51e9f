"""Cutting a moment out of a sound or video, in a process of its own with limits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import BadMediaError, StorageError, UsageError
from retrieval.media.kinds import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from retrieval.media.rows import file_of

__all__ = ["CLIP_SUFFIXES", "MAX_CLIP_S", "Clip", "cut_clip"]

CLIP_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4")
MAX_CLIP_S = 600.0


@dataclass(frozen=True, slots=True)
class Clip:
    """A file that was cut.

    Attributes:
        path: the new file.
        start_s, end_s: where it lay in its source; the end is where the source ended, if earlier.
    """

    path: str
    start_s: float
    end_s: float


def cut_clip(
    source: Path, *, start_s: float, end_s: float, out: Path, timeout_s: float = 300.0
) -> Clip:
    """Cut a stretch of time out of a sound or video; the source is never changed.

    The source is decoded and encoded again by a child process with limits on memory and time, so
    cuts are exact to the sample and frame, and a file that crashes the decoder costs nothing else.

    Args:
        source: the file, or TABLE#ROW for the row's sound or video.
        start_s, end_s: where, 0 <= start < end, at most 600 s.
        out: the new file, which must not exist; its suffix says the format (`CLIP_SUFFIXES`).
            `.mp4` keeps the pictures (H.264, AAC), the others the sound.
        timeout_s: the longest it may take.

    Returns:
        What was cut.

    Raises:
        UsageError: times out of range (`bad_times`), another suffix (`bad_format`), or the new
            file exists (`file_exists`).
        BadMediaError: the source cannot be decoded, or holds nothing between these times
            (`nothing_there`).
        StorageError: the new file cannot be written.
    """
    if not 0 <= start_s < end_s < float("inf") or end_s - start_s > MAX_CLIP_S:
        raise UsageError(
            f"a clip from {start_s} to {end_s} s is not possible; give 0 <= start < end and at "
            f"most {MAX_CLIP_S:.0f} s",
            code="bad_times",
        )
    if out.suffix.lower() not in CLIP_SUFFIXES:
        raise UsageError(
            f"{out.name}: clips end in {' '.join(CLIP_SUFFIXES)}; name one of them",
            code="bad_format",
        )
    if out.exists():
        raise UsageError(f"{out} exists; name a new file", code="file_exists")
    source = Path(file_of(str(source.absolute()), suffixes=AUDIO_SUFFIXES | VIDEO_SUFFIXES))
    if not source.is_file():
        raise UsageError(f"{source} does not exist; name a file that does", code="path_missing")
    job = json.dumps([str(source), str(out.absolute()), start_s, end_s])
    command = [sys.executable, "-m", "retrieval.around.clip_worker"]
    try:
        done = subprocess.run(
            command, input=job, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        out.unlink(missing_ok=True)
        raise BadMediaError(
            f"{source}: cutting took longer than {timeout_s:.0f} s", code="decoder_timeout"
        ) from error
    if done.returncode != 0:
        out.unlink(missing_ok=True)
    return _answer(done, source=source, start_s=start_s, out=out)


def _answer(
    done: subprocess.CompletedProcess[str], *, source: Path, start_s: float, out: Path
) -> Clip:
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BadMediaError(
            f"{source}: the decoder crashed (exit code {done.returncode}); re-encode the file",
            code="decoder_crashed",
        ) from error
    if "end_s" in answer:
        return Clip(str(out), start_s, float(answer["end_s"]))
    if answer["code"] == "storage":
        raise StorageError(f"cannot write {out}: {answer['reason']}")
    raise BadMediaError(f"{source}: {answer['reason']}", code=str(answer["code"]))
