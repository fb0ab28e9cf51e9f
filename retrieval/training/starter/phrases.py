"""Phrases whose words mislead: a hot dog is no dog, and a T-shirt is not quite a shirt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.training.starter.corpus import taught
from retrieval.training.starter.lexicon import add_rows
from retrieval.training.starter.table import Table
from retrieval.training.starter.teacher import Teacher

_PHRASE = re.compile(r"[a-z]+(?:[ -][a-z]+){1,2}")
# How the tokenizer finds a phrase: before texts are split, between other words, in lower case.
_FOUND = {"single_word": True, "lstrip": False, "rstrip": False, "normalized": True}


def candidates(titles: Iterable[str], *, lemmas: Iterable[str]) -> list[str]:
    """List the titles of two or three words that are one thing: WordNet's, and with hyphens.

    Example:
        >>> candidates(["Hot dog", "red dog", "T-shirt", "dog"], lemmas=["hot dog", "dog"])
        ['hot dog', 't-shirt']
    """
    known = {lemma.lower() for lemma in lemmas}
    found = {t.lower() for t in titles if _PHRASE.fullmatch(t.lower())}
    return sorted(p for p in found if "-" in p or p in known)


def add_phrases(
    table: Table, *, phrases: Sequence[str], n: int, length: float, teacher: Teacher, cache: Path
) -> Table:
    """Give the phrases that the table has most wrong tokens and rows of their own.

    Texts without such a phrase keep their vectors.

    Args:
        table: trained and filled.
        phrases: of `candidates`.
        n: how many get a row; their plurals share it.
        length: of the rows, from `lexicon.typical_length`.
        teacher: says what they mean.
        cache: for its vectors.

    Returns:
        The larger table.
    """
    wanted = taught(phrases, teacher=teacher, cache=cache)
    close = (table.encode(phrases) * wanted).sum(axis=1) if phrases else np.zeros(0)
    chosen = sorted(np.argsort(close, kind="stable")[:n].tolist(), key=lambda i: phrases[i])
    names = [phrases[i] for i in chosen]
    plural = {f"{p}s": p for p in names if not p.endswith("s") and f"{p}s" not in names}
    first = len(table.rows)
    row = {name: first + place for place, name in enumerate(names)}
    more = [row[plural.get(name, name)] for name in (*names, *plural)]
    larger = replace(
        table,
        tokenizer=_with_tokens(table.tokenizer, tokens=[*names, *plural]),
        row_of=np.concatenate([table.row_of, np.array(more, dtype=np.int32)]),
        rows=np.concatenate([table.rows, np.zeros((len(names), table.rows.shape[1]), np.float32)]),
    )
    meant = {row[name]: (wanted[i], 0.0) for name, i in zip(names, chosen, strict=True)}
    return add_rows(larger, rows=meant, length=length) if meant else larger


def _with_tokens(tokenizer: str, *, tokens: Sequence[str]) -> str:
    data: dict[str, Any] = json.loads(tokenizer)  # Any: JSON
    vocabulary = data["model"]["vocab"]
    for token in tokens:
        vocabulary[token] = len(vocabulary)
        data["added_tokens"].append(
            {"id": vocabulary[token], "content": token, **_FOUND, "special": False}
        )
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
