"""Measure one of the twelve goals of the index layer: `python -m benchmarks.goal N`.

    python -m benchmarks.goal 8 [--seed 7 --n 100000 --dim 512 --rounds 5] [--plot FILE.png]
    python -m benchmarks.goal 4 --vectors REAL.npz --set targets=0.9+0.95

Each goal is `benchmarks/goals/goal_NN.py` with `run(options) -> list[Row]`, `DEFAULTS` (its n and
dim), `THREADS` (cores it is pinned to) and, where its data is of another kind, `DATA`. Data comes
from the seed; subject and peer run by turns in one process. Every figure is printed and appended as
a JSON line to benchmarks/results/goals.jsonl; a run that saw a load above 3 is marked void, as
something else was using the cores.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from types import ModuleType

from benchmarks.measure import MAX_LOAD, Options, Point, Row, pin_threads, sized
from benchmarks.report import machine

RESULTS = pathlib.Path(__file__).parent / "results" / "goals.jsonl"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one goal from the command line."""
    given = _parser().parse_args(argv)
    goal = importlib.import_module(f"benchmarks.goals.goal_{given.goal:02}")
    if pin_threads(goal.THREADS) and argv is None:
        # numpy's BLAS counted its threads when it was loaded: begin again with the right count
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.goal", *sys.argv[1:]])
    options = Options(
        seed=given.seed,
        n=given.n or goal.DEFAULTS["n"],
        dim=given.dim or goal.DEFAULTS["dim"],
        rounds=given.rounds,
        vectors=given.vectors,
        plot=given.plot is not None,
        rest=dict(pair.split("=", 1) for pair in given.set),
    )
    if options.vectors:
        options = sized(options)
    load_before = os.getloadavg()[0]
    started_s = time.perf_counter()
    rows = goal.run(options)
    seconds = time.perf_counter() - started_s
    load = max(load_before, os.getloadavg()[0])
    print(f"goal {given.goal}: {(goal.__doc__ or '').splitlines()[0]}")
    print(
        f"n {options.n:,}  dim {options.dim}  seed {options.seed}  {seconds:.0f} s  load {load:.2f}"
    )
    with given.results.open("a", encoding="utf-8") as sink:
        for row in rows:
            print(_line(row))
            record = _record(given.goal, row, options, load=load, data=_data(goal, options))
            sink.write(json.dumps(record) + "\n")
    if load > MAX_LOAD:
        print(f"VOID: load {load:.2f} is above {MAX_LOAD:g}; run again on a quiet machine")
    if given.plot:
        plot([point for row in rows for point in row.points], given.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goal", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("goal", type=int, help="number of the goal, 1 to 12")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--n", type=int, help="stored vectors; each goal has its own default")
    parser.add_argument("--dim", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", default="", help=".npz of benchmarks.real_set, for 4 and 5")
    parser.add_argument("--set", nargs="*", default=[], help="name=value arguments of one goal")
    parser.add_argument("--plot", type=pathlib.Path, help="recall/QPS picture, .png")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    return parser


def _line(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    value = "-" if row.value is None else f"{row.value:.3f} {row.unit}"
    spread = "" if row.spread is None else f" ({row.spread[0]:.3f}-{row.spread[1]:.3f})"
    wanted = "" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
    details = ", ".join(f"{key} {value}" for key, value in row.details.items())
    told = "  ".join(part for part in (details, row.note) if part)
    return f"  {row.name:<52} {value}{spread:<18} {wanted:<10} {verdict:<7} {told}"


def _data(goal: ModuleType, options: Options) -> str:
    if options.vectors:
        return "real pictures and captions"
    return str(getattr(goal, "DATA", "synthetic, CLIP-like, modality gap"))


def _record(goal: int, row: Row, options: Options, *, load: float, data: str) -> dict[str, object]:
    return {
        "goal": goal,
        "name": row.name,
        "value": row.value,
        "unit": row.unit,
        "spread": row.spread,
        "target": row.target,
        "at_most": row.at_most,
        "met": row.met,
        "void": load > MAX_LOAD,
        "note": row.note,
        "details": dict(row.details),
        "seed": options.seed,
        "n": options.n,
        "dim": options.dim,
        "rounds": options.rounds,
        "data": data,
        "arguments": dict(options.rest),
        "machine": {**machine(), "load": round(load, 2)},
    }


def plot(points: Sequence[Point], path: pathlib.Path) -> None:
    """Draw recall against queries per second, one panel per modality of the queries.

    Lines join the best points of each system; the others stand pale behind them.
    """
    if not points:
        sys.exit("this goal has no recall/QPS points to draw")
    try:
        import matplotlib
    except ImportError:
        sys.exit("--plot needs matplotlib: pip install 'crossfind[viz]'")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = sorted({point.queries for point in points})
    systems = list(dict.fromkeys(point.system for point in points))
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(6 * len(kinds), 5), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        for number, system in enumerate(systems):
            mine = [p for p in points if p.system == system and p.queries == kind]
            marker, size = ("*", 14) if system == "crossfind" else (".", 7)
            look = {"color": f"C{number}", "marker": marker, "markersize": size}
            rest = [(p.recall, p.queries_per_s) for p in mine]
            axis.plot(*zip(*rest, strict=True), linestyle="", alpha=0.2, **look)
            front = [(p.recall, p.queries_per_s) for p in _front(mine)]
            axis.plot(*zip(*front, strict=True), label=system, **look)
        axis.set(title=f"{kind} queries", xlabel="recall@10", ylabel="queries per s", yscale="log")
        axis.grid(visible=True, which="both", alpha=0.3)
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _front(points: Sequence[Point]) -> list[Point]:
    """Keep the points that no other of their system beats in both, recall falling."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.recall, -p.queries_per_s)):
        if not front or point.queries_per_s > front[-1].queries_per_s:
            front.append(point)
    return front


if __name__ == "__main__":
    main()
