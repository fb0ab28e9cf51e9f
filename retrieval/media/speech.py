"""Spoken words of a sound track, with their times, by an engine that the user has installed.

`pocketsphinx` (extra `speech`; BSD licence, its English model comes along) works offline and at
about the speed of speech; it knows English and makes mistakes. `whisper:FOLDER` is faster-whisper
(MIT) with weights the user has. Neither is needed: without words a sound is found by its sound.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import BackendMissingError, UsageError
from retrieval.types import LoadedPart

if TYPE_CHECKING:
    from pocketsphinx import Decoder

Samples = npt.NDArray[np.float32]

TRANSCRIBED_FLAG = "transcribed"
"""Flag of sounds that were listened to, whether there were words or not."""
CUT_FLAG = "transcript_cut"
UNHEARD_FLAG = "not_transcribed"

WHISPER = "whisper:"
_RATE_HZ = 16_000
_MAX_PHRASE_WORDS = 16
_PAUSE_S = 0.6
_MAX_UTTERANCE_S = 20.0
_MARGIN_S, _NOISE = 0.4, 1e-3
# Fewer than by default: noise, in which nothing stands out, takes three times as long else.
_MAX_STATES, _MAX_WORDS = 6_000, 20
# Noise is heard as words that the recogniser itself hardly believes (posterior probability).
_MIN_WORD_BELIEF, _MIN_PHRASE_BELIEF = 0.01, 0.3
_MARKS = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_VARIANT = re.compile(r"\(\d+\)$")


@dataclass(frozen=True, slots=True)
class Word:
    """A word that was heard.

    Attributes:
        text: the word.
        start_s, end_s: in the sound.
        belief: in [0, 1], how sure the engine is.
    """

    text: str
    start_s: float
    end_s: float
    belief: float = 1.0


def check_engine(name: str) -> None:
    """Refuse an engine that is none, or is not installed.

    Args:
        name: `pocketsphinx`, or `whisper:` and the folder of a model; empty for none.

    Raises:
        UsageError: no such engine (`bad_speech`).
        BackendMissingError: it is not installed; the message says how to.

    Example:
        >>> check_engine("")
        >>> check_engine("ears")
        Traceback (most recent call last):
        retrieval.errors.UsageError: speech is 'ears'; give pocketsphinx, or whisper:FOLDER
    """
    if not name:
        return
    if name != "pocketsphinx" and not name.startswith(WHISPER):
        raise UsageError(
            f"speech is {name!r:.80}; give pocketsphinx, or whisper:FOLDER", code="bad_speech"
        )
    package, extra = ("pocketsphinx", "speech") if name == "pocketsphinx" else (
        "faster_whisper", "whisper",
    )  # fmt: skip
    if importlib.util.find_spec(package) is None:
        raise BackendMissingError(
            f"speech by {name} needs {package}: pip install 'crossfind[{extra}]'"
        )


def spoken_parts(
    samples: Samples, *, sample_rate_hz: int, start_s: float, engine: str, budget_s: float
) -> tuple[tuple[LoadedPart, ...], set[str]]:
    """Listen to a sound.

    Args:
        samples: float32 [T] mono in [-1, 1].
        sample_rate_hz: of them.
        start_s: where they begin in their file.
        engine: see `check_engine`.
        budget_s: seconds this may take; what is heard by then is kept.

    Returns:
        A text part for each phrase, with its times, and flags: `transcribed`, `transcript_cut`
        where time ran out, or `not_transcribed` where the engine failed.
    """
    deadline = time.monotonic() + budget_s
    heard: list[Word] = []
    flags = {TRANSCRIBED_FLAG}
    try:
        for word in _listener(engine)(_resampled(samples, sample_rate_hz)):
            heard.append(word)
            if time.monotonic() > deadline:
                flags.add(CUT_FLAG)
                break
    except (ImportError, RuntimeError, ValueError, OSError, AttributeError):
        flags = {UNHEARD_FLAG}  # the sound itself is good
    parts = (
        LoadedPart(
            "text",
            " ".join(word.text for word in phrase),
            start_s=start_s + max(0.0, phrase[0].start_s),
            end_s=start_s + phrase[-1].end_s,
        )
        for phrase in phrases(heard)
    )
    return tuple(parts), flags


def phrases(words: Iterable[Word]) -> list[list[Word]]:
    """Cut words into phrases at pauses; words and phrases that are hardly believed are left out.

    Example:
        >>> words = [Word("two", 0.0, 0.3), Word("seals", 0.3, 0.7), Word("bark", 2.0, 2.4)]
        >>> [[word.text for word in phrase] for phrase in phrases(words)]
        [['two', 'seals'], ['bark']]
    """
    found: list[list[Word]] = []
    for word in words:
        last = found[-1] if found else []
        if not last or word.start_s - last[-1].end_s > _PAUSE_S or len(last) >= _MAX_PHRASE_WORDS:
            found.append([])
        found[-1].append(word)
    believed = (p for p in found if sum(w.belief for w in p) / len(p) >= _MIN_PHRASE_BELIEF)
    kept = ([word for word in phrase if word.belief >= _MIN_WORD_BELIEF] for phrase in believed)
    return [phrase for phrase in kept if phrase]


def _listener(engine: str) -> Callable[[Samples], Iterator[Word]]:
    if engine.startswith(WHISPER):
        return _whisper(engine.removeprefix(WHISPER))
    return _sphinx


def _sphinx(samples: Samples) -> Iterator[Word]:
    """Recognise each stretch of voice by itself."""
    decoder = _sphinx_decoder()
    frame_s = 1 / int(decoder.config["frate"])
    for start_s, voice in _voices(samples):
        decoder.start_utt()
        decoder.process_raw(voice, no_search=False, full_utt=True)
        decoder.end_utt()
        for one in decoder.seg() if decoder.hyp() is not None else ():
            if not _MARKS.fullmatch(one.word):
                yield Word(
                    _VARIANT.sub("", one.word),
                    start_s + one.start_frame * frame_s,
                    start_s + (one.end_frame + 1) * frame_s,
                    min(1.0, one.prob),
                )


@lru_cache(maxsize=1)
def _sphinx_decoder() -> Decoder:
    from pocketsphinx import Decoder

    return Decoder(
        samprate=float(_RATE_HZ), loglevel="FATAL", maxhmmpf=_MAX_STATES, maxwpf=_MAX_WORDS
    )


def _voices(samples: Samples) -> Iterator[tuple[float, bytes]]:
    """Cut out the stretches where somebody speaks: their start in seconds, 16-bit samples.

    Each has a little of what is around it, for a recogniser that begins within a word is lost. Soft
    noise takes the place of digital silence, of which its logarithms make nonsense.
    """
    margin = np.zeros(round(_MARGIN_S * _RATE_HZ), np.float32)
    around = np.concatenate([margin, samples, margin])
    around += np.random.default_rng(0).normal(0, _NOISE, len(around)).astype(np.float32)
    raw = (np.clip(around, -1, 1) * 32767).astype("<i2")
    for start_s, end_s in _voice_spans(samples):
        first, last = (round(time_s * _RATE_HZ) for time_s in (start_s, end_s))
        yield start_s - _MARGIN_S, raw[first : last + 2 * len(margin)].tobytes()


def _voice_spans(samples: Samples) -> Iterator[tuple[float, float]]:
    """Tell from when to when somebody speaks, in pieces of bounded length."""
    from pocketsphinx import Endpointer

    endpointer = Endpointer(sample_rate=_RATE_HZ)
    raw = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    size, total_s = endpointer.frame_bytes, len(samples) / _RATE_HZ
    start_s: float | None = None
    for first in range(0, len(raw) - size + 1, size):
        endpointer.process(raw[first : first + size])
        now_s = (first + size) / 2 / _RATE_HZ
        if endpointer.in_speech and start_s is None:
            start_s = endpointer.speech_start
        elif start_s is not None and not endpointer.in_speech:
            yield start_s, endpointer.speech_end
            start_s = None
        elif start_s is not None and now_s - start_s >= _MAX_UTTERANCE_S:
            yield start_s, now_s
            start_s = now_s
    if start_s is not None:
        yield start_s, total_s


def _whisper(folder: str) -> Callable[[Samples], Iterator[Word]]:
    model = _whisper_model(folder)

    def listen(samples: Samples) -> Iterator[Word]:
        segments, _ = model.transcribe(samples, beam_size=1, word_timestamps=True, vad_filter=True)
        for segment in segments:
            for word in segment.words or ():
                yield Word(word.word.strip(), word.start, word.end, word.probability)

    return listen


@lru_cache(maxsize=1)
def _whisper_model(folder: str) -> Any:  # Any: faster-whisper ships no types
    from faster_whisper import WhisperModel

    return WhisperModel(
        folder, device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
    )


def _resampled(samples: Samples, rate_hz: int) -> Samples:
    """Bring a sound to 16 kHz."""
    if rate_hz == _RATE_HZ:
        return samples
    import av

    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE_HZ)
    blocks = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([block.to_ndarray()[0] for block in blocks])
