"""Thousands of files with a tenth of them bad, against the same run without the bad ones."""

from __future__ import annotations

import json
import random
import resource
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bad_inputs.files import BAD, Bad, write
from tests.support import media_files
from tests.support.cli import Done, crossfind_process
from tests.support.vectors_by_path import vectors_by_path

_FAULTS = ("segfault-.png", "hang-.png", "eat-memory-.png")
_LINKS = "symlink_not_followed"  # counted and passed over: they are no files


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        n_good, n_bad: files written; of the bad, some must be indexed all the same.
        n_identical: good files whose vectors are those of the clean run, to the bit.
        n_listed: bad files with their code, or indexed with their format and flag.
        exit_code: of the run with bad files.
        clean_s, dirty_s: how long the two runs took.
        waited_s: of `dirty_s`, what the files that hang cost all workers together.
        rate_share: files a second with bad ones, over those without, timeouts apart.
        clean_cpu_s, dirty_cpu_s: CPU time of all their processes.
        cpu_share: files a second of CPU, with bad ones over without; for a machine that is busy.
        wrong: what is not as it should be, the first twenty.
    """

    n_good: int
    n_bad: int
    n_identical: int
    n_listed: int
    exit_code: int
    clean_s: float
    dirty_s: float
    waited_s: float
    rate_share: float
    clean_cpu_s: float
    dirty_cpu_s: float
    cpu_share: float
    wrong: list[str] = field(default_factory=list)

    @property
    def is_met(self) -> bool:
        """Tell whether one bad file never cost another; the rate is for a quiet machine."""
        whole = (self.n_identical, self.n_listed) == (self.n_good, self.n_bad)
        return whole and self.exit_code == 3 and not self.wrong


def run(
    folder: Path, *, n_files: int, seed: int, timeout_s: float, workers: int = 2, width: int = 480
) -> Outcome:
    """Write the files, build both stores by the command line, and compare.

    Args:
        folder: empty; some 40 kB a file.
        n_files: of all kinds together.
        seed: of everything.
        timeout_s: the longest a file may take.
        workers: decode processes.
        width: of the good photos; what a dead decoder costs weighs less beside large ones.
    """
    good = _write_good(folder / "media", n=n_files - n_files // 10, seed=seed, width=width)
    clean_s, clean_cpu_s, done = _build(folder, "clean", timeout_s=timeout_s, workers=workers)
    assert done.code == 0, done.err
    bad = _write_bad(folder / "media", n=n_files // 10, seed=seed)
    dirty_s, dirty_cpu_s, done = _build(folder, "dirty", timeout_s=timeout_s, workers=workers)
    n_hanging = sum(kind.name == "hang-.png" for kind in bad.values())
    waited_s = n_hanging * timeout_s / workers
    before, after = (vectors_by_path(folder / name / ".crossfind") for name in ("clean", "dirty"))
    same = [path for path in good if before[path] == after.get(path)]
    wrong = [] if "Traceback" not in done.err else [done.err[-300:]]
    wrong += [f"{path}: other vectors" for path in good if path not in set(same)]
    listed = _listed(folder / "dirty", bad, indexed={p.split("#")[0] for p in after}, wrong=wrong)
    rate = n_files / max(dirty_s - waited_s, 0.001)
    return Outcome(
        n_good=len(good), n_bad=len(bad), n_identical=len(same), n_listed=listed,
        exit_code=done.code, clean_s=round(clean_s, 1), dirty_s=round(dirty_s, 1),
        waited_s=waited_s, rate_share=round(rate / (len(good) / clean_s), 3),
        clean_cpu_s=round(clean_cpu_s, 1), dirty_cpu_s=round(dirty_cpu_s, 1),
        cpu_share=round(n_files / dirty_cpu_s / (len(good) / clean_cpu_s), 3), wrong=wrong[:20],
    )  # fmt: skip


def as_json(outcome: Outcome) -> str:
    """Write an outcome as one line."""
    return json.dumps(asdict(outcome) | {"is_met": outcome.is_met})


def _write_good(media: Path, *, n: int, seed: int, width: int) -> list[str]:
    paths = []
    for number in range(n):
        folder = media / f"{number % 50:02}"
        folder.mkdir(parents=True, exist_ok=True)
        stem, own = folder / f"{number:05}", seed * 1_000_000 + number
        if number % 10 == 0:
            path = stem.with_suffix(".md")
            path.write_text(f"a good text {own} about walks in the rain")
        elif number % 20 == 1:
            samples = media_files.tone(seconds=2, hz=200 + number)
            path = media_files.wav(stem.with_suffix(".wav"), samples=samples)
        else:
            path = _photo(stem.with_suffix(".jpg"), seed=own, width=width)
        paths.append(str(path))
    return paths


def _photo(path: Path, *, seed: int, width: int) -> Path:
    detail = np.random.default_rng(seed).integers(0, 256, (36, 48, 3), dtype=np.uint8)
    size = (width, width * 3 // 4)
    Image.fromarray(detail).resize(size, Image.Resampling.BICUBIC).save(path, quality=85)
    return path


def _write_bad(media: Path, *, n: int, seed: int) -> dict[str, Bad]:
    """Write every kind by turns, and one file in 500 for each of three faults."""
    kinds = [kind for kind in BAD if not kind.is_fault]
    faults = [kind for kind in BAD if kind.name in _FAULTS] * max(1, n // 50)
    chosen = (faults + kinds * (n // len(kinds) + 1))[:n]
    random.Random(seed).shuffle(chosen)
    return {
        str(write(media / f"{number % 50:02}", kind, seed=seed * 1_000_000 + number)): kind
        for number, kind in enumerate(chosen)
    }


def _build(folder: Path, name: str, *, timeout_s: float, workers: int) -> tuple[float, float, Done]:
    """Build a store; give the seconds by the clock and of CPU."""
    (folder / name).mkdir()
    started_s, cpu_s = time.monotonic(), _cpu_s()
    done = crossfind_process(
        "index", "build", folder / "media", "--model", "fake", "--workers", str(workers),
        "--decode-timeout", str(timeout_s), cwd=folder / name, timeout_s=7200,
        CROSSFIND_TEST_DECODER="1", CROSSFIND_DECODE_MEMORY_MB="512",
    )  # fmt: skip
    return time.monotonic() - started_s, _cpu_s() - cpu_s, done


def _cpu_s() -> float:
    """Tell the CPU time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _listed(root: Path, bad: dict[str, Bad], *, indexed: set[str], wrong: list[str]) -> int:
    """Count the bad files that got what they must get."""
    told = json.loads(crossfind_process("index", "errors", "--json", cwd=root).out)["errors"]
    codes = {failure["path"]: failure for failure in told}
    n_listed = 0
    for path, kind in bad.items():
        found = codes.get(path, {"code": "", "reason": ""})
        if kind.code == _LINKS:
            fits = found["code"] == "" and path not in indexed
        elif kind.code:
            fits = found["code"] == kind.code and kind.remedy in found["reason"]
        else:
            fits = found["code"] == "" and path in indexed
        n_listed += fits
        if not fits:
            wrong.append(f"{path} ({kind.row}): {found['code'] or 'not listed'}")
    wrong += [f"{path}: {codes[path]['code']}" for path in set(codes) - set(bad)]
    return n_listed
