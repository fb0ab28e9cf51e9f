"""Give new words rows in a trained table in closed form: the mean of what their phrases mean."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.table import Table
from retrieval.training.starter.vocabulary import is_chinese, words_of

# A content word of the trained table has about this length once mapped; a frequent word less:
# length = typical * a / (a + share of phrases that have it), as in smooth inverse frequency.
_A = 2e-3


def typical_length(table: Table, *, places: list[int]) -> float:
    """Median length of the mapped rows of some everyday words.

    Args:
        table: trained.
        places: their rows.
    """
    return float(np.median(np.linalg.norm(table.rows[places] @ table.map, axis=1)))


def word_vectors(
    phrases: list[tuple[str, float]], *, meanings: Vectors
) -> dict[str, tuple[Vectors, float]]:
    """Average the meanings of the phrases that a word is in.

    A phrase of one word counts 8; one of n words 1 / n^1.5. A Chinese character takes 0.4 / n^1.5
    of each word of n characters.

    Args:
        phrases: (phrase, weight).
        meanings: float32 [N, D], the vector each phrase should get.

    Returns:
        Word -> (unit vector float32 [D], share of the phrases that have it).

    Example:
        >>> found = word_vectors([("rojo", 1.0)], meanings=np.eye(2, dtype=np.float32)[:1])
        >>> found["rojo"][0].tolist()
        [1.0, 0.0]
    """
    sums: dict[str, Vectors] = defaultdict(lambda: np.zeros(meanings.shape[1], np.float32))
    counts: dict[str, int] = defaultdict(int)
    for (phrase, weight), meaning in zip(phrases, meanings, strict=True):
        words = words_of(phrase)
        factor = weight * (8.0 if len(words) == 1 else 1.0 / max(1, len(words)) ** 1.5)
        for word in sorted(set(words)):
            counts[word] += 1
            sums[word] += np.float32(factor) * meaning
            if is_chinese(word) and len(word) > 1:
                for character in sorted(set(word)):
                    counts[character] += 1
                    sums[character] += np.float32(weight * 0.4 / len(word) ** 1.5) * meaning
    n = max(1, len(phrases))
    return {
        word: (total / max(float(np.linalg.norm(total)), 1e-9), counts[word] / n)
        for word, total in sums.items()
    }


def add_rows(
    table: Table,
    *,
    rows: dict[int, tuple[Vectors, float]],
    length: float,
) -> Table:
    """Fill rows of a table so that a word alone gets its vector.

    Args:
        table: with room for the rows.
        rows: row -> (unit vector float32 [384], share of the phrases).
        length: from `typical_length`.

    Returns:
        The table with these rows filled.
    """
    back = np.linalg.pinv(table.map)
    filled = table.rows.copy()
    for row, (vector, share) in rows.items():
        filled[row] = length * _A / (_A + share) * (vector @ back)
    filled[0] = 0.0
    return Table(table.tokenizer, table.row_of, filled, table.map)
