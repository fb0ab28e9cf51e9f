"""Give new words rows in a trained table: the mean of what their phrases mean."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from retrieval.encoders.starter_head import unit
from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.table import Layers, Table
from retrieval.training.starter.vocabulary import is_chinese, words_of

# A content word of the trained table has about this length; a frequent word less:
# length = typical * a / (a + share of phrases that have it), as in smooth inverse frequency.
_A = 2e-3
_BLOCK = 4096


def typical_length(table: Table, *, places: list[int]) -> float:
    """Median length of the rows of some everyday words.

    Args:
        table: trained.
        places: their rows.
    """
    return float(np.median(np.linalg.norm(table.rows[places], axis=1)))


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
    n_steps: int = 40,
) -> Table:
    """Fill rows of a table so that a word alone gets its vector.

    A row starts at what the linear part of the readout asks for and is then moved by Adam until
    the whole readout gives the vector.

    Args:
        table: with room for the rows.
        rows: row -> (unit vector float32 [384], share of the phrases).
        length: from `typical_length`.
        n_steps: of Adam.

    Returns:
        The table with these rows filled.
    """
    back = np.linalg.pinv(table.read.map)
    places = sorted(rows)
    filled = table.rows.copy()
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        wanted = np.stack([rows[row][0] for row in block])
        shares = np.array([rows[row][1] for row in block])[:, None]
        turned = _approach(unit(wanted @ back), wanted, table=table, n_steps=n_steps)
        filled[block] = length * _A / (_A + shares) * turned
    filled[0] = 0.0
    return replace(table, rows=filled)


def _approach(first: Vectors, wanted: Vectors, *, table: Table, n_steps: int) -> Vectors:
    """Turn rows float32 [N, 256] until the readout's vectors have the wanted directions."""
    import torch

    layers = Layers(table.read)
    rows = torch.nn.Parameter(torch.tensor(first))
    optimiser = torch.optim.Adam([rows], lr=0.01)
    for _ in range(n_steps):
        made = layers(rows)
        loss = (1 - torch.nn.functional.cosine_similarity(made, torch.tensor(wanted))).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return unit(rows.detach().numpy())


def share_rows(table: Table, *, first: int, closeness: float = 0.99) -> Table:
    """Let words of one meaning share a row: forms of a verb, the same word in two scripts.

    Two rows are one if they have a cosine of `closeness` or more, and lengths within a tenth.

    Args:
        table: filled.
        first: rows before this one stay as they are.
        closeness: see above.

    Returns:
        The table with fewer rows; each word has the first of those that are close to its own.
    """
    added = table.rows[first:]
    turned, lengths = unit(added), np.linalg.norm(added, axis=1)
    owner = np.arange(len(added))
    for start in range(0, len(added), _BLOCK):
        own = slice(start, start + _BLOCK)
        near = turned[own] @ turned.T >= closeness
        near &= np.abs(lengths[own, None] - lengths) < 0.1 * lengths[own, None]
        for place, close in enumerate(near, start):
            if owner[place] == place:
                rest = np.flatnonzero(close[place + 1 :]) + place + 1
                owner[rest[owner[rest] == rest]] = place
    kept, shared = np.unique(owner, return_inverse=True)
    moved = np.concatenate([np.arange(first), first + shared])
    rows = np.concatenate([table.rows[:first], added[kept]])
    return replace(table, rows=rows, row_of=moved[table.row_of].astype(np.int32))
