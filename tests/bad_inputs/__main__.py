"""Bad inputs by the thousand, with their figures.

    python -m tests.bad_inputs [--files 10000] [--width 480] [--flips 1000] [--seed 5]

--files: one run over so many files with a tenth of them bad; --flips: so many bits of a catalog
that change a protected value. A JSON line each; exit 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bad_inputs.flips import flip, make_store
from tests.bad_inputs.run import as_json, run


def main() -> int:
    """Run what is asked for, both by default."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=0)
    options.add_argument("--flips", type=int, default=0)
    options.add_argument("--seed", type=int, default=5)
    options.add_argument("--timeout", type=float, default=10.0, help="seconds a file may take")
    options.add_argument("--width", type=int, default=480, help="of the good photos, pixels")
    options.add_argument("--dir", default=None, help="where the files are written")
    chosen = options.parse_args()
    if not (chosen.files or chosen.flips):
        chosen.files, chosen.flips = 10_000, 1_000
    n_wrong = 0
    with tempfile.TemporaryDirectory(dir=chosen.dir, prefix="bad-inputs-") as name:
        if chosen.flips:
            flips = flip(make_store(Path(name) / "flips"), n_changed=chosen.flips, seed=chosen.seed)
            sys.stdout.write(json.dumps(asdict(flips)) + "\n")
            n_wrong += flips.n_changed - flips.n_found
        if chosen.files:
            outcome = run(
                Path(name),
                n_files=chosen.files,
                seed=chosen.seed,
                timeout_s=chosen.timeout,
                width=chosen.width,
            )
            sys.stdout.write(as_json(outcome) + "\n")
            n_wrong += not outcome.is_met
    return bool(n_wrong)


if __name__ == "__main__":
    sys.exit(main())
