"""Make open_clip, timm and transformers importable beside a torch that torchvision does not match.

PyPI's torchvision is built for CUDA. Beside a CPU torch its import fails ("operator
torchvision::nms does not exist") and takes every model library with it. Nothing of torchvision
that crossfind uses needs its compiled part.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_SCHEMAS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# A library's operators vanish with the object that defined them.
_kept_alive: list[Any] = []  # Any: torch.library.Library


def cure_torchvision() -> str:
    """Define what `import torchvision` asks for, where its compiled part does not load.

    Call before the first import of open_clip, timm or transformers; calling again is free.

    Returns:
        `absent` (no torchvision), `matches` (its own part loaded) or `cured`.

    Example:
        >>> cure_torchvision() in ("absent", "matches", "cured")
        True
    """
    import torch

    ops: Any = torch.ops  # Any: untyped in torch
    compiled = _compiled_part()
    if compiled is None:
        return "absent"
    if _kept_alive:
        return "cured"
    if hasattr(ops.torchvision, "nms"):
        return "matches"
    try:
        ops.load_library(str(compiled))
    except (OSError, RuntimeError) as error:
        _log.info("torchvision's %s does not fit this torch (%s)", compiled.name, error)
    if hasattr(ops.torchvision, "nms"):
        return "matches"
    make: Any = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(f"{name}{_SIGNATURE}")
    _kept_alive.append(library)
    return "cured"


def force_offline() -> None:
    """Forbid the hub's client any network access: an encoder that opens never downloads."""
    import huggingface_hub.constants as hub

    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    hub.HF_HUB_OFFLINE = True


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what model libraries say while they build a model whose weights come later.

    open_clip warns of "no weights" at the root logger, transformers draws a progress bar.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(before)


def _compiled_part() -> Path | None:
    """Find torchvision's library without importing the package."""
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations)))
    return next(iter(sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd"))), None)
