"""Fine-tune the trunk's last blocks, with the head, on drawings; what it says of photos stays.

The drawings pull the last blocks from photos towards outlines and flat colours. A second loss
holds them back: the probabilities of the classes stay near those of the published network, on
drawings and on photos, whose labels are not used (learning without forgetting, Li and Hoiem 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.training.starter import efficientnet, image
from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.image import HeadPlan, Pairs, Prototypes, TrainedHead
from retrieval.training.starter.looks import Looks

if TYPE_CHECKING:
    import torch

    Folded = dict[str, torch.Tensor]

Rows = npt.NDArray[np.int64]
_MICRO = 128  # pictures that pass the network at once
_TELL_EVERY = 20
_FROZEN = "_depthwise_conv.weight"
_INITIAL_SCALE = 20.0


@dataclass(frozen=True, slots=True)
class TailPlan:
    """How the last blocks and the head are tuned.

    Attributes:
        n_steps, n_drawings, n_photos: steps, and pictures of each kind a step.
        rate: highest learning rate of the blocks; `head.rate` is that of the head.
        moved_chance: how often a drawing is shown moved.
        keep_drawings, keep_photos: weights of the classes' divergence, for each of the drawings.
        average: of the weights over the steps (EMA).
        share: how far to go from the start to that average; what lies between forgets less
            (WiSE-FT, Wortsman et al. 2022).
        head: dropout, prototypes and colours of the head's training, and the seed.
    """

    n_steps: int = 560
    n_drawings: int = 320
    n_photos: int = 40
    rate: float = 3e-4
    moved_chance: float = 0.5
    keep_drawings: float = 1.0
    keep_photos: float = 4.0
    average: float = 0.995
    share: float = 0.75
    head: HeadPlan = HeadPlan(  # noqa: RUF009 - frozen
        rate=5e-4, dropout=0.45, n_prototypes=300, group_weight=0.5
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures to tune on.

    Attributes:
        plain, moved: of the drawings of `Pairs`, in its order.
        photos: without labels; may be empty.
    """

    plain: Looks
    moved: Looks
    photos: Looks | None


def tune(
    pairs: Pairs,
    *,
    seen: Seen,
    classes: Prototypes,
    head: TrainedHead,
    folded: Folded,
    classifier: tuple[Vectors, Vectors],
    variant: int,
    plan: TailPlan,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Folded, TrainedHead]:
    """Tune the blocks after `efficientnet.early` and a trained head together.

    Args:
        pairs: drawings and texts.
        seen: the drawings, and photos, as the first blocks give them.
        classes: stand-ins of the classes.
        head: where to start.
        folded: the published network.
        classifier: its weight float32 [1000, 1280] and bias float32 [1000].
        variant: of the network.
        plan: how.
        tell: told the step and the loss now and then.

    Returns:
        The network and the head, averaged over the steps.
    """
    import torch

    torch.manual_seed(plan.head.seed)
    tuner = _Tuner(pairs, seen, classes, _Network(folded, head, variant, plan), classifier, plan)
    for step in range(plan.n_steps):
        loss = tuner.step()
        if (step + 1) % _TELL_EVERY == 0:
            tell(f"step {step + 1} of {plan.n_steps}: loss {loss:.2f}")
    return tuner.network.result(folded, head)


def features(looks: Looks, *, folded: Folded, variant: int) -> Vectors:
    """Compute what the tuned network makes of pictures: float32 [N, 1280]."""
    import torch

    parts = []
    with torch.no_grad():
        for start in range(0, len(looks), _MICRO):
            late = looks.late[start : start + _MICRO]
            parts.append(_pooled(late, folded=folded, variant=variant).numpy())
    return np.concatenate(parts)


def _pooled(
    late: npt.NDArray[np.float16],
    *,
    folded: Mapping[str, torch.Tensor],
    variant: int,
    filtered: efficientnet.Filter | None = None,
) -> torch.Tensor:
    import torch

    seen = torch.from_numpy(np.array(late)).float().permute(0, 3, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return efficientnet.late(seen, folded=folded, variant=variant, filtered=filtered)


class _Network:
    """The last blocks and the head, and the averages of what is learnt of them."""

    def __init__(self, folded: Folded, head: TrainedHead, variant: int, plan: TailPlan) -> None:
        import torch

        self._variant, self._plan = variant, plan
        first = efficientnet.early_blocks(variant)
        early = ("_conv_stem.", *(f"{block.name}." for block in first))
        late = {k: v.clone() for k, v in folded.items() if not k.startswith(early)}
        self._late = {
            k: torch.nn.Parameter(v, requires_grad=not k.endswith(_FROZEN)) for k, v in late.items()
        }
        self.blocks = [p for p in self._late.values() if p.requires_grad]
        self.head = [torch.nn.Parameter(torch.tensor(head.tensors[k])) for k in image.LEARNT]
        self._mean, self._spread = (torch.tensor(head.tensors[k]) for k in ("mean", "spread"))
        self._averages = [p.detach().clone() for p in self.blocks + self.head]
        self._n_averaged = 0

    def features(self, late: npt.NDArray[np.float16]) -> torch.Tensor:
        """Pool the last stage: float16 [N, S, S, C] -> float32 [N, 1280]."""
        import torch

        parts = (late[start : start + _MICRO] for start in range(0, len(late), _MICRO))
        return torch.cat(
            [
                _pooled(part, folded=self._late, variant=self._variant, filtered=_filtered)
                for part in parts
            ]
        )

    def standardised(
        self, features: torch.Tensor, colours: Vectors, middle: npt.NDArray[np.float16]
    ) -> torch.Tensor:
        """Make the head's inputs [N, F + 12 + M]."""
        import torch

        rooted = (features.clamp(min=0) + 1e-6).sqrt()
        rest = (torch.from_numpy(np.sqrt(colours)), torch.from_numpy(middle.astype(np.float32)))
        return (torch.cat([rooted, *rest], dim=1) - self._mean) / self._spread

    def vectors(self, inputs: torch.Tensor) -> torch.Tensor:
        """Run the head: unit float32 [N, 384]."""
        import torch
        import torch.nn.functional as nnf

        w1, b1, w2, b2 = self.head
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = nnf.gelu(nnf.linear(inputs, w1, b1), approximate="tanh")
            made = nnf.linear(nnf.dropout(hidden, self._plan.head.dropout), w2, b2)
        return nnf.normalize(made.float(), dim=1)

    def average(self) -> None:
        """Take the weights of this step into the averages."""
        import torch

        self._n_averaged += 1
        kept = min(self._plan.average, self._n_averaged / (self._n_averaged + 9))
        with torch.no_grad():
            for mean, learnt in zip(self._averages, self.blocks + self.head, strict=True):
                mean.lerp_(learnt, 1 - kept)

    def result(self, folded: Folded, head: TrainedHead) -> tuple[Folded, TrainedHead]:
        """Give what lies between the start and the averages."""
        names = [k for k, p in self._late.items() if p.requires_grad]
        share = self._plan.share
        blocks = {
            name: folded[name].lerp(mean, share)
            for name, mean in zip(names, self._averages, strict=False)
        }
        learnt = {
            name: head.tensors[name] + np.float32(share) * (mean.numpy() - head.tensors[name])
            for name, mean in zip(image.LEARNT, self._averages[len(names) :], strict=True)
        }
        return {**folded, **blocks}, TrainedHead({**head.tensors, **learnt})


class _Tuner:
    """One step after another."""

    def __init__(
        self,
        pairs: Pairs,
        seen: Seen,
        classes: Prototypes,
        network: _Network,
        classifier: tuple[Vectors, Vectors],
        plan: TailPlan,
    ) -> None:
        import torch

        from retrieval.training.losses import Scale

        self._pairs, self._seen, self._classes, self._plan = pairs, seen, classes, plan
        self.network = network
        self._rng = np.random.default_rng(plan.head.seed)
        self._classifier = [torch.from_numpy(part) for part in classifier]
        self._scale = Scale(initial=_INITIAL_SCALE)
        self._said = self._log_odds(torch.from_numpy(pairs.features))
        self._said_of_photos = self._of_photos()
        plain: dict[str, Any] = {"weight_decay": 0.0}
        groups = [
            {"params": network.blocks, "lr": plan.rate, **plain},
            {"params": network.head, "lr": plan.head.rate, "weight_decay": 0.05},
            {"params": list(self._scale.parameters()), "lr": plan.head.rate, **plain},
        ]
        self._optimiser = torch.optim.AdamW(groups)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, [g["lr"] for g in groups], plan.n_steps + 1, pct_start=0.08
        )

    def _log_odds(self, features: torch.Tensor) -> torch.Tensor:
        weight, bias = self._classifier
        return features @ weight.T + bias

    def _of_photos(self) -> torch.Tensor:
        import torch

        photos = self._seen.photos
        if photos is None or not self._plan.n_photos:
            return torch.zeros(0, len(self._classifier[1]))
        with torch.no_grad():
            return self._log_odds(self.network.features(photos.late))

    def step(self) -> float:
        """Draw pictures, move the weights against the gradient of the losses, and give those."""
        import torch

        pairs, plan, rng = self._pairs, self._plan, self._rng
        n = min(plan.n_drawings, int((pairs.chances > 0).sum()))
        at = rng.choice(len(pairs.chances), n, replace=False, p=pairs.chances)
        photos = rng.permutation(len(self._said_of_photos))[: plan.n_photos]
        late, middle = self._shown(at, photos)
        features = self.network.features(late)
        loss = self._contrast(features[:n], at, middle)
        loss = loss + plan.keep_drawings * self._away(features[:n], self._said[at])
        if len(photos):
            away = self._away(features[n:], self._said_of_photos[photos])
            loss = loss + plan.keep_photos * len(photos) / n * away
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.blocks, 1.0)
        self._optimiser.step()
        self._schedule.step()
        self.network.average()
        return float(loss.detach())

    def _shown(
        self, at: Rows, photos: Rows
    ) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
        """Look up drawings, some moved, and photos; half of all are mirrored."""
        seen, rng = self._seen, self._rng
        late, middle = seen.plain.late[at], seen.plain.middle[at]
        chosen = rng.random(len(at)) < self._plan.moved_chance
        late[chosen], middle[chosen] = seen.moved.late[at[chosen]], seen.moved.middle[at[chosen]]
        if seen.photos is not None and len(photos):
            late = np.concatenate([late, seen.photos.late[photos]])
        mirrored = rng.random(len(late)) < 0.5
        late[mirrored] = late[mirrored][:, :, ::-1]
        return late, middle

    def _contrast(
        self, features: torch.Tensor, at: Rows, middle: npt.NDArray[np.float16]
    ) -> torch.Tensor:
        """InfoNCE of the drawings and of prototypes, as in `image.train_head`."""
        import torch
        import torch.nn.functional as nnf

        from retrieval.training.losses import infonce

        pairs, classes, rng = self._pairs, self._classes, self._rng
        drawn = image.draw(classes, plan=self._plan.head, rng=rng)
        texts, hard = image.words(pairs, at, colour_chance=self._plan.head.colour_chance, rng=rng)
        named = (classes.names if rng.random() < 0.6 else classes.kinds)[drawn]
        inputs = self.network.standardised(features, pairs.colours[at], middle)
        stand_ins = image.stand_ins(classes, drawn, inputs.detach().numpy(), rng)
        wanted = torch.from_numpy(np.concatenate([texts, named]))
        groups = np.concatenate([pairs.groups[at], 10**6 + drawn])
        return infonce(
            self.network.vectors(torch.cat([inputs, torch.from_numpy(stand_ins)])),
            targets=nnf.normalize(wanted, dim=1),
            scale=self._scale,
            positives=image.same(groups, n_hard=len(hard)),
            hard_targets=nnf.normalize(torch.from_numpy(hard), dim=1),
        )

    def _away(self, features: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """How far the classes' probabilities are from those before: KL divergence, the mean."""
        import torch.nn.functional as nnf

        now, before = (nnf.log_softmax(x, 1) for x in (self._log_odds(features), said))
        return nnf.kl_div(now, before, log_target=True, reduction="batchmean")


def _filtered(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Filter each channel; torch's own gradient of this is ten times as slow on a CPU."""
    filtered: torch.Tensor = _frozen_filter().apply(x, kernel.to(x.dtype), bias.to(x.dtype))
    return filtered


@cache
def _frozen_filter() -> Any:  # Any: a class made once torch is there
    import torch
    import torch.nn.functional as nnf

    class Frozen(torch.autograd.Function):
        """No gradient of the kernel; that of the input is a filter with it turned round."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor) -> Any:
            ctx.save_for_backward(kernel)
            return nnf.conv2d(x, kernel, bias, padding=kernel.shape[2] // 2, groups=len(kernel))

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            (kernel,) = ctx.saved_tensors
            gradient = gradients[0].contiguous(memory_format=torch.channels_last)
            pad = kernel.shape[2] // 2
            back = nnf.conv2d(gradient, kernel.flip(2, 3), padding=pad, groups=len(kernel))
            return back, None, gradient.float().sum((0, 2, 3))

    return Frozen
