"""An optimizer for networks of convolutions: Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM, _DECAY, _ROUNDS = 0.95, 0.05, 4


class MuonAdam(torch.optim.Optimizer):
    """Step matrices by Muon (Jordan 2024; scaled as by Liu et al. 2025), the others by AdamW.

    Muon takes the step whose singular values are all one, nearly; it needs about half the steps.
    torch's own takes matrices only; here a kernel counts as one, with its outputs as rows.

    Args:
        matrices: parameters of two or more dimensions.
        others: all the others.
    """

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter]) -> None:
        groups = [{"params": matrices, "matrix": True}, {"params": others, "matrix": False}]
        super().__init__(groups, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step at each group's `lr`.

        Args:
            closure: must be None; the gradients are there already.
        """
        assert closure is None
        matrices, others = self.param_groups
        torch.nn.utils.clip_grad_norm_(others["params"], 5.0)
        for p in matrices["params"]:
            _muon(p, self.state[p], rate=matrices["lr"])
        for p in others["params"]:
            _adam(p, self.state[p], rate=0.75 * others["lr"])

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the matrices; that of the others is three quarters of it."""
        for group in self.param_groups:
            group["lr"] = rate


def _muon(p: nn.Parameter, state: dict[str, Any], *, rate: float) -> None:
    assert p.grad is not None
    momentum = state.setdefault("momentum", torch.zeros_like(p))
    momentum.mul_(_MOMENTUM).add_(p.grad)
    flat = p.grad.add(momentum, alpha=_MOMENTUM).reshape(len(p), -1)
    p.mul_(1 - _DECAY * rate)
    p.sub_(orthogonal(flat).view(p.shape), alpha=0.2 * rate * max(flat.shape) ** 0.5)


def _adam(p: nn.Parameter, state: dict[str, Any], *, rate: float) -> None:
    assert p.grad is not None
    n = state["step"] = state.get("step", torch.zeros(())) + 1
    mean = state.setdefault("mean", torch.zeros_like(p))
    square = state.setdefault("square", torch.zeros_like(p))
    mean.lerp_(p.grad, 0.1)
    square.lerp_(p.grad * p.grad, 0.001)
    p.mul_(1 - 0.01 * rate)
    spread = (square / (1 - 0.999 ** float(n))).sqrt_().add_(1e-8)
    p.addcdiv_(mean, spread, value=-rate / (1 - 0.9 ** float(n)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring the singular values near one by four Newton-Schulz steps of fifth order.

    Args:
        matrix: float32 [R, C].

    Returns:
        float32 [R, C], computed in bfloat16; singular values about 0.7 to 1.2.
    """
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    out: Tensor = (x.T if tall else x).float()
    return out
