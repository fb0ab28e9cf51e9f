"""What is said in sounds is found by its words, from where they are said on."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import wave
from pathlib import Path

import media_files
import numpy as np
import pytest

from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import BadMediaError, UsageError
from retrieval.media import Found, Loader, find_file
from retrieval.media.child import Child
from retrieval.media.speech import Word, check_engine, phrases
from retrieval.types import Loaded, MediaSpec

needs_voice = pytest.mark.skipif(
    shutil.which("espeak-ng") is None or importlib.util.find_spec("pocketsphinx") is None,
    reason="needs espeak-ng (Debian) and pocketsphinx (extra speech)",
)
RATE_HZ = 22_050


def say(path: Path, text: str, *, quiet_s: float = 0.0) -> Path:
    """Have a voice say a text, after some seconds of silence."""
    spoken = path.with_suffix(".raw.wav")
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "120", "-w", spoken, text], check=True)
    with wave.open(str(spoken)) as voice:
        assert voice.getframerate() == RATE_HZ
        samples = np.frombuffer(voice.readframes(voice.getnframes()), "<i2") / 32768
    spoken.unlink()
    whole = np.concatenate([np.zeros(round(quiet_s * RATE_HZ)), samples])[:, None]
    media_files.wav(path, samples=whole.astype(np.float32), rate_hz=RATE_HZ)
    return path


def engine_in(folder: Path, **flags: str | float) -> Engine:
    settings = load_settings({"workers": 1, **flags}, environment={}, file=folder / "none")
    return Engine.open(folder / "store", create=True, model="fake", settings=settings)


def test_phrases_end_at_pauses_and_what_is_hardly_believed_is_left_out() -> None:
    words = [Word("one", 0, 0.5), Word("two", 0.6, 1), Word("three", 1.7, 2), Word("x", 5, 6, 0.2)]
    told = [[word.text for word in phrase] for phrase in phrases(words)]
    assert told == [["one", "two"], ["three"]]
    many = [Word(str(n), n / 10, n / 10 + 0.1) for n in range(40)]
    assert [len(phrase) for phrase in phrases(many)] == [16, 16, 8]


def test_an_engine_that_is_none_is_refused() -> None:
    check_engine("")
    with pytest.raises(UsageError, match="whisper:FOLDER"):
        check_engine("ears")


@needs_voice
def test_spoken_words_are_found_from_where_they_are_said_on(tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    say(folder / "a.wav", "the weather is beautiful today", quiet_s=3.0)
    say(folder / "b.wav", "one two three four five six")
    with engine_in(tmp_path) as engine:
        engine.add(folder)
        before = {name: engine.item(folder / name) for name in ("a.wav", "b.wav")}
        assert not any(hit.by != "vector" for hit in engine.search("beautiful", k=5))
    with engine_in(tmp_path, speech="pocketsphinx") as engine:
        report = engine.add(folder)  # again, now with what is said
        assert (report.n_changed, report.n_added) == (2, 0)
        hits = engine.search("beautiful", k=5)
        assert (hits[0].path, hits[0].by) == (str(folder / "a.wav"), "both")
        assert "beautiful" in (hits[0].text or "")
        assert hits[0].start_s == pytest.approx(3.0, abs=0.4)
        assert engine.search("four five", k=1)[0].path == str(folder / "b.wav")
        item = engine.item(folder / "a.wav")
        assert item is not None
        assert before["a.wav"] is not None
        assert (item.id, item.flags) == (before["a.wav"].id, ("transcribed",))
        assert engine.add(folder).n_unchanged == 2
    with engine_in(tmp_path) as engine:  # without the setting nothing is loaded again, or lost
        assert engine.add(folder).n_unchanged == 2
        assert engine.search("beautiful", k=1)[0].by == "both"


def test_a_missing_engine_costs_the_words_and_not_the_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    sound = media_files.wav(tmp_path / "a.wav")
    with caplog.at_level(logging.WARNING), engine_in(tmp_path, speech="pocketsphinx") as engine:
        assert engine.add(sound).n_added == 1
    assert "pip install 'crossfind[speech]'" in caplog.text


def test_an_engine_that_fails_costs_the_words_and_not_the_sound(tmp_path: Path) -> None:
    sound = media_files.wav(tmp_path / "a.wav")
    spec = MediaSpec(sample_rate_hz=16_000, speech="whisper:/nowhere")
    with Loader(spec=spec) as loader:
        loaded = loader.load(find_file(sound))
    assert loaded.flags == ("not_transcribed",)
    assert [part.modality for part in loaded.parts] == ["audio"]


def test_a_child_that_dies_of_listening_is_asked_again_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = media_files.wav(tmp_path / "a.wav")
    ask = Child._ask

    def die(self: Child, found: Found, *, listens: bool) -> Loaded:
        if listens:
            raise BadMediaError("it crashed", code="decoder_crashed")
        return ask(self, found, listens=listens)

    monkeypatch.setattr(Child, "_ask", die)
    for engine, flags in (("whisper:/nowhere", ("not_transcribed",)), ("", None)):
        with Loader(spec=MediaSpec(sample_rate_hz=16_000, speech=engine)) as loader:
            if flags is None:
                with pytest.raises(BadMediaError, match="crashed"):
                    loader.load(find_file(sound))
            else:
                assert loader.load(find_file(sound)).flags == flags
