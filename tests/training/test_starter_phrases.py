"""Phrases with rows of their own in the starter's text table."""

import json

import numpy as np

from retrieval.encoders.starter_head import unit
from retrieval.encoders.starter_text import Readout
from retrieval.training.starter import phrases
from retrieval.training.starter.table import Table

DIM = 384
WORDS = ("hot", "dog", "red", "t", "-", "shirt")


class Teacher:
    """Knows what `MEANT` says."""

    def encode(self, texts):
        return np.stack([MEANT[text] for text in texts]).astype(np.float32)


MEANT = dict(zip(("hot dog", "red dog", "t-shirt"), np.eye(DIM), strict=False))


def table():
    """A word is its own axis, and the readout gives the mean of a text's words."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {w: n + 2 for n, w in enumerate(WORDS)}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary}
    model |= {"max_input_chars_per_word": 100, "continuing_subword_prefix": "##"}
    steps = {"clean_text": True, "handle_chinese_chars": False, "strip_accents": None}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "lowercase": True, **steps},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": None,
        "model": model,
    }  # fmt: skip
    rows = np.concatenate([np.zeros((2, DIM)), np.eye(DIM)[10:16]]).astype(np.float32)
    # "red dog" is right as it is: the mean of its words.
    MEANT["red dog"] = unit((rows[3] + rows[4])[None])[0]
    nothing = np.zeros((DIM, 1), np.float32)
    read = Readout(np.eye(DIM, dtype=np.float32), nothing, np.zeros(1, np.float32), nothing.T)
    return Table(json.dumps(tokenizer), np.arange(8, dtype=np.int32), rows, read)


def larger(tmp_path):
    known = phrases.candidates(MEANT, lemmas=["hot dog", "red dog"])
    return phrases.add_phrases(
        table(), phrases=known, n=2, length=1.0, teacher=Teacher(), cache=tmp_path
    )


def test_the_phrases_that_are_most_wrong_mean_what_the_teacher_says(tmp_path):
    made = larger(tmp_path)
    for phrase in ("hot dog", "Hot dogs", "T-shirt", "t-shirts"):
        wanted = MEANT[phrase.lower().removesuffix("s")]
        assert made.encode([phrase])[0] @ wanted > 0.99
    assert len(made.rows) == len(table().rows) + 2


def test_texts_without_a_phrase_keep_their_vectors(tmp_path):
    texts = ["red dog", "a hot red dog", "shirt", "t", "hotdog", "hot-dog"]
    np.testing.assert_array_equal(larger(tmp_path).encode(texts), table().encode(texts))


def test_a_phrase_counts_as_one_word_beside_others(tmp_path):
    made = larger(tmp_path)
    both = made.encode(["hot dog"]) + made.encode(["red"])
    np.testing.assert_allclose(made.encode(["a red hot dog"]), unit(both), atol=1e-5)
