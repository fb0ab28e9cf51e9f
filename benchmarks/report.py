"""What every benchmark prints: the figures, the target, the machine, as one JSON line."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence

Value = float | int | str | bool | None


def machine() -> dict[str, Value]:
    """Describe the machine and how busy it is; a load above the cores makes timings void."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def spread(values: Sequence[float]) -> str:
    """Write a median with its range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def tell(name: str, figures: Mapping[str, Value]) -> None:
    """Print the figures for people, then as one JSON line."""
    for key, value in figures.items():
        print(f"  {key:<44} {value:.4g}" if isinstance(value, float) else f"  {key:<44} {value}")
    print(json.dumps({"benchmark": name, **figures, "machine": machine()}))
