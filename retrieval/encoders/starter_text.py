"""The starter's text tower: a table of word-piece vectors, averaged and mapped into the space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import WeightFiles, dequantise
from retrieval.errors import ModelError

_MAX_PIECES = 256


class TextTower:
    """Encode texts with a table distilled from a sentence encoder; word order plays no part.

    Args:
        files: the starter's weights.
    """

    def __init__(self, files: WeightFiles) -> None:
        from tokenizers import Tokenizer

        tensors = files.tensors("text.safetensors")
        self._rows = tensors["rows"]
        self._scale = tensors["rows.scale"].astype(np.float32)
        self._map = dequantise(tensors, "map")
        self._unknown: int = files.manifest["text"]["unknown_id"]
        try:
            self._tokenizer = Tokenizer.from_buffer(files.read("tokenizer.json"))
        except ValueError as error:
            raise ModelError(
                f"the starter's tokenizer cannot be read: {error}; reinstall crossfind",
                code="model_unavailable",
            ) from error

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts.

        Args:
            texts: any language; words unknown in every form count for nothing.

        Returns:
            float32 [N, dim], any length; zero rows for texts without a known word.
        """
        # A lone surrogate (half a character, as some file names have) cannot reach the tokenizer.
        safe = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
        encoded = self._tokenizer.encode_batch_fast(safe, add_special_tokens=False)
        pieces = [e.ids[:_MAX_PIECES] for e in encoded]
        counts = np.fromiter((len(p) for p in pieces), dtype=np.int64, count=len(pieces))
        flat = np.fromiter(chain.from_iterable(pieces), dtype=np.int64, count=int(counts.sum()))
        weights = self._scale[flat] * (flat != self._unknown)
        sums = np.zeros((len(texts), self._rows.shape[1]), dtype=np.float32)
        if len(flat):
            filled = np.flatnonzero(counts)
            starts = np.concatenate([[0], np.cumsum(counts[filled])[:-1]])
            values = self._rows[flat].astype(np.float32) * weights[:, None]
            sums[filled] = np.add.reduceat(values, starts, axis=0) / counts[filled][:, None]
        return np.asarray(sums @ self._map, dtype=np.float32)
