"""ONNX copies of a model's towers, used on a CPU only where measured faster and as good.

`crossfind models export` writes them into the model's folder with what it measured:

    onnx.json       per tower: file, sha256, cosine to the original, speed-up, used or not
    onnx/*.onnx
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index.storage import hash_file
from retrieval.encoders.model_folder import ModelFolder
from retrieval.encoders.starter_files import session
from retrieval.encoders.starter_head import unit
from retrieval.encoders.torch_run import TorchOptions
from retrieval.errors import ModelError
from retrieval.types import Modality

REPORT = "onnx.json"
LEAST_COSINE = 0.995
"""A copy further from the original than this is not used, however fast it is."""


@dataclass(frozen=True, slots=True)
class TowerReport:
    """What an export measured of one tower.

    Attributes:
        modality: image or text.
        file: inside the model's folder.
        sha256: of the file.
        int8: whether its matrices are quantised.
        cosine: least cosine to the original over the probe.
        speedup: time of the original / time of the copy, interleaved, on `threads` threads.
        used: faster and close enough.
    """

    modality: str
    file: str
    sha256: str
    int8: bool
    cosine: float
    speedup: float
    used: bool


class OnnxTowers:
    """The copies that serve, opened at their first use.

    Args:
        folder: of the model.
        reports: of the towers that are used.
        threads: CPU threads.
    """

    def __init__(self, folder: Path, *, reports: Mapping[str, TowerReport], threads: int) -> None:
        self._folder = folder
        self._reports = dict(reports)
        self._threads = max(1, threads)
        self._sessions: dict[str, Any] = {}  # Any: onnxruntime ships no types
        self._lock = threading.Lock()

    def serves(self, modality: Modality) -> bool:
        """Tell whether this tower is used."""
        return modality in self._reports

    def run(
        self,
        modality: Modality,
        values: npt.NDArray[Any],  # Any: float32 pictures or int64 tokens
    ) -> npt.NDArray[np.float32]:
        """Encode a batch; float32 [N, D], unit length."""
        opened = self._session(modality)
        out = opened.run(None, {opened.get_inputs()[0].name: values})[0]
        # Unit length, as from torch: pieces of a long text are averaged by direction.
        return unit(np.asarray(out, dtype=np.float32))

    def _session(self, modality: Modality) -> Any:
        with self._lock:
            if modality not in self._sessions:
                report = self._reports[modality]
                path = self._folder / report.file
                if not path.is_file() or hash_file(path) != report.sha256:
                    raise ModelError(
                        f"{path} is not the file that was exported; delete "
                        f"{self._folder / REPORT} or run: crossfind models export again",
                        code="model_hash_mismatch",
                    )
                self._sessions[modality] = session(path.read_bytes(), threads=self._threads)
            return self._sessions[modality]


def open_onnx(folder: ModelFolder, *, options: TorchOptions) -> OnnxTowers | None:
    """Open the copies that are used; None where there are none, or the model runs on a GPU."""
    reports = [r for r in read_reports(folder.path) if r.used]
    if not reports or options.device.startswith("cuda") or options.precision in ("bf16", "fp16"):
        return None
    if options.device == "auto":
        import torch

        if torch.cuda.is_available():
            return None
    return OnnxTowers(
        folder.path, reports={r.modality: r for r in reports}, threads=options.threads
    )


def read_reports(folder: Path) -> list[TowerReport]:
    """Read what an export measured; an empty list where there was none."""
    try:
        raw = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return [TowerReport(**row) for row in raw["towers"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder / REPORT} is not what an export wrote ({error!r}); delete it",
            code="model_hash_mismatch",
        ) from error
