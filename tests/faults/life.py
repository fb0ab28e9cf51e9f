"""Any life of a store, beside a dict of texts and exact search in numpy.

    python -m tests.faults.life [--examples 200] [--steps 30] [--same]

Hypothesis makes up sequences of writing, adding, removing, building, compacting, killing (SIGKILL,
at a failpoint), damaging and reopening, and shortens what it finds. It runs in a process of its
own, which forks the children that are killed. With --same the sequences are the same every time.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from index import quantize
from index.storage import PUBLISH_FAILPOINTS
from retrieval.build_wishes import Wishes
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from tests.faults.forks import in_fork
from tests.faults.subject import SHARED_MEMORY, in_process, remove

NAMES = tuple(f"{n}.txt" for n in range(8))
COLOURS = ("red", "green", "blue", "black")
FAILPOINTS = (*PUBLISH_FAILPOINTS, "commit.before", "commit.after")
TOLERANCE = 2e-3  # float16 rows

_ENCODER = FakeEncoder()
_COMPACT = Wishes(compact=True)


class Life(RuleBasedStateMachine):
    """A store, the files beside it, and what the store must hold."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crossfind-life-", dir=SHARED_MEMORY))
        self.media = self.folder / "media"
        self.media.mkdir()
        self.files: dict[str, str] = {}
        self.stored: dict[str, str] = {}
        self.engine = self._open()

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            shutil.rmtree(self.folder)

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=1), colour=st.sampled_from(COLOURS))
    def write(self, names: set[str], colour: str) -> None:
        for name in sorted(names):
            text = f"{colour} {Path(name).stem}"
            if self.files.get(name) != text:
                self.files[name] = text
                (self.media / name).write_text(text)

    @rule()
    def add(self) -> None:
        self.engine.add(self.media)
        self.stored |= self.files

    @rule(name=st.sampled_from(NAMES))
    def delete_and_prune(self, name: str) -> None:
        (self.media / name).unlink(missing_ok=True)
        self.files.pop(name, None)
        self.engine.add(self.media, prune=True)
        self.stored = dict(self.files)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        remove(self.engine, self.media / name)
        self.stored.pop(name, None)

    @rule()
    def build(self) -> None:
        self.engine.build()

    @rule()
    def compact(self) -> None:
        self.engine.build(force=True, wishes=_COMPACT)

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.engine = self._open()

    @rule(
        verb=st.sampled_from(("add", "build", "compact")),
        point=st.sampled_from(FAILPOINTS),
        count=st.integers(1, 3),
    )
    def kill(self, verb: str, point: str, count: int) -> None:
        self.engine.close()

        def job() -> None:
            os.environ["CROSSFIND_FAILPOINT"] = f"{point}:{count}"
            with self._open() as engine:
                if verb == "add":
                    engine.add(self.media)
                else:
                    engine.build(force=True, wishes=Wishes(compact=verb == "compact"))

        status = in_fork(job)
        assert status in (0, -signal.SIGKILL), f"{verb} ended with {status}"
        self.engine = self._open()
        before, after = self.stored, {**self.stored, **(self.files if verb == "add" else {})}
        found = {Path(hit.path).name: hit.text for hit in self._search("red", k=100)}
        assert found in (before, after) if status else found == after, (found, before, after)
        self.stored = after if found == after else before

    @rule(folder=st.sampled_from(("segments", "derived")), seed=st.integers(0, 99))
    def damage(self, folder: str, seed: int) -> None:
        self.engine.close()
        rng = random.Random(seed)
        with self._open() as engine, engine.serving.reading() as (reader, _):
            snapshot = reader.snapshot()
        named = {entry.info.name for entry in snapshot.segments}  # not those on their way out
        named |= {entry.name for entry in snapshot.derived}
        paths = sorted(p for p in (self.folder / "store" / folder).iterdir() if p.name in named)
        if paths:
            _flip_a_bit(rng.choice(paths), rng=rng)
            self._mend(folder)
        else:
            self.engine = self._open()

    def _mend(self, folder: str) -> None:
        """Check that damage is told and costs no wrong answer; repair, and have it all again."""
        with self._open() as engine:
            hits = engine.search("red", k=100, hybrid=False)
            found = {Path(hit.path).name: hit.text for hit in hits}
            assert found.items() <= self.stored.items()
            if folder == "derived":
                assert found == self.stored
            codes = {finding.code for finding in engine.verify().findings}
            assert codes == {{"segments": "segment_damaged", "derived": "index_damaged"}[folder]}
            assert all(finding.repaired for finding in engine.verify(repair=True).findings)
        self.engine = self._open()
        self.engine.add(self.media, prune=True)
        self.stored = dict(self.files)

    @invariant()
    def answers_as_numpy_does(self) -> None:
        if not hasattr(self, "engine"):
            return
        names = sorted(self.stored)
        for k, query in ((100, "red"), (3, "green 3")):
            hits = self._search(query, k=k)
            found = [Path(hit.path).name for hit in hits]
            assert len(set(found)) == len(found) == min(k, len(names)), (found, names)
            if not names:
                continue
            vectors = _ENCODER.encode([self.stored[n] for n in names], modality="text")
            asked = _ENCODER.encode([query], modality="text")[0]
            scores = dict(zip(names, quantize(vectors, dtype="float16") @ asked, strict=True))
            worst_wanted = np.sort(list(scores.values()))[::-1][len(hits) - 1]
            for hit, name in zip(hits, found, strict=True):
                assert hit.text == self.stored[name]
                assert abs(hit.score - scores[name]) < TOLERANCE, (hit, scores[name])
                assert scores[name] > worst_wanted - TOLERANCE, (name, scores)
            order = [(-hit.score, hit.id) for hit in hits]
            assert order == sorted(order)

    @invariant()
    def is_as_it_was_written(self) -> None:
        if hasattr(self, "engine"):
            assert self.engine.verify().findings == ()

    def _search(self, query: str, *, k: int) -> list:  # type: ignore[type-arg]
        hits = self.engine.search(query, k=k, hybrid=False)
        assert self.engine.warnings == ()
        return hits

    def _open(self) -> Engine:
        return Engine.open(self.folder / "store", create=True, model="fake")


def _flip_a_bit(path: Path, *, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.unlink()  # a new file: the old one may still be mapped
    path.write_bytes(data)


def main() -> int:
    """Live as many lives as asked for; a wrong one is printed in its shortest form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--same", action="store_true", help="the same lives every time")
    options = parser.parse_args()
    chosen = settings(
        max_examples=options.examples,
        stateful_step_count=options.steps,
        derandomize=options.same,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    with in_process():
        run_state_machine_as_test(Life, settings=chosen)
    sys.stdout.write(f"{options.examples} lives, nothing wrong\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
