"""Checking an installation: versions, devices, linked libraries, the store and the model."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

from retrieval.config import Settings
from retrieval.demo.run import load_demo
from retrieval.encoders.base import Encoder
from retrieval.encoders.references import read_references
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.selftest import Check, Probe, self_test
from retrieval.engine import Engine
from retrieval.errors import CrossfindError, NotFoundError
from retrieval.media import Loader, find_file
from retrieval.types import MediaSpec, Modality, Payload

# What is linked in matters more than what is installed: it holds the decoders.
_DISTRIBUTIONS = (
    "torch", "open-clip-torch", "onnxruntime", "numpy", "pillow", "av", "sqlalchemy", "alembic",
    "faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "pillow-heif", "psycopg",
)  # fmt: skip
_PROBE_MODALITIES: tuple[Modality, ...] = ("image", "audio", "text")
_N_PROBES = 12


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What the doctor saw.

    Attributes:
        versions: package or library to version; `absent` where it is not installed.
        devices: what can compute.
        store: state of the store, or why there is none.
        store_is_sound: False where the store is damaged.
        model: name of the model judged.
        checks: its self-test.
    """

    versions: dict[str, str]
    devices: dict[str, str]
    store: dict[str, str]
    store_is_sound: bool
    model: str
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """Give 0 where all is well, 4 for a damaged store, 7 for a broken model."""
        if not self.store_is_sound:
            return 4
        return 0 if all(check.passed for check in self.checks) else 7


def examine(settings: Settings) -> DoctorReport:
    """Examine the installation, the store found from here, and its model."""
    store, is_sound, model = _examine_store(settings)
    with_faiss = _faiss()
    return DoctorReport(
        versions={**_versions(), **with_faiss},
        devices=_devices(),
        store=store,
        store_is_sound=is_sound,
        model=model,
        checks=tuple(_examine_model(model, settings)),
    )


def demo_probe(spec: MediaSpec) -> Probe:
    """Load things of the demo set that come as picture, sound and text, in the model's form."""
    demo = load_demo()
    concepts: dict[str, dict[Modality, Path]] = {}
    for item in demo.items:
        concepts.setdefault(item.concept, {}).setdefault(item.modality, demo.path(item.name))
    complete = sorted(c for c, found in concepts.items() if set(_PROBE_MODALITIES) <= set(found))
    inputs: dict[Modality, list[Payload]] = {modality: [] for modality in _PROBE_MODALITIES}
    with Loader(spec=spec, n_workers=1) as loader:
        for concept in complete[:_N_PROBES]:
            for modality in _PROBE_MODALITIES:
                loaded = loader.load(find_file(concepts[concept][modality]))
                inputs[modality].append(loaded.parts[0].payload)
    return Probe(inputs)


def check_model(encoder: Encoder) -> list[Check]:
    """Run the self-test on what the model can encode of the demo set's things."""
    served = {modality for space in encoder.spaces for modality in space.modalities}
    if "text" in served:
        # Weights are read now: what is wrong with their files has a code of its own.
        encoder.encode(["a picture"], modality="text")
    probe = demo_probe(encoder.media)
    inputs = {modality: values for modality, values in probe.inputs.items() if modality in served}
    return self_test(encoder, Probe(inputs), references=read_references(encoder))


def _examine_model(name: str, settings: Settings) -> list[Check]:
    if name == "fake":
        return []  # it knows colours only; the demo's things say nothing to it
    try:
        return check_model(open_encoder(name, threads=settings.threads))
    except CrossfindError as error:
        return [Check(error.code, name, False, str(error))]


def _examine_store(settings: Settings) -> tuple[dict[str, str], bool, str]:
    try:
        with Engine.open(settings=settings) as engine:
            report, status = engine.verify(), engine.status()
            model = engine.encoder.name
    except NotFoundError as error:
        return {"store": str(error)}, True, settings.model
    except CrossfindError as error:
        return {"store": f"{error} [{error.code}]"}, False, settings.model
    n_items = sum(status.n_items.values())
    state = "; ".join(f"{f.code} {f.where}" for f in report.findings[:5]) or "nothing damaged"
    return (
        {
            "store": status.store,
            "holds": f"{n_items} items, {status.n_parts} parts, {status.n_bad} bad files",
            "verified": f"{report.n_segments} segments, {report.n_rows} rows: {state}",
        },
        not report.findings,
        model,
    )


def _versions() -> dict[str, str]:
    import av
    from PIL import features

    found = {"crossfind": _version("crossfind"), "python": sys.version.split()[0]}
    found |= {name: _version(name) for name in _DISTRIBUTIONS}
    found["linked SQLite"] = f"{sqlite3.sqlite_version} (journal TRUNCATE, synchronous FULL)"
    found["linked FFmpeg"] = ", ".join(
        f"{name} {'.'.join(map(str, version))}" for name, version in av.library_versions.items()
    )
    codecs = {name: features.version(name) for name in ("jpg", "zlib", "webp", "avif", "libtiff")}
    found["linked picture codecs"] = ", ".join(f"{n} {v or 'absent'}" for n, v in codecs.items())
    return found


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _faiss() -> dict[str, str]:
    """Say which faiss answers: two wheels install the same folder, and the later one wins."""
    try:
        import faiss
    except ImportError:
        return {"faiss that answers": "none: exact search only; pip install 'crossfind[cpu]'"}
    wheels = [d for d in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs") if _version(d) != "absent"]
    options = faiss.get_compile_options().strip()
    about = f"{faiss.__version__} from {' and '.join(wheels) or 'unknown wheel'} ({options})"
    if len(wheels) > 1:
        about += "; uninstall all of them and install one: they overwrite each other"
    return {"faiss that answers": about}


def _devices() -> dict[str, str]:
    devices = {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "onnxruntime": "absent",
        "GPU": "none seen by torch",
    }
    try:
        import onnxruntime
        import torch
    except ImportError as error:
        return {**devices, "GPU": f"not asked: {error.name} is absent"}
    devices["onnxruntime"] = ", ".join(onnxruntime.get_available_providers())
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        devices["GPU"] = ", ".join(names)
    return devices
