"""The ImageNet classes of the image trunk: their names, what they are kinds of, and groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_head import unit
from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.table import Table
from retrieval.training.starter.vocabulary import Kinds

_SMALLEST, _LARGEST = 2, 300
_SHOP = "mercantile establishment"


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes in the order of the classifier's rows.

    Attributes:
        words: names of each class, the usual one first.
        offsets: WordNet's noun of each class.
        wordnet: what is above them.
    """

    words: tuple[tuple[str, ...], ...]
    offsets: tuple[int, ...]
    wordnet: Kinds

    @classmethod
    def read(cls, folder: Path, *, wordnet: Kinds) -> Classes:
        """Read timm's lists of synsets and lemmas.

        Args:
            folder: `data/_info` of the installed timm.
            wordnet: WordNet's nouns.
        """
        synsets = (folder / "imagenet_synsets.txt").read_text("utf-8").split()
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
        lemmas = dict(line.split("\t", 1) for line in lines if "\t" in line)
        words = tuple(tuple(w.strip() for w in lemmas[s].split(",")) for s in synsets)
        return cls(words, tuple(int(s[1:]) for s in synsets), wordnet)

    def names(self, table: Table) -> Vectors:
        """Encode the names of each class, the first counting double: unit float32 [C, 384]."""
        return unit(np.stack([part.sum(axis=0) + part[0] for part in self._encoded(table)]))

    def kinds(self, table: Table) -> Vectors:
        """Encode what each class is a kind of, the mean of two levels: float32 [C, 384]."""
        above = [self.wordnet.above(offset) for offset in self.offsets]
        flat = table.encode([w for words in above for w in words])
        out = np.zeros((len(above), flat.shape[1]), dtype=np.float32)
        for row, (words, end) in enumerate(
            zip(above, np.cumsum([len(w) for w in above]), strict=True)
        ):
            if words:
                out[row] = flat[end - len(words) : end].mean(axis=0)
        return out

    def groups(self) -> list[tuple[list[int], list[str]]]:
        """List WordNet's nouns above 2 to 300 classes: (rows, up to two words), by offset."""
        members: dict[int, list[int]] = {}
        for row, offset in enumerate(self.offsets):
            for above in self.wordnet.roots(offset):
                members.setdefault(above, []).append(row)
        return [
            (rows, list(self.wordnet.names(offset)[:2]))
            for offset, rows in sorted(members.items())
            if _SMALLEST <= len(rows) <= _LARGEST
        ]

    def shops(self) -> npt.NDArray[np.bool_]:
        """Tell which classes are places where things are sold: bool [C].

        A photo of one thing on a shelf has much of `grocery store`, which hides the thing.
        """
        above = self.wordnet.meanings(_SHOP)
        return np.array([bool(self.wordnet.roots(offset) & above) for offset in self.offsets])

    def label_space(
        self, table: Table, *, kind: float = 0.8, near: float = 0.7, centre: float = 0.9
    ) -> Vectors:
        """Make the vectors that ConSE mixes: names and kinds, most of their mean taken off.

        The name that is most like the others of its class counts double. A kind counts
        `kind` * (1 - cosine to the names / `near`), never less than 0: one that is near says
        nothing new, and would make a shirt of each T-shirt.

        Args:
            table: the text table.
            kind: weight of a kind that has nothing in common with the names.
            near: cosine from which on a kind counts for nothing.
            centre: part of the mean that is taken off, so that no text is near every class.

        Returns:
            Unit float32 [C, 384].
        """
        own, above = self._usual(table), self.kinds(table)
        cosine = (own * unit(above)).sum(axis=1, keepdims=True)
        both = unit(own + np.float32(kind) * np.maximum(0, 1 - cosine / np.float32(near)) * above)
        return unit(both - np.float32(centre) * both.mean(axis=0))

    def _usual(self, table: Table) -> Vectors:
        """Encode the names of each class, the most usual counting double: unit float32 [C, 384]."""
        parts = self._encoded(table)
        usual = [part[(part @ part.T).sum(axis=1).argmax()] for part in parts]
        return unit(np.stack([p.sum(axis=0) + u for p, u in zip(parts, usual, strict=True)]))

    def _encoded(self, table: Table) -> list[Vectors]:
        """Encode the names of each class: float32 [names, 384] each."""
        flat = table.encode([w for words in self.words for w in words])
        return np.split(flat, np.cumsum([len(words) for words in self.words])[:-1])
