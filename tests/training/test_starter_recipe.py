"""The steps of the starter's recipe, each against a case worked by hand."""

import json

import numpy as np
import pytest

from retrieval.encoders.starter_files import dequantise
from retrieval.encoders.starter_text import Readout
from retrieval.training.starter.effects import CLASSES, make
from retrieval.training.starter.lexicon import add_rows, share_rows, word_vectors
from retrieval.training.starter.pack import quantise
from retrieval.training.starter.sources import openclipart, reserved_names
from retrieval.training.starter.table import Table, make_tokenizer
from retrieval.training.starter.vocabulary import translations


def test_a_keyword_means_the_english_word_that_shares_its_emoji():
    english = {"1": ("cat", ("pet", "animal")), "2": ("dog", ("pet", "animal")), "3": ("car", ())}
    spanish = {"1": ("gato", ("mascota",)), "2": ("perro", ("mascota",)), "3": ("coche", ())}
    found = translations(english, spanish)
    assert found["gato"] == ("cat", 1.0)
    assert found["mascota"] == ("animal, pet", 1.0)  # Dice 2*2/(2+2) for both


def test_word_vectors_weigh_short_phrases_more():
    meanings = np.eye(2, dtype=np.float32)
    found = word_vectors([("perro", 1.0), ("perro rojo", 1.0)], meanings=meanings)
    expected = np.array([8.0, 1 / 2**1.5])
    np.testing.assert_allclose(found["perro"][0], expected / np.linalg.norm(expected), rtol=1e-5)
    assert found["perro"][1] == 1.0
    assert found["rojo"][0].tolist() == [0.0, 1.0]


def linear(basis):
    """A readout whose hidden layer does nothing."""
    zero = np.zeros((len(basis), 1), np.float32)
    return Readout(basis, zero, np.zeros(1, np.float32), np.zeros((1, basis.shape[1]), np.float32))


def test_a_filled_row_maps_to_the_vector_of_its_word():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0].astype(np.float32)
    table = Table("", np.arange(3, dtype=np.int32), np.zeros((3, 4), np.float32), linear(basis))
    wanted = np.array([0.6, 0.8, 0, 0], np.float32)
    filled = add_rows(table, rows={2: (wanted, 0.0)}, length=1.5)
    np.testing.assert_allclose(filled.rows[2] @ basis, 1.5 * wanted, atol=2e-2)
    assert not filled.rows[:2].any()


def test_words_of_one_meaning_share_a_row_and_no_others():
    rows = np.array([[0, 0], [1, 0], [1, 0], [1, 0.01], [0, 1], [3, 0]], np.float32)
    table = Table("", np.arange(6, dtype=np.int32), rows, linear(np.eye(2, dtype=np.float32)))
    shared = share_rows(table, first=2)
    # row 1 stands before `first`; 3 joins 2; 5 has the direction of 2 but another length
    assert shared.row_of.tolist() == [0, 1, 2, 2, 3, 4]
    np.testing.assert_array_equal(shared.rows, rows[[0, 1, 2, 4, 5]])


def test_a_tail_shares_the_row_of_its_word(tmp_path):
    vocab = {"[PAD]": 0, "[UNK]": 1, "a": 2, "##a": 3, "é": 4}
    base = tmp_path / "tokenizer.json"
    base.write_text(json.dumps({"model": {"vocab": vocab}, "normalizer": {}}))
    _, tokens, rows = make_tokenizer(base, words=["auto", "kind"], tails={"auto"})
    assert tokens == ["[PAD]", "[UNK]", "a", "##a", "auto", "kind", "##auto"]
    assert rows.tolist() == [0, 0, 1, 2, 3, 4, 3]


def test_quantised_rows_come_back_within_half_a_step():
    values = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
    back = dequantise(quantise("w", values), "w")
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    assert (np.abs(back - values) <= 0.52 * step + 1e-6).all()


def test_files_reserved_for_the_demo_are_never_yielded(tmp_path):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    names = [f"thing_{n}.svg" for n in range(60)]
    for name in names:
        (tmp_path / name).write_text(svg)
    import hashlib

    kept = {p.key.split("/")[-1] for p in openclipart(tmp_path)}
    reserved = {n for n in names if hashlib.md5(n.encode()).hexdigest()[0] == "0"}
    assert reserved
    assert kept == set(names) - reserved
    assert "emoji_u1f436.svg" in reserved_names("1f436")


@pytest.mark.parametrize("name", ["rain", "clock", "bark", "siren"])
def test_a_procedural_sound_is_the_same_for_the_same_number(name):
    assert name in CLASSES
    first, again, other = make(name, number=1), make(name, number=1), make(name, number=2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (220_500,)
    assert np.abs(first).max() == pytest.approx(0.8, abs=1e-3)
