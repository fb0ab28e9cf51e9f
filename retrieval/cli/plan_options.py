"""Options that say what kind of index is wanted, and printing the plan they lead to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from index.types import Plan
from retrieval.cli.output import say
from retrieval.types import Space

F = TypeVar("F", bound=Callable[..., Any])  # Any: Click decorates functions of every shape

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class _Memory(click.ParamType[int]):
    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)i?B?", str(value).strip(), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no size; write e.g. 800M or 4G", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])


def plan_options(function: F) -> F:
    """Add the options of every command that builds an index; they arrive as `wishes`."""
    for option in reversed(
        (
            click.option(
                "--recall", type=click.FloatRange(0.0, 1.0, min_open=True), metavar="P",
                help="Share of the true top 10 to find for queries of another modality; 1: exact. "
                "Unless given: exact up to 50,000 vectors, 0.95 beyond.",
            ),
            click.option(
                "--memory", "memory_bytes", type=_Memory(), metavar="SIZE",
                help="What the index may take in memory, e.g. 800M or 4G.",
            ),
            click.option(
                "--batch", "batch_size", type=click.IntRange(min=1), default=1, metavar="N",
                help="How many queries come at once, usually.",
            ),
            click.option(
                "--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True,
                help="Where to search.",
            ),
            click.option(
                "--factory", default="", metavar="STR",
                help="An index of faiss by its factory string, e.g. IVF4096,PQ64x4fs,RFlat.",
            ),
            click.option(
                "--index", "address", metavar="WHERE",
                help="files (the default), milvus-lite, or milvus://HOST:PORT; then also set "
                "CROSSFIND_INDEX, so that searches know.",
            ),
            click.option(
                "--explain", is_flag=True, help="Tell the plan, its memory and why, then build."
            ),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def tell_plan(space: Space, plan: Plan) -> None:
    """Say what will be built, what it will take and why."""
    parameters = ", ".join(f"{name} {value}" for name, value in plan.parameters.items())
    say(f"plan for {space.id}: {plan.kind} = {plan.factory} ({parameters})")
    say(f"  memory: {plan.memory_bytes / 1e6:,.1f} MB predicted")
    say(f"  why: {plan.reason}")
