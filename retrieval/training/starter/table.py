"""Train the text table: a row for each word piece, averaged and mapped, against the teacher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_head import unit
from retrieval.encoders.starter_text import Pieces, Readout
from retrieval.training.starter.corpus import Lesson, Vectors

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int64]
ROW_DIM = 256


@dataclass(frozen=True, slots=True)
class Table:
    """A trained text tower.

    Attributes:
        tokenizer: JSON of the tokenizer.
        row_of: int32 [V], token id -> row.
        rows: float32 [R, 256].
        read: maps the mean of a text's rows into the space.
    """

    tokenizer: str
    row_of: npt.NDArray[np.int32]
    rows: Vectors
    read: Readout

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as the encoder will, before quantisation.

        Args:
            texts: [N].

        Returns:
            float32 [N, 384], unit length (zero for texts without a known word).
        """
        bags = Bags(self, texts=texts)
        sums = np.zeros((len(texts), self.rows.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), _BLOCK):
            ids, owners, _ = bags.of(np.arange(start, min(start + _BLOCK, len(texts))))
            np.add.at(sums, owners + start, self.rows[ids])
        return unit(self.read(sums))


def make_tokenizer(
    base: Path, *, words: Sequence[str], tails: set[str]
) -> tuple[str, list[str], npt.NDArray[np.int32]]:
    """Extend a WordPiece tokenizer by whole words.

    Args:
        base: tokenizer.json of the teacher.
        words: new words; each gets a row.
        tails: those that may also end a compound (German); they share the word's row.

    Returns:
        The tokenizer's JSON, its tokens by id, and the row of each, int32 [V]: a tail `##word` has
        that of its `word`; row 0 is that of `[PAD]` and `[UNK]` and stays zero.
    """
    data: dict[str, Any] = json.loads(base.read_text(encoding="utf-8"))
    old = sorted(data["model"]["vocab"].items(), key=lambda pair: pair[1])
    special = ["[PAD]", "[UNK]"]
    kept = [t for t, _ in old if t.isascii() and not t.startswith("[")]
    old_ones = set(kept)
    fresh = [w for w in words if w not in old_ones]
    ends = [w for w in fresh if w in tails and f"##{w}" not in old_ones]
    tokens = special + kept + fresh + [f"##{w}" for w in ends]
    data["model"]["vocab"] = {token: number for number, token in enumerate(tokens)}
    data["normalizer"]["handle_chinese_chars"] = False
    data["truncation"] = data["padding"] = data["post_processor"] = None
    data["added_tokens"] = []
    rows = [0, *range(len(tokens) - len(ends) - 1)]
    place = dict(zip(tokens, rows, strict=False))
    row_of = np.array(rows + [place[w] for w in ends], dtype=np.int32)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")), tokens, row_of


# A piece that has this share of all pieces starts at half the length of a rare one.
_FREQUENT = 1e-3
_HELD_OUT = 40  # every 40th text
_HIDDEN = 256
_BLOCK = 4096


def start_table(
    base: Path,
    *,
    words: Sequence[str],
    tails: set[str],
    alone: Mapping[str, Vectors],
    texts: Sequence[str],
) -> Table:
    """Make a table whose rows are the teacher's vectors of the pieces as texts of their own.

    Args:
        base: the teacher's tokenizer.json.
        words: words that get new rows.
        tails: see `make_tokenizer`.
        alone: piece without `##` -> the teacher's vector, float32 [384].
        texts: what will be learnt; pieces that are frequent there start shorter.

    Returns:
        The table; rows of other words are zero.
    """
    tokenizer, tokens, row_of = make_tokenizer(base, words=words, tails=tails)
    first = np.zeros((int(row_of.max()) + 1, len(next(iter(alone.values())))), dtype=np.float32)
    for token, row in zip(tokens, row_of, strict=True):
        if row and token.removeprefix("##") in alone:
            first[row] = alone[token.removeprefix("##")]
    # The directions in which the pieces differ most.
    basis = np.linalg.eigh(first.T @ first)[1].T[::-1][:ROW_DIM].copy()
    flat, _ = Pieces(tokenizer.encode("utf-8"), unknown_id=1).split(texts)
    seen = np.bincount(row_of[flat], minlength=len(first)) / max(1, len(flat))
    scale = (_FREQUENT / (_FREQUENT + seen)).astype(np.float32)[:, None]
    rng = np.random.default_rng(0)
    inner = rng.normal(scale=6 / 16 / 1.7, size=(ROW_DIM, _HIDDEN)).astype(np.float32)
    outer = np.zeros((_HIDDEN, basis.shape[1]), dtype=np.float32)
    read = Readout(basis, inner, np.zeros(_HIDDEN, np.float32), outer)
    return Table(tokenizer, row_of, (first @ basis.T) * scale, read)


def train_table(
    table: Table,
    *,
    lesson: Lesson,
    n_epochs: int,
    seed: int,
    batch_size: int = 1024,
    rate: float = 2e-3,
) -> tuple[Table, float]:
    """Train rows and readout by 1 - cosine to the teacher's vectors.

    Adam moves only the rows that a batch uses ("lazy"), so a step costs as much as its texts,
    however large the table is.

    Args:
        table: where to start.
        lesson: the texts; every 40th is held out.
        n_epochs: passes.
        seed: of the order.
        batch_size: texts a step.
        rate: learning rate of the rows, which falls to 0 along a cosine; the readout's is half.

    Returns:
        The table, and the mean cosine on the texts held out.
    """
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    bags = Bags(table, texts=lesson.texts)
    held, used = bags.usable[::_HELD_OUT], np.delete(bags.usable, np.s_[::_HELD_OUT])
    rows = _LazyRows(table.rows)
    layers = Layers(table.read)
    optimiser = torch.optim.Adam(layers.parts)
    per_epoch = max(1, len(used) // batch_size)
    cosine = torch.nn.functional.cosine_similarity
    for step in range(n_epochs * per_epoch):
        if step % per_epoch == 0:
            order = rng.permutation(used)
        place = step % per_epoch * batch_size
        chosen = order[place : place + batch_size]
        share = 0.5 * (1 + np.cos(np.pi * step / (n_epochs * per_epoch)))
        ids, owners, counts = bags.of(chosen)
        means = rows.means(ids, owners=owners, counts=counts)
        close = cosine(layers(means), torch.tensor(lesson.targets[chosen]))
        loss = (torch.tensor(lesson.weights[chosen]) * (1 - close)).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.param_groups[0]["lr"] = 0.5 * rate * share
        optimiser.step()
        rows.step(rate * share)
    trained = Table(table.tokenizer, table.row_of, rows.values.numpy(), layers.read())
    trained.rows[0] = 0.0
    made = trained.encode([lesson.texts[i] for i in held])
    return trained, float((made * lesson.targets[held]).sum(axis=1).mean())


class Layers:
    """A readout that can learn."""

    def __init__(self, read: Readout) -> None:
        import torch

        kept = (read.map, read.inner, read.bias, read.outer)
        self.parts = [torch.nn.Parameter(torch.tensor(part)) for part in kept]

    def __call__(self, means: torch.Tensor) -> torch.Tensor:
        """Map means float32 [N, 256] into the space, as `Readout` does."""
        import torch.nn.functional as nnf

        plain, inner, bias, outer = self.parts
        turned = nnf.normalize(means, dim=1)
        return turned @ plain + nnf.gelu(turned @ inner + bias, approximate="tanh") @ outer

    def read(self) -> Readout:
        """Give what was learnt."""
        return Readout(*(part.detach().numpy().copy() for part in self.parts))


class Bags:
    """The rows that each text is the mean of.

    Args:
        table: its tokenizer and rows.
        texts: [N].
    """

    def __init__(self, table: Table, *, texts: Sequence[str]) -> None:
        flat, self._counts = Pieces(table.tokenizer.encode("utf-8"), unknown_id=1).split(texts)
        self._flat = table.row_of.astype(np.int64)[flat]
        self._starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]])
        self.usable = np.flatnonzero(self._counts > 0)

    def of(self, chosen: Ids) -> tuple[Ids, Ids, Ids]:
        """Give the rows of texts int64 [P], the text of each [P], and their number by text."""
        counts = self._counts[chosen]
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])
        places = np.repeat(self._starts[chosen] - before, counts) + np.arange(int(counts.sum()))
        return self._flat[places], np.repeat(np.arange(len(chosen)), counts), counts


class _LazyRows:
    """Rows with Adam's two averages, of which a step touches only those in use."""

    def __init__(self, values: Vectors) -> None:
        import torch

        self.values = torch.tensor(values)
        self._first = torch.zeros_like(self.values)
        self._second = torch.zeros_like(self.values)
        self._steps = torch.zeros(len(values), 1)

    def means(self, ids: Ids, *, owners: Ids, counts: Ids) -> torch.Tensor:
        """Average rows by text: float32 [len(counts), 256]."""
        import torch

        used, place = np.unique(ids, return_inverse=True)
        self._used = torch.tensor(used)
        self._leaf = self.values[self._used].requires_grad_()
        sums = torch.zeros(len(counts), self.values.shape[1])
        sums = sums.index_add(0, torch.tensor(owners), self._leaf[torch.tensor(place)])
        return sums / torch.tensor(counts)[:, None]

    def step(self, rate: float) -> None:
        """Move the rows of the last `means` against their gradient."""
        at, gradient = self._used, self._leaf.grad
        if gradient is None:
            raise AssertionError("no gradient: call backward first")  # our own mistake
        self._steps[at] += 1
        self._first[at] = 0.9 * self._first[at] + 0.1 * gradient
        self._second[at] = 0.999 * self._second[at] + 0.001 * gradient**2
        mean = self._first[at] / (1 - 0.9 ** self._steps[at])
        spread = (self._second[at] / (1 - 0.999 ** self._steps[at])).sqrt() + 1e-8
        self.values[at] = self._leaf.detach() - rate * mean / spread
