"""`crossfind train heads` under torchrun, as README writes it: two processes are as good as one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli import environment
from PIL import Image
from safetensors import safe_open

N_STEPS = 50
COLOURS = ("red", "yellow", "green", "cyan", "blue", "violet", "white", "black")
RGB = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (128, 0, 255),
       (255, 255, 255), (0, 0, 0))  # fmt: skip
BESIDE = Path(sys.executable).parent  # where `torchrun` and `crossfind` are installed


def _pairs(folder: Path) -> Path:
    """Pictures whose captions call each colour by another one's name: heads can learn that."""
    generator = np.random.default_rng(0)
    rows = ["image,text"]
    for number in range(120):
        noise = generator.integers(-40, 40, (8, 8, 3))
        pixels = np.clip(np.array(RGB[number % 8]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{COLOURS[(number + 3) % 8]}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder / "pairs.csv"


def _train(folder: Path, pairs: Path, *, launch: tuple[str, ...]) -> list[dict[str, float]]:
    folder.mkdir()
    # No dropout: its chances are not those of one process. A batch of 21 cannot be halved evenly.
    options = [
        "--base", "fake", "--force", "--epochs", "17", "--batch-size", "21", "--dropout", "0",
        "--learning-rate", "0.005", "--patience", "99", "--threads", "1", "--workers", "1",
        "--step-log", "steps.jsonl", "--cache", "cache",
    ]  # fmt: skip
    done = subprocess.run(
        [*launch, "crossfind", "train", "heads", "--pairs", pairs, "--out", "my.model", *options],
        cwd=folder,
        env=environment(PATH=f"{BESIDE}{os.pathsep}{os.environ['PATH']}", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("recall before") == 1  # one process speaks for all
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    if shutil.which("torchrun", path=str(BESIDE)) is None:
        pytest.skip("torchrun is not installed beside this Python")
    pairs = _pairs(tmp_path)
    one = _train(tmp_path / "one", pairs, launch=())
    two = _train(
        tmp_path / "two",
        pairs,
        launch=("torchrun", "--standalone", "--nproc-per-node", "2", "--no-python"),
    )
    assert len(one) == len(two) >= N_STEPS
    losses = np.array([[step["loss"] for step in steps[:N_STEPS]] for steps in (one, two)])
    assert losses[0, -1] < losses[0, 0] - 0.1  # something was learnt
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4, rtol=0)
    # AdamW hides a gradient that is twice too long; the log does not.
    norms = np.array([[step["gradient_norm"] for step in steps[:N_STEPS]] for steps in (one, two)])
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-2)
    tensors = []
    for name in ("one", "two"):
        with safe_open(tmp_path / name / "my.model", "numpy") as file:
            tensors.append({key: file.get_tensor(key) for key in list(file.keys())})
    assert tensors[0].keys() == tensors[1].keys()
    for key, value in tensors[0].items():
        np.testing.assert_allclose(tensors[1][key], value, atol=1e-3, err_msg=key)
