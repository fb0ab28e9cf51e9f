"""Train the text table: a row for each word piece, averaged and mapped, against the teacher."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_text import Pieces
from retrieval.training.starter.corpus import Lesson, Vectors

if TYPE_CHECKING:
    import torch

ROW_DIM = 256


@dataclass(frozen=True, slots=True)
class Table:
    """A trained text tower.

    Attributes:
        tokenizer: JSON of the tokenizer.
        row_of: int32 [V], token id -> row.
        rows: float32 [R, 256].
        map: float32 [256, 384].
    """

    tokenizer: str
    row_of: npt.NDArray[np.int32]
    rows: Vectors
    map: Vectors


def make_tokenizer(base: Path, *, words: list[str], tails: set[str]) -> tuple[str, list[str]]:
    """Extend a WordPiece tokenizer by whole words.

    Args:
        base: tokenizer.json of the teacher.
        words: new words; each gets a row.
        tails: those that may also end a compound (German); they share the word's row.

    Returns:
        The tokenizer's JSON, and its tokens by id; the last ones are the tails.
    """
    data: dict[str, Any] = json.loads(base.read_text(encoding="utf-8"))
    old = sorted(data["model"]["vocab"].items(), key=lambda pair: pair[1])
    special = ["[PAD]", "[UNK]"]
    kept = [t for t, _ in old if t.isascii() and not t.startswith("[")]
    fresh = [w for w in words if w not in set(kept)]
    ends = [f"##{w}" for w in fresh if w in tails and f"##{w}" not in set(kept)]
    tokens = special + kept + fresh + ends
    data["model"]["vocab"] = {token: number for number, token in enumerate(tokens)}
    data["normalizer"]["handle_chinese_chars"] = False
    data["truncation"] = data["padding"] = data["post_processor"] = None
    data["added_tokens"] = []
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")), tokens


def rows_of(tokens: list[str]) -> npt.NDArray[np.int32]:
    """Give each token its row; a tail `##word` shares the row of the added `word`.

    Args:
        tokens: by id.

    Returns:
        int32 [V]; row 0 is that of `[PAD]` and `[UNK]` and stays zero.
    """
    first_tail = len(tokens)
    while tokens[first_tail - 1].startswith("##"):
        first_tail -= 1
    place = {token: max(0, number - 1) for number, token in enumerate(tokens[:first_tail])}
    return np.array(
        [place[t] if t in place else place[t.removeprefix("##")] for t in tokens], dtype=np.int32
    )


def train_table(
    *,
    base: Path,
    words: list[str],
    tails: set[str],
    alone: tuple[list[str], Vectors],
    lesson: Lesson,
    n_epochs: int,
    seed: int,
    batch_size: int = 512,
) -> tuple[Table, float]:
    """Train the table by 1 - cosine to the teacher's vectors.

    Args:
        base: the teacher's tokenizer.json.
        words: words that get new rows.
        tails: see `make_tokenizer`.
        alone: tokens as texts of their own (without `##`) and their vectors: where rows start.
        lesson: all texts; every 40th is held out.
        n_epochs: passes.
        seed: of order and choice.
        batch_size: texts a step.

    Returns:
        The table, and the mean cosine on the texts held out.
    """
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer, tokens = make_tokenizer(base, words=words, tails=tails)
    row_of = rows_of(tokens)
    flat, counts = Pieces(tokenizer.encode("utf-8"), unknown_id=1).split(lesson.texts)
    bags = Bags(row_of.astype(np.int64)[flat], counts)
    usable = np.flatnonzero(counts > 0)
    held, used = usable[::40], np.setdiff1d(usable, usable[::40])
    first, rows, mapped = _start(tokens, row_of, alone=alone, bags=bags)
    anchored = torch.tensor(np.flatnonzero(np.abs(first).sum(1) > 0))
    anchors, targets = torch.tensor(first), torch.tensor(lesson.targets)
    weights = torch.tensor(lesson.weights)
    optimiser = torch.optim.Adam([{"params": [rows], "lr": 2e-3}, {"params": [mapped], "lr": 3e-4}])
    n_steps = max(1, n_epochs * (len(used) // batch_size))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    cosine = torch.nn.functional.cosine_similarity
    for _ in range(n_steps):
        chosen = rng.choice(used, min(batch_size, len(used)), replace=False)
        close = cosine(bags.mean(rows, chosen) @ mapped, targets[chosen])
        some = anchored[torch.randint(0, len(anchored), (256,))]
        alike = cosine(rows[some] @ mapped, anchors[some])
        loss = (weights[chosen] * (1 - close)).mean() + 0.4 * (1 - alike).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        rows[0] = 0.0
        score = float(cosine(bags.mean(rows, held) @ mapped, targets[held]).mean())
    return Table(tokenizer, row_of, rows.detach().numpy(), mapped.detach().numpy()), score


class Bags:
    """The rows that each text is the mean of.

    Args:
        flat: int64 [P], rows of all texts one after the other.
        counts: int64 [N], how many each text has.
    """

    def __init__(self, flat: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        self.flat = flat
        self._counts = counts
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]])

    def mean(self, rows: torch.Tensor, chosen: npt.NDArray[np.int64]) -> torch.Tensor:
        """Average the rows of the chosen texts: float32 [len(chosen), 256]."""
        import torch

        spans = [slice(self._starts[i], self._starts[i] + self._counts[i]) for i in chosen]
        ids = np.concatenate([self.flat[span] for span in spans])
        offsets = np.concatenate([[0], np.cumsum(self._counts[chosen])[:-1]])
        return torch.nn.functional.embedding_bag(
            torch.tensor(ids), rows, torch.tensor(offsets), mode="mean"
        )


def _start(
    tokens: list[str],
    row_of: npt.NDArray[np.int32],
    *,
    alone: tuple[list[str], Vectors],
    bags: Bags,
) -> tuple[Vectors, torch.nn.Parameter, torch.nn.Parameter]:
    """Start rows at the teacher's vector of the token alone, shorter where it is frequent."""
    import torch

    known = dict(zip(alone[0], alone[1], strict=True))
    first = np.zeros((int(row_of.max()) + 1, alone[1].shape[1]), dtype=np.float32)
    for token, row in zip(tokens, row_of, strict=True):
        if token.removeprefix("##") in known and not first[row].any():
            first[row] = known[token.removeprefix("##")]
    basis = np.linalg.svd(np.stack(list(known.values())), full_matrices=False)[2][:ROW_DIM]
    seen = np.bincount(bags.flat, minlength=len(first)) / max(1, len(bags.flat))
    scale = (1e-3 / (1e-3 + seen)).astype(np.float32)[:, None]
    rows = torch.nn.Parameter(torch.tensor((first @ basis.T) * scale))
    return first, rows, torch.nn.Parameter(torch.tensor(basis.copy()))
