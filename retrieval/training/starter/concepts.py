"""Vectors of names that lean towards pictures of what they name, so that sounds find pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.encoders.starter_head import unit
from retrieval.training.starter.corpus import Vectors

_NEAR, _N_NEAREST, _WIDTH = 0.6, 20, 0.05
_LEAN = 0.6


@dataclass(frozen=True, slots=True)
class Concepts:
    """Titled pictures in the space.

    Attributes:
        titles: unit float32 [N, 384], vectors of the titles.
        pictures: unit float32 [N, 384], vectors of the pictures.
    """

    titles: Vectors
    pictures: Vectors

    def leaning(
        self, encode_texts: Callable[[Sequence[str]], Vectors], *, lean: float = _LEAN
    ) -> Callable[[Sequence[str]], Vectors]:
        """Make an encoder of names whose vectors lean towards the pictures of like titles.

        A name's pictures are the 20 whose titles are nearest to it, of a cosine above 0.6, the
        nearest counting most. What all pictures have in common is taken off, else every name
        would come nearer to every picture.

        Args:
            encode_texts: names -> unit float32 [N, 384].
            lean: length of the pictures' part, beside 1 for the name; a name without a picture
                stays as it is.

        Returns:
            names -> unit float32 [N, 384].
        """
        common = self.pictures.mean(axis=0)

        def encode(names: Sequence[str]) -> Vectors:
            vectors = encode_texts(names)
            out = vectors.copy()
            for row, close in enumerate(vectors @ self.titles.T):
                near = np.argsort(-close, kind="stable")[:_N_NEAREST]
                near = near[close[near] > _NEAR]
                if len(near):
                    weights = np.exp((close[near] - close[near[0]]) / _WIDTH)
                    seen = weights @ self.pictures[near] / weights.sum() - common
                    out[row] += np.float32(lean) * seen / np.linalg.norm(seen)
            return unit(out)

        return encode
