"""How to train: every number a run depends on, and the learning rate they imply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Precision", "Recipe", "learning_rate_at"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        n_epochs: passes over the data at most.
        batch_size: rows of a step, over all ranks.
        learning_rate: highest one.
        warmup_share: share of all steps with a rising rate, in [0, 1).
        weight_decay: of matrices; biases and scales have none.
        clip_norm: longest gradient, over all parameters together.
        average_decay: of the exponential average of the weights, in [0, 1); 0 keeps none.
        patience_epochs: validations without a better score before it stops; a cosine schedule gains
            at its end, and 5 stopped groceries at .89 of the first hits that 10 brought to .97.
        checkpoint_steps: steps between checkpoints inside an epoch; 0: only at its end.
        precision: of matrix products (mixed precision): `auto` is bf16 or fp16 on CUDA and fp32
            on a CPU; fp16 scales the loss, and needs CUDA.
        seed: of everything random.
    """

    n_epochs: int = 30
    batch_size: int = 512
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average_decay: float = 0.99
    patience_epochs: int = 10
    checkpoint_steps: int = 0
    precision: Precision = "auto"
    seed: int = 0


def learning_rate_at(step: int, *, n_steps: int, recipe: Recipe) -> float:
    """Compute the rate of a step: linear warm-up, then a half cosine down to 0.

    Args:
        step: from 0.
        n_steps: in all.
        recipe: names the highest rate and the share of warm-up.

    Returns:
        The rate.

    Example:
        >>> recipe = Recipe(learning_rate=1.0, warmup_share=0.5)
        >>> [round(learning_rate_at(s, n_steps=4, recipe=recipe), 2) for s in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    n_warmup = round(n_steps * recipe.warmup_share)
    if step < n_warmup:
        return recipe.learning_rate * (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
