"""The guard: order, isolation, limits, and children that lie (rows I13, I14, TX2)."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import media_files
import numpy as np
import pytest
from processes import children

from retrieval.errors import BadMediaError, CrossfindError, InputError, StoppedError
from retrieval.media import Found, Loader, child, find_file, load_file, scan, workers
from retrieval.types import Failure, Loaded, MediaSpec

SPEC = MediaSpec(image_size_px=32, sample_rate_hz=16_000, window_s=1, hop_s=0.5)


def make_library(folder: Path) -> list[Found]:
    """One good file of each kind, with a caption, and three bad ones."""
    media_files.picture(folder / "a.jpg")
    (folder / "a.txt").write_text("A dog, grün.")
    media_files.picture(folder / "b.png", size=(300, 20))
    media_files.wav(folder / "c.wav", samples=media_files.tone(seconds=2.3))
    media_files.video(folder / "d.mp4", with_sound=True)
    (folder / "e.csv").write_text("text\nein Hund 犬\n" + "x " * 300)
    (folder / "f.jpg").touch()
    media_files.cut(media_files.picture(folder / "g.png", size=(400, 300)), share=0.5)
    (folder / "h.wav").write_bytes(b"no sound")
    return list(scan([folder], on_skip=print))


def same(a: Loaded, b: Loaded) -> bool:
    """Compare every field, arrays by value."""
    fields = [name for name in Loaded.__slots__ if name != "parts"]
    if any(getattr(a, name) != getattr(b, name) for name in fields) or len(a.parts) != len(b.parts):
        return False
    return all(
        np.array_equal(p.payload, q.payload)
        and type(p.payload) is type(q.payload)
        and (p.modality, p.start_s, p.end_s, p.record, p.caption)
        == (q.modality, q.start_s, q.end_s, q.record, q.caption)
        for p, q in zip(a.parts, b.parts, strict=True)
    )


def load_here(found: Found) -> Loaded | Failure:
    """Load in this process: the oracle of what a child says."""
    try:
        return load_file(found, spec=SPEC)
    except BadMediaError as error:
        return Failure(found.path, error.code, str(error))


def codes(outcomes) -> list[str]:
    return [o.code if isinstance(o, Failure) else "ok" for _, o in outcomes]


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Make files whose decoders misbehave (see retrieval/media/faults.py)."""
    monkeypatch.setenv("CROSSFIND_TEST_DECODER", "1")

    def make(*kinds: str) -> list[Found]:
        paths = [tmp_path / f"{kind}-{n}.png" for n, kind in enumerate(kinds)]
        return [find_file(media_files.picture(path)) for path in paths]

    return make


@pytest.mark.parametrize("n_workers", [1, 3])
def test_children_give_exactly_what_in_process_loading_gives(tmp_path, n_workers):
    jobs = make_library(tmp_path)
    with Loader(spec=SPEC, n_workers=n_workers, look_ahead=4) as loader:
        outcomes = list(loader.load_many(jobs))
    assert [found for found, _ in outcomes] == jobs
    for found, outcome in outcomes:
        expected = load_here(found)
        assert outcome == expected if isinstance(expected, Failure) else same(outcome, expected)
    assert codes(outcomes) == ["ok"] * 5 + ["empty_file", "truncated", "not_audio"]


def test_windows_of_a_sound_share_memory_and_arrays_are_writable(tmp_path):
    path = media_files.wav(tmp_path / "a.wav", samples=media_files.tone(seconds=3))
    with Loader(spec=SPEC) as loader:
        first, second, *_ = loader.load(find_file(path)).parts
    assert np.shares_memory(first.payload, second.payload)
    assert first.payload.flags.writeable


def test_load_raises_what_load_many_reports(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    found = find_file(tmp_path / "a.jpg")
    with Loader(spec=SPEC) as loader, pytest.raises(BadMediaError) as caught:
        loader.load(found)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("kind", "code", "word"),
    [
        ("segfault", "decoder_crashed", "SIGSEGV"),
        ("abort", "decoder_crashed", "SIGABRT"),
        ("exit", "decoder_crashed", "exit 7"),
        ("lie-length", "decoder_crashed", "impossible answer"),
        ("lie-shape", "decoder_crashed", "impossible answer"),
        ("lie-json", "decoder_crashed", "impossible answer"),
        ("lie-magic", "decoder_crashed", "impossible answer"),
        ("hang", "decoder_timeout", "limit of 1 s"),
        ("spin", "decoder_timeout", "limit of 1 s"),
    ],
)
def test_a_bad_decoder_costs_its_own_file_only(faulty, kind, code, word):
    jobs = faulty("good", kind, "good", kind, "good")
    with Loader(spec=SPEC, n_workers=2, timeout_s=1) as loader:
        outcomes = list(loader.load_many(jobs))
    assert codes(outcomes) == ["ok", code, "ok", code, "ok"]
    reason = outcomes[1][1].reason
    assert jobs[1].path in reason
    assert word in reason
    assert "leave it out" in reason


def test_waiting_for_a_core_is_no_fault_of_the_file(faulty, monkeypatch):
    (job,) = faulty("hang")
    queued_s = iter([5.0, 5.0, 5.4, 6.2])  # at the start, before the file, and when time is up
    monkeypatch.setattr(child, "_queued_s", lambda _: next(queued_s, 6.2))
    with Loader(spec=SPEC, timeout_s=1) as loader:
        started_s = time.monotonic()
        with pytest.raises(BadMediaError) as caught:
            loader.load(job)
    assert caught.value.code == "decoder_timeout"
    assert time.monotonic() - started_s > 2.2


def test_a_memory_eater_meets_its_limit(faulty):
    jobs = faulty("good", "eat-memory", "good")
    with Loader(spec=SPEC, memory_bytes=512 << 20) as loader:
        outcomes = list(loader.load_many(jobs))
    assert codes(outcomes) == ["ok", "decoder_memory", "ok"]
    assert "limit of 0.5 GiB" in outcomes[1][1].reason


def test_a_child_killed_by_the_system_counts_as_memory(faulty):
    good, job = faulty("good", "hang")
    with Loader(spec=SPEC) as loader:
        loader.load(good)
        waiting = threading.Timer(0.5, lambda: os.kill(children()[0], signal.SIGKILL))
        waiting.start()
        with pytest.raises(BadMediaError) as caught:
            loader.load(job)
    assert caught.value.code == "decoder_memory"


def test_faults_need_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("CROSSFIND_TEST_DECODER", raising=False)
    path = media_files.picture(tmp_path / "segfault-1.png")
    with Loader(spec=SPEC) as loader:
        assert loader.load(find_file(path)).format == "png"


def test_a_child_knows_no_secret_and_no_heavy_package(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    path = media_files.video(tmp_path / "a.mp4", with_sound=True)
    with Loader(spec=SPEC) as loader:
        loader.load(find_file(path))
        (pid,) = children()
        environment = Path(f"/proc/{pid}/environ").read_text()
        maps = Path(f"/proc/{pid}/maps").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert os.getpgid(pid) == pid
    assert "hush" not in environment
    assert not any(name in maps for name in ("torch", "faiss", "sqlite"))
    lines = {line[:25].strip(): line[25:].split()[:2] for line in limits.splitlines()}
    assert lines["Max address space"] == [str(2 << 30)] * 2
    assert lines["Max file size"] == ["0", "0"]
    assert lines["Max open files"] == ["64", "64"]
    assert lines["Max cpu time"][0] != "unlimited"


def test_a_child_ignores_ctrl_c(tmp_path):
    found = find_file(media_files.picture(tmp_path / "a.png"))
    with Loader(spec=SPEC) as loader:
        loader.load(found)
        (pid,) = children()
        os.kill(pid, signal.SIGINT)
        loader.load(found)
        assert children() == [pid]


def test_jobs_are_pulled_lazily_and_never_far_ahead(tmp_path):
    found = find_file(media_files.picture(tmp_path / "a.png"))
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 1
            yield found

    with Loader(spec=SPEC, look_ahead=5) as loader:
        outcomes = loader.load_many(endless())
        assert pulled == 0
        for given in range(1, 20):
            next(outcomes)
            assert pulled <= given + 5
        outcomes.close()


def test_decoded_bytes_that_wait_are_bounded(tmp_path, monkeypatch):
    found = find_file(media_files.wav(tmp_path / "a.wav"))  # 64,000 bytes decoded
    monkeypatch.setattr(workers, "_MAX_READY_BYTES", 150_000)
    with Loader(spec=SPEC, n_workers=2, look_ahead=50) as loader:
        outcomes = loader.load_many([found] * 50)
        next(outcomes)
        time.sleep(0.5)
        ready = [task for task in outcomes.gi_frame.f_locals["waiting"] if task.future.done()]
        assert 2 <= len(ready) <= 5
        assert len(list(outcomes)) == 49


def test_a_child_is_replaced_after_its_share_of_jobs(tmp_path, monkeypatch):
    found = find_file(media_files.picture(tmp_path / "a.png"))
    monkeypatch.setattr(workers, "_JOBS_PER_CHILD", 3)
    seen = set()
    with Loader(spec=SPEC) as loader:
        for _ in range(7):
            loader.load(found)
            seen |= set(children())
    assert len(seen) >= 2


def test_close_ends_busy_children_within_a_second(faulty):
    jobs = faulty("hang", "spin")
    loader = Loader(spec=SPEC, n_workers=2)
    outcomes = loader.load_many(jobs)
    failure: list[Exception] = []

    def consume():
        try:
            next(outcomes)
        except StoppedError as error:
            failure.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.6)
    pids = children()
    assert len(pids) == 2
    started = time.perf_counter()
    loader.close()
    thread.join()
    assert time.perf_counter() - started < 1
    assert len(failure) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    loader.close()
    with pytest.raises(StoppedError):
        loader.load(jobs[0])


def test_no_descriptor_and_no_thread_is_left_behind(faulty):
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    with Loader(spec=SPEC, n_workers=2) as loader:
        list(loader.load_many(faulty("good", "segfault", "exit", "lie-json", "good")))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize(
    "options", [{"n_workers": 0}, {"n_workers": 257}, {"timeout_s": 0}, {"look_ahead": 0},
                {"memory_bytes": 1}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name} is"):
        Loader(spec=SPEC, **options)


@pytest.mark.slow
def test_600_files_with_60_bad_ones_lose_none_of_the_good(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSFIND_TEST_DECODER", "1")
    kinds = ["segfault", "abort", "exit", "lie-shape", "hang", "spin"]
    for n in range(600):
        kind = kinds[n // 10 % 6] if n % 10 == 0 else "good"
        media_files.picture(tmp_path / f"{kind}-{n:03}.png", seed=n)
    with Loader(spec=SPEC, n_workers=2, timeout_s=0.5) as loader:
        outcomes = list(loader.load_many(scan([tmp_path], on_skip=print)))
    assert len(outcomes) == 600
    for found, outcome in outcomes:
        if "good-" in found.path:
            assert same(outcome, load_file(found, spec=SPEC))
        else:
            assert outcome.code in ("decoder_crashed", "decoder_timeout")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_the_call_is_an_error_and_no_hang() -> None:
    with Loader(spec=MediaSpec()) as loader, pytest.raises(CrossfindError, match="no-found"):
        loader.load("no-found")  # type: ignore[arg-type]
