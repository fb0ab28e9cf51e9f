"""Every kind of faiss index by its name."""

from __future__ import annotations

from collections.abc import Mapping

from index.faiss_factory import FactoryKind
from index.faiss_kinds import FaissKind
from index.faiss_plain import CagraKind, FlatKind, HnswKind, IvfKind
from index.fastscan import FastScanKind, IvfFastScanKind, IvfRabitqKind

KINDS: Mapping[str, type[FaissKind]] = {
    kind.name: kind
    for kind in (
        FlatKind, HnswKind, IvfKind, FastScanKind, IvfFastScanKind, IvfRabitqKind, FactoryKind,
        CagraKind,
    )
}  # fmt: skip
