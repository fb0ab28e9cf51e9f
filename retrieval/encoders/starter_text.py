"""The starter's text tower: a table of word-piece vectors, averaged and mapped into the space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import Tensors, WeightFiles, dequantise
from retrieval.encoders.starter_head import Floats, gelu, times, unit
from retrieval.errors import ModelError

_MAX_PIECES = 256
_CHINESE = re.compile(r"[\u3400-\u9fff]+")
_LONGEST_WORD = 6
_ROWS = 64  # of a block of texts; see `times`

Ids = npt.NDArray[np.int64]


class Pieces:
    """Split texts into word pieces; runs of Chinese are first cut into known words.

    Args:
        data: the tokenizer's JSON.
        unknown_id: token id of what is not known; such pieces are left out.

    Raises:
        ModelError: the JSON is no tokenizer (`model_unavailable`).
    """

    def __init__(self, data: bytes, *, unknown_id: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_buffer(data)
        except ValueError as error:
            raise ModelError(
                f"the starter's tokenizer cannot be read: {error}; reinstall crossfind",
                code="model_unavailable",
            ) from error
        self._unknown = unknown_id

    def split(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Split texts.

        Args:
            texts: any language.

        Returns:
            Token ids of all texts in a row, int64 [P], and how many each has, int64 [N].
        """
        encoded = self._tokenizer.encode_batch_fast(
            [self._prepare(t) for t in texts], add_special_tokens=False
        )
        pieces = [e.ids[:_MAX_PIECES] for e in encoded]
        counts = np.fromiter((len(p) for p in pieces), dtype=np.int64, count=len(pieces))
        flat = np.fromiter(chain.from_iterable(pieces), dtype=np.int64, count=int(counts.sum()))
        known = flat != self._unknown
        if not known.all():
            owner = np.repeat(np.arange(len(pieces)), counts)
            counts = np.bincount(owner[known], minlength=len(pieces)).astype(np.int64)
            flat = flat[known]
        return flat, counts

    def _prepare(self, text: str) -> str:
        # A lone surrogate (half a character, as some file names have) cannot reach the tokenizer.
        safe = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
        return safe if text.isascii() else _CHINESE.sub(self._cut, safe)

    def _cut(self, run: re.Match[str]) -> str:
        """Put spaces between the words of a Chinese run: the longest known one first."""
        word, at, out = run.group(), 0, []
        while at < len(word):
            for length in range(min(_LONGEST_WORD, len(word) - at), 0, -1):
                part = word[at : at + length]
                if length == 1 or self._tokenizer.token_to_id(part) is not None:
                    out.append(part)
                    at += length
                    break
        return f" {' '.join(out)} "


@dataclass(frozen=True, slots=True)
class Readout:
    """The map from the mean of a text's rows into the space: linear plus one hidden layer.

    Attributes:
        map: float32 [R, D].
        inner: float32 [R, H].
        bias: float32 [H].
        outer: float32 [H, D].
    """

    map: Floats
    inner: Floats
    bias: Floats
    outer: Floats

    def __call__(self, means: Floats) -> Floats:
        """Map means float32 [N, R] to u map + gelu(u inner + bias) outer, u of length one.

        Returns:
            float32 [N, D], any length; zero rows stay zero.
        """
        turned = unit(means)
        both = np.concatenate([self.map, self.inner], axis=1)
        plain, inner = np.split(times(turned, both, n_rows=_ROWS), [self.map.shape[1]], axis=1)
        vectors = plain + times(gelu(inner + self.bias), self.outer, n_rows=_ROWS)
        return np.where(means.any(axis=1, keepdims=True), vectors, np.float32(0.0))

    @classmethod
    def of(cls, tensors: Tensors) -> Readout:
        """Take it from the tensors of `text.safetensors`."""
        return cls(*(dequantise(tensors, name) for name in ("map", "inner", "bias", "outer")))


class TextTower:
    """Encode texts with a table distilled from a sentence encoder; word order plays no part.

    Args:
        files: the starter's weights.
    """

    def __init__(self, files: WeightFiles) -> None:
        tensors = files.tensors("text.safetensors")
        self._row_of = tensors["row_of"]
        self._rows = tensors["rows"]
        self._scale = tensors["rows.scale"].astype(np.float32)
        self._read = Readout.of(tensors)
        self._pieces = Pieces(
            files.read("tokenizer.json"), unknown_id=int(files.manifest["text"]["unknown_id"])
        )

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts.

        Args:
            texts: any language; words unknown in every form count for nothing.

        Returns:
            float32 [N, dim], any length; zero rows for texts without a known word.
        """
        flat, counts = self._pieces.split(texts)
        return self._read(self._sums(flat, counts))

    def _sums(self, flat: Ids, counts: Ids) -> Floats:
        """Add up the rows of each text, float32 [N, R]: texts of one number of pieces at once."""
        sums = np.zeros((len(counts), self._rows.shape[1]), dtype=np.float32)
        starts = np.cumsum(counts) - counts
        for count in np.unique(counts[counts > 0]):
            here = np.flatnonzero(counts == count)
            rows = self._row_of[flat[starts[here, None] + np.arange(count)]]
            values = self._rows[rows].astype(np.float32) * self._scale[rows][..., None]
            sums[here] = values.sum(axis=1)
        return sums
