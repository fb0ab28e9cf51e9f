"""Stopping a build in every way, and going on: nothing acknowledged is lost, nothing differs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli import crossfind, environment
from colour_media import make_media
from on_postgres import catalog_settings

from index.storage import PUBLISH_FAILPOINTS
from retrieval.engine import Engine

Answers = list[list[tuple[int, int, str, float]]]


def answers(store: Path, *, n_queries: int = 100) -> Answers:
    """Answer many queries: colours, words, stored items."""
    colours = ("red", "green", "blue", "yellow", "cyan", "violet", "white", "black")
    with Engine.open(store) as engine:
        texts = [f"{a} {b}" for a in colours for b in colours][: n_queries - 36]
        found = [engine.search(text, k=10) for text in texts]
        found += [engine.search(item_id, k=10) for item_id in range(1, 37)]
    return [[(h.rank, h.id, h.path, h.score) for h in hits] for hits in found]


def start_build(folder: Path, media: Path, **extra: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from retrieval.cli import main; main()"]
    return subprocess.Popen(
        [*command, "index", "build", str(media), "--model", "fake", "--workers", "2"],
        cwd=folder,
        env=environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_build_killed_at_random_and_resumed_gives_the_same_answers(tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", n_files=400)
    (tmp_path / "whole").mkdir()
    started_s = time.monotonic()
    build = start_build(tmp_path / "whole", media, CROSSFIND_COMMIT_S="0.1")
    assert build.wait(120) == 0
    whole_s = time.monotonic() - started_s
    expected = answers(tmp_path / "whole" / ".crossfind")
    assert len(expected) == 100
    rng = random.Random(20)
    n_in_the_middle = 0
    for round_ in range(20):
        folder = tmp_path / f"killed{round_}"
        folder.mkdir()
        build = start_build(folder, media, CROSSFIND_COMMIT_S="0.1")
        time.sleep(rng.uniform(0.2, 1.0) * whole_s)
        os.killpg(build.pid, signal.SIGKILL)
        build.wait()
        done = crossfind("index", "build", media, "--model", "fake", cwd=folder)
        assert done.code == 0, done.err
        n_in_the_middle += "unchanged" in done.err and "added" in done.err
        assert answers(folder / ".crossfind") == expected, f"round {round_}"
        assert crossfind("index", "verify", cwd=folder).code == 0
    assert n_in_the_middle >= 3, "the kills missed the interesting moments"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_within_seconds_keeps_what_is_done_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    media = make_media(tmp_path / "media", n_files=60)
    (media / "hang-0030.png").write_bytes((media / "0000.png").read_bytes())
    build = start_build(tmp_path, media, CROSSFIND_TEST_DECODER="1", CROSSFIND_COMMIT_S="0")
    store = tmp_path / ".crossfind" / "segments"
    wait_until(lambda: store.exists() and any(store.iterdir()), timeout_s=30)
    started_s = time.monotonic()
    build.send_signal(number)
    _, err = build.communicate(timeout=30)
    assert time.monotonic() - started_s < 5
    assert build.returncode == code, err
    assert b"run the same command again" in err
    (media / "hang-0030.png").unlink()
    done = crossfind("index", "build", media, cwd=tmp_path)
    assert done.code == 0, done.err
    with Engine.open(tmp_path) as engine:
        assert sum(engine.status().n_items.values()) == 60


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", n_files=40)
    build = start_build(tmp_path, media)
    wait_until((tmp_path / ".crossfind" / "LOCK").exists, timeout_s=30)
    build.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    build.send_signal(signal.SIGTERM)
    started_s = time.monotonic()
    assert build.wait(30) in (143, -signal.SIGTERM)
    assert time.monotonic() - started_s < 1.5
    build.communicate()


def test_two_signals_end_a_process_that_is_busy_below_python() -> None:
    code = (
        "import hashlib; from retrieval.cli.stop import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 100_000_000)  # a minute without a bytecode\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    started_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert time.monotonic() - started_s < 2
    process.communicate()


@pytest.mark.slow
def test_a_process_killed_while_the_store_is_made_leaves_a_store_that_opens(tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", n_files=5)
    code = (
        "import sys; from pathlib import Path; from retrieval.engine import Engine\n"
        "Engine.open(Path(sys.argv[1]), create=True, model='fake').close()"
    )
    n_killed = 0
    for step in PUBLISH_FAILPOINTS:
        for count in (1, 2):  # FORMAT is the first file that is published, the catalog the second
            store = tmp_path / f"{step}-{count}"
            done = subprocess.run(
                [sys.executable, "-c", code, str(store)],
                env=environment(CROSSFIND_FAILPOINT=f"{step}:{count}"),
                capture_output=True,
                check=False,
            )
            n_killed += done.returncode == -signal.SIGKILL
            with Engine.open(store, create=True, model="fake") as engine:
                assert engine.add(media).n_added == 5, (step, count)
    assert n_killed == 2 * len(PUBLISH_FAILPOINTS)


@pytest.mark.parametrize("limit_kib", [16, 64, 160])
def test_a_disk_that_takes_no_more_ends_in_exit_6_and_loses_nothing(
    tmp_path: Path, limit_kib: int
) -> None:
    media = make_media(tmp_path / "media", n_files=40)
    assert crossfind("index", "build", media, "--model", "fake", cwd=tmp_path).code == 0
    store = tmp_path / ".crossfind"
    expected = answers(store, n_queries=46)
    more = make_media(tmp_path / "more", n_files=700, seed=6)
    python = f"{sys.executable} -c 'from retrieval.cli import main; main()'"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {limit_kib}; {python} index build {more}"],
        cwd=tmp_path,
        env=environment(**catalog_settings(store)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert answers(store, n_queries=46) == expected
    assert crossfind("index", "verify", cwd=tmp_path).code == 0
    assert crossfind("index", "build", more, cwd=tmp_path).code == 0


def wait_until(condition, *, timeout_s: float) -> None:  # type: ignore[no-untyped-def]
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)
