"""Checkpoints: tensors and JSON in one safetensors file, nothing in it that could run.

A checkpoint holds all that the next step depends on: weights, their average, the best ones so far,
the optimizer's moments, the random generators' states, the hard negatives and the place in the
data. So a resumed run is the run that was never interrupted, bit for bit on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from index.storage import publish
from retrieval.errors import ModelError, UsageError

__all__ = ["Place", "load_checkpoint", "pack", "save_checkpoint", "unpack"]

_FORMAT = "crossfind-checkpoint 1"


@dataclass
class Place:
    """Where a training is.

    Attributes:
        epoch, step_in_epoch, step: next to be done, all from 0.
        best_score, best_epoch: of the validations so far; -1 for none yet.
        n_since_best: validations since then.
        stopped_early: no further step will be done.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_score: float = -1.0
    best_epoch: int = -1
    n_since_best: int = 0
    stopped_early: bool = False


def save_checkpoint(
    path: Path, *, tensors: Mapping[str, Tensor], place: Place, settings: Mapping[str, object]
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: where; the last checkpoint there is replaced.
        tensors: name -> tensor on any device.
        place: where the training is.
        settings: what must be the same when it is resumed; JSON values.

    Raises:
        StorageError: the disk refused; the last checkpoint is as it was.
    """
    from safetensors.torch import save

    info = {"format": _FORMAT, "place": json.dumps(asdict(place)), "settings": json.dumps(settings)}
    raw = save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata=info)

    def write(out: BinaryIO) -> None:
        out.write(raw)

    publish(path, tmp=path.parent, write=write)


def load_checkpoint(
    path: Path, *, settings: Mapping[str, object]
) -> tuple[dict[str, Tensor], Place]:
    """Read a checkpoint of the same training.

    Args:
        path: an existing file.
        settings: of the training to be resumed.

    Returns:
        Its tensors, on the CPU, and the place.

    Raises:
        ModelError: not a checkpoint of ours, or damaged (`checkpoint_damaged`).
        UsageError: made with other settings or data (`checkpoint_mismatch`).
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("format") != _FORMAT:
            raise ValueError(f"format is {header.get('format')!r}")
        found: dict[str, Any] = json.loads(header["settings"])  # Any: compared, never used
        place = Place(**json.loads(header["place"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is not a checkpoint that crossfind wrote ({error}); remove it to start anew",
            code="checkpoint_damaged",
        ) from error
    wanted = json.loads(json.dumps(settings))
    differing = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    if differing:
        changes = ", ".join(f"{k}: {found.get(k)} then, {wanted.get(k)} now" for k in differing)
        raise UsageError(
            f"{path} belongs to another training ({changes}); use the same options or remove it",
            code="checkpoint_mismatch",
        )
    return tensors, place


def pack(
    *, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Tensor]:
    """Collect the tensors of models, of the first model's optimizer, and the generators' states.

    Args:
        models: prefix -> module; the first is the one that the optimizer trains.
        optimizer: its per-parameter state is named after the parameters.
        device: whose generator is saved beside the CPU's.

    Returns:
        Name -> tensor.
    """
    out = {f"{p}.{name}": t for p, m in models.items() for name, t in m.state_dict().items()}
    trained = next(iter(models.values()))
    for name, parameter in trained.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"optimizer.{key}.{name}"] = value
    out["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        out["random.cuda"] = torch.cuda.get_rng_state(device)
    return out


def unpack(
    tensors: Mapping[str, Tensor],
    *,
    models: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> None:
    """Put back what `pack` collected.

    Args:
        tensors: from `load_checkpoint`.
        models, optimizer, device: as for `pack`.

    Raises:
        ModelError: names or shapes are not those of this model (`checkpoint_damaged`).
    """
    try:
        for prefix, module in models.items():
            module.load_state_dict(
                {n: tensors[f"{prefix}.{n}"] for n in module.state_dict()}, strict=True
            )
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"the checkpoint does not fit the model ({error}); remove it to start anew",
            code="checkpoint_damaged",
        ) from error
    trained = next(iter(models.values()))
    for name, parameter in trained.named_parameters():
        state = {
            full.split(".", 2)[1]: value
            for full, value in tensors.items()
            if full.startswith("optimizer.") and full.split(".", 2)[2] == name
        }
        if state:
            # AdamW keeps its step count on the CPU and the moments beside the parameter.
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device)
                for key, value in state.items()
            }
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
