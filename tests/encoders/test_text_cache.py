"""The cache of query texts: the same vectors, fewer encodings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.text_cache import TEXT_CACHE, TextCache
from retrieval.engine import Engine


class Counting(FakeEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def _encode_batch(self, inputs, *, modality, space):  # type: ignore[no-untyped-def]
        self.encoded += inputs
        return super()._encode_batch(inputs, modality=modality, space=space)


def test_a_text_is_encoded_once_and_its_vector_stays_the_same() -> None:
    cache, encoder = TextCache(), Counting()
    space = encoder.spaces[0]
    plain = FakeEncoder().encode(["red", "blue", "red", "a b"], modality="text")
    for _ in range(2):
        made = cache.encode(["red", "blue", "red", "a b"], encoder=encoder, space=space)
        assert np.array_equal(made, plain)
    assert encoder.encoded == ["red", "blue", "a b"]
    assert cache.encode([], encoder=encoder, space=space).shape == (0, 64)


def test_another_space_has_other_vectors_and_old_texts_go_first() -> None:
    cache, encoder = TextCache(max_entries=2), Counting()
    space = encoder.spaces[0]
    for text in ("red", "blue", "red", "green", "red", "blue"):
        cache.encode([text], encoder=encoder, space=space)
    assert encoder.encoded == ["red", "blue", "green", "blue"]
    assert len(cache) == 2
    other = Counting()
    other.spaces = (replace(space, fingerprint="other"),)
    cache.encode(["red"], encoder=other, space=other.spaces[0])
    assert other.encoded == ["red"]


def test_threads_may_share_it() -> None:
    cache, encoder = TextCache(max_entries=8), FakeEncoder()
    texts = [f"thing{n % 13} red" for n in range(400)]
    expected = encoder.encode(texts, modality="text")
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda t: cache.encode([t], encoder=encoder, space=encoder.spaces[0])[0], texts
            )
        )
    assert np.array_equal(np.stack(made), expected)


def test_searching_twice_encodes_the_query_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("red")
    encoder = Counting()
    with Engine.open(tmp_path / "store", create=True, model="fake") as engine:
        engine.add(tmp_path / "a.txt")
        monkeypatch.setitem(engine.serving.__dict__, "encoder", encoder)
        query = "a query nobody asked before: 1b3c"
        first = engine.search(query)
        n_hits = TEXT_CACHE.n_hits
        assert engine.search(query) == first
    assert encoder.encoded.count(query) == 1
    assert TEXT_CACHE.n_hits > n_hits
