"""The fork server: its children die with the program, and it is replaced when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import media_files
import pytest
from processes import alive, children, forked_by

from retrieval.errors import CrossfindError
from retrieval.media import Found, Loader, find_file, forks
from retrieval.types import Loaded, MediaSpec

SPEC = MediaSpec(image_size_px=32, sample_rate_hz=16_000)
LOAD_AND_STAY = """
import sys, time
from pathlib import Path
from retrieval.media import Loader, find_file
from retrieval.types import MediaSpec
loader = Loader(spec=MediaSpec(), n_workers=2)
jobs = [find_file(Path(path)) for path in sys.argv[1:]]
list(loader.load_many(jobs[:1]))
print("up", flush=True)
list(loader.load_many(jobs[1:]))
time.sleep(60)
"""


@pytest.fixture
def picture(tmp_path: Path) -> Found:
    return find_file(media_files.picture(tmp_path / "a.png"))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> forks.Forks:
    """Forks of this test alone: those of the other tests are shared."""
    own = forks.Forks()
    monkeypatch.setattr("retrieval.media.child.FORKS", own)
    monkeypatch.setattr("retrieval.media.workers.FORKS", own)
    return own


def the_server(own: forks.Forks) -> int:
    assert own._server is not None
    return own._server._process.pid


@pytest.mark.parametrize("kind", ["good", "spin", "hang"])
def test_children_idle_and_busy_die_with_their_parent(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("CROSSFIND_TEST_DECODER", "1")
    paths = [media_files.picture(tmp_path / f"{name}.png") for name in ("a", f"{kind}-1")]
    parent = subprocess.Popen(
        [sys.executable, "-c", LOAD_AND_STAY, *map(str, paths)], stdout=subprocess.PIPE
    )
    assert parent.stdout.readline() == b"up\n"
    time.sleep(0.3)
    pids = children(parent.pid)
    servers = forked_by(parent.pid)
    parent.kill()
    parent.wait()
    deadline_s = time.monotonic() + 5
    while any(map(alive, pids + servers)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert pids
    assert len(servers) == 1
    assert not any(map(alive, pids + servers))


def test_loaders_share_one_server_which_ends_with_the_last(own, picture):
    first, second = Loader(spec=SPEC), Loader(spec=SPEC)
    first.load(picture)
    server = the_server(own)
    second.load(picture)
    assert the_server(own) == server
    assert len(forked_by(server)) == 2
    first.close()
    first.close()  # counts once
    assert len(forked_by(server)) == 1
    assert second.load(picture).format == "png"
    second.close()
    assert not alive(server)


def test_a_killed_server_costs_nothing_but_a_new_one(own, picture):
    with Loader(spec=SPEC) as loader:
        loader.load(picture)
        server = the_server(own)
        os.kill(server, signal.SIGKILL)
        assert loader.load(picture).format == "png"  # its child lives on
        with Loader(spec=SPEC) as other:
            assert other.load(picture).format == "png"
        assert the_server(own) != server


def test_the_layout_of_memory_is_drawn_anew_now_and_then(own, picture, monkeypatch):
    monkeypatch.setattr(forks, "_FORKS_PER_SERVER", 2)
    monkeypatch.setattr("retrieval.media.workers._JOBS_PER_CHILD", 1)
    servers = []
    with Loader(spec=SPEC) as loader:
        for _ in range(5):
            loader.load(picture)
            servers.append(the_server(own))
    assert [servers.count(pid) for pid in dict.fromkeys(servers)] == [2, 2, 1]
    assert not any(map(alive, servers))


def test_a_warm_server_has_one_thread_and_its_children_decode_all_kinds(own, tmp_path):
    media_files.picture(tmp_path / "a.png")
    media_files.wav(tmp_path / "b.wav")
    media_files.video(tmp_path / "c.mp4", with_sound=True)
    (tmp_path / "d.txt").write_text("a dog")
    jobs = [find_file(path) for path in sorted(tmp_path.iterdir())]
    with Loader(spec=SPEC, n_workers=2) as loader:
        outcomes = [outcome for _, outcome in loader.load_many(jobs * 4)]
        server = the_server(own)
        assert len(os.listdir(f"/proc/{server}/task")) == 1
        for pid in forked_by(server):
            held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
            assert not any(target.startswith("socket:") for target in held)  # no other's line
    assert all(isinstance(outcome, Loaded) for outcome in outcomes)
    assert [outcome.modality for outcome in outcomes[:4]] == ["image", "audio", "video", "text"]


def test_a_child_that_cannot_start_is_no_fault_of_the_file(own, picture, monkeypatch):
    monkeypatch.setattr(forks, "_BOOT", "raise SystemExit('no numpy here')")
    with Loader(spec=SPEC) as loader, pytest.raises(CrossfindError) as caught:
        loader.load(picture)
    assert caught.value.code == "workers_unavailable"
    assert "no numpy here" in str(caught.value)
    with Loader(spec=SPEC) as loader, pytest.raises(CrossfindError):
        list(loader.load_many([picture]))


def test_a_machine_without_processes_is_told_of(own, picture, monkeypatch):
    monkeypatch.setattr(forks, "_PYTHON", ("/nowhere/python",))
    with Loader(spec=SPEC) as loader, pytest.raises(CrossfindError, match="/nowhere") as caught:
        loader.load(picture)
    assert caught.value.code == "workers_unavailable"
