"""What must be true of a store after a fault, checked by opening it like any reader.

python -m tests.faults.oracle STORE N_ACKED [PLANT]
"""

from __future__ import annotations

import sys
from pathlib import Path

from retrieval.engine import Engine
from retrieval.errors import CrossfindError, NotFoundError
from tests.faults.plants import PLANTS
from tests.faults.subject import N_STEPS, expected

SCORE_TOLERANCE = 1e-3  # float16 segments


def acked(acks: Path) -> int:
    """Read the number of the last acknowledged step; 0 where there is none."""
    lines = acks.read_text().split() if acks.exists() else []
    assert lines == [str(n + 1) for n in range(len(lines))], f"acknowledged {lines}"
    return len(lines)


def problems(store: Path, *, n_acked: int) -> list[str]:
    """List what is wrong with a store whose first `n_acked` steps were acknowledged.

    The step after them may be done or not, and nothing between. No repair is made first.
    """
    try:
        with Engine.open(store) as engine:
            found = _contents(engine)
            report = engine.verify()
            warnings = engine.warnings
    except NotFoundError:
        return [] if n_acked == 0 else ["the store is gone"]
    except CrossfindError as error:
        return [f"the store does not open: {error} [{error.code}]"]
    allowed = [expected(n) for n in {n_acked, min(n_acked + 1, N_STEPS)}]
    wrong = [f"holds {found}, not one of {allowed}"] if found not in allowed else []
    wrong += [f"{finding.code} {finding.where}: {finding.detail}" for finding in report.findings]
    return wrong + list(warnings)


def _contents(engine: Engine) -> dict[str, str]:
    """Give file name -> text of every item, each proven by finding itself first."""
    n_items = sum(engine.status().n_items.values())
    hits = engine.search("red blue green white black", k=1000, hybrid=False) if n_items else []
    texts = {Path(hit.path).name: hit.text or "" for hit in hits}
    assert len(hits) == n_items, f"{len(hits)} of {n_items} items are found"
    for name, text in texts.items():
        best = engine.search(text, k=1, hybrid=False)[0]
        assert Path(best.path).name == name, f"{text!r} finds {best.path}"
        assert abs(best.score - 1) < SCORE_TOLERANCE, f"{text!r} finds itself with {best.score}"
    return texts


def main() -> int:
    """Check one store in a process of its own, with a bug planted into the reader."""
    for name in sys.argv[3:]:
        PLANTS[name]()
    try:
        wrong = problems(Path(sys.argv[1]), n_acked=int(sys.argv[2]))
    except AssertionError as error:
        wrong = [str(error)]
    sys.stdout.write("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
