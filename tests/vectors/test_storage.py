"""Publishing is all or nothing, and there is one writer."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from index import PUBLISH_FAILPOINTS, WriterLock, is_network_filesystem, publish, storage
from index.errors import LockedError, StorageError

PUBLISH = """
import sys
from pathlib import Path
from index import publish
folder = Path(sys.argv[1])
publish(folder / "a", tmp=folder / "tmp", write=lambda f: f.write(b"new" * 1000))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_the_hash_is_of_what_was_written(folder):
    def write(sink):
        sink.write(b"one")
        sink.write(memoryview(b"two"))

    sha256 = publish(folder / "a", tmp=folder / "tmp", write=write)
    assert (folder / "a").read_bytes() == b"onetwo"
    assert sha256 == hashlib.sha256(b"onetwo").hexdigest()


def test_short_writes_are_finished(folder, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    publish(folder / "a", tmp=folder / "tmp", write=lambda f: f.write(b"0123456789" * 9))
    assert (folder / "a").read_bytes() == b"0123456789" * 9


def test_the_steps_reach_the_disk_in_this_order(folder, monkeypatch):
    """Without the fsync of the file a power cut leaves an empty one under the final name;
    without that of the directory, the name may be gone after it was acknowledged."""
    done = []

    def spy(name, target):
        real = getattr(os, name)

        def call(*args):
            done.append((name, target(*args)))
            return real(*args)

        monkeypatch.setattr(os, name, call)

    spy("write", lambda fd, _: Path(os.readlink(f"/proc/self/fd/{fd}")).name[:2])
    spy("fsync", lambda fd: Path(os.readlink(f"/proc/self/fd/{fd}")).name[:2])
    spy("rename", lambda _, new: Path(new).name)
    publish(folder / "a.", tmp=folder / "tmp", write=lambda f: f.write(b"x"))
    assert done == [
        ("write", "a."),
        ("fsync", "a."),
        ("rename", "a."),
        ("fsync", folder.name[:2]),
    ]


@pytest.mark.parametrize("name", PUBLISH_FAILPOINTS)
def test_a_kill_at_any_step_leaves_the_old_or_the_whole_new_file(folder, name):
    (folder / "a").write_bytes(b"old")
    env = os.environ | {"CROSSFIND_FAILPOINT": name}
    done = subprocess.run([sys.executable, "-c", PUBLISH, str(folder)], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    renamed = PUBLISH_FAILPOINTS.index(name) >= PUBLISH_FAILPOINTS.index("publish.rename.after")
    assert (folder / "a").read_bytes() == (b"new" * 1000 if renamed else b"old")
    subprocess.run([sys.executable, "-c", PUBLISH, str(folder)], check=True)
    assert (folder / "a").read_bytes() == b"new" * 1000


def test_a_failpoint_can_wait_for_a_later_pass(folder):
    env = os.environ | {"CROSSFIND_FAILPOINT": "publish.write.after:2"}
    code = PUBLISH + PUBLISH.replace('"a"', '"b"').split("\n", 4)[4]
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "a").exists()
    assert not (folder / "b").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "disk_read_only"),
        (errno.EACCES, "disk_read_only"),
        (errno.EIO, "disk_error"),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_what_the_disk_says_becomes_a_code_and_nothing_is_published(
    folder, monkeypatch, call, number, code
):
    n_calls = 0

    def fail(*args, **others):
        nonlocal n_calls
        n_calls += 1
        raise OSError(number, os.strerror(number))

    (folder / "a").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError) as caught:
            publish(folder / "a", tmp=folder / "tmp", write=lambda f: f.write(b"new"))
    assert caught.value.code == code
    assert str(folder / "a") in str(caught.value)
    assert n_calls == 1, "a failed call, an fsync above all, is never tried again"
    assert (folder / "a").read_bytes() == b"old"
    assert list((folder / "tmp").iterdir()) == []


def test_an_error_of_the_writer_passes_through_and_leaves_nothing(folder):
    def write(sink):
        sink.write(b"half")
        raise KeyError("mine")

    with pytest.raises(KeyError):
        publish(folder / "a", tmp=folder / "tmp", write=write)
    assert list(folder.glob("**/*")) == [folder / "tmp"]


# The lock

HOLD = """
import sys, time
from pathlib import Path
from index import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(path: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def test_a_second_writer_is_refused_at_once_with_the_holders_name(tmp_path):
    child = _holder(tmp_path / "LOCK")
    started = time.monotonic()
    with pytest.raises(LockedError) as caught, WriterLock(tmp_path / "LOCK"):
        pass
    assert time.monotonic() - started < 1
    assert f"pid {child.pid}" in str(caught.value)
    assert os.uname().nodename in str(caught.value)
    assert "wait until it ends or stop it" in str(caught.value)
    child.kill()
    child.wait()
    child.stdout.close()


def test_the_lock_is_free_after_its_holder_was_killed(tmp_path):
    for _ in range(3):
        child = _holder(tmp_path / "LOCK")
        child.kill()
        child.wait()
        child.stdout.close()
        with WriterLock(tmp_path / "LOCK") as lock:
            assert lock.held


def test_two_locks_in_one_process_exclude_each_other(tmp_path):
    with (
        WriterLock(tmp_path / "LOCK"),
        pytest.raises(LockedError, match=f"pid {os.getpid()}"),
        WriterLock(tmp_path / "LOCK"),
    ):
        pass
    with WriterLock(tmp_path / "LOCK"):
        pass


def test_the_text_in_a_free_lock_is_not_believed(tmp_path):
    (tmp_path / "LOCK").write_text("pid 1 on host elsewhere")
    with WriterLock(tmp_path / "LOCK"):
        assert str(os.getpid()) in (tmp_path / "LOCK").read_text()


def test_a_holders_text_cannot_drive_the_terminal(tmp_path):
    with WriterLock(tmp_path / "LOCK"):
        (tmp_path / "LOCK").write_bytes(b"\x1b[2Jpid 5\n\xff")
        with pytest.raises(LockedError) as caught, WriterLock(tmp_path / "LOCK"):
            pass
    assert "pid 5" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_lock_in_a_missing_directory_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError), WriterLock(tmp_path / "none" / "LOCK"):
        pass


# File systems

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local xfs rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
server:/x /data nfs rw 0 0
/dev/sdc1 /data ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "is_network"),
    [
        ("/", False),
        ("/home/someone", True),
        ("/home/local/x", False),
        ("/homes", False),
        ("/mnt/my share/store", True),
        ("/data/x", False),
    ],
)
def test_network_file_systems_are_told_by_the_innermost_mount(tmp_path, path, is_network):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert is_network_filesystem(Path(path), mounts=mounts) is is_network


def test_a_lock_that_is_held_is_not_taken_twice_by_the_same_object(tmp_path):
    with WriterLock(tmp_path / "LOCK") as lock:
        assert lock.held
        with pytest.raises(LockedError, match="very lock object"):
            lock.__enter__()
        assert lock.held
    assert not lock.held
    lock.__exit__(None, None, None)  # of no effect


def test_a_disk_that_fails_under_the_lock_is_a_storage_error(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(StorageError) as caught:
        WriterLock(tmp_path / "LOCK").__enter__()
    assert caught.value.code == "disk_error"
    monkeypatch.undo()
    with WriterLock(tmp_path / "LOCK"):  # the descriptor of the failed one is closed
        pass


def test_where_the_kernel_lists_no_mounts_nothing_is_a_network_disk(tmp_path):
    assert not is_network_filesystem(tmp_path, mounts=tmp_path / "none")


def test_a_drive_with_a_cache_of_its_own_is_told_to_empty_it(folder, monkeypatch):
    called = []
    monkeypatch.setattr(storage.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(storage.fcntl, "fcntl", lambda _fd, what: called.append(what))
    publish(folder / "a", tmp=folder / "tmp", write=lambda f: f.write(b"x"))
    assert called == [51, 51]  # the file, and its directory


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="read"):
        storage.hash_file(tmp_path)


def test_a_failpoint_of_another_name_or_count_lets_pass(monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(storage, "_failpoint_hits", {})
    monkeypatch.setenv("CROSSFIND_FAILPOINT", "here:2")
    storage.failpoint("there")
    storage.failpoint("here")
    assert killed == []
    storage.failpoint("here")
    assert killed == [(os.getpid(), signal.SIGKILL)]
    storage.failpoint("here")
    assert len(killed) == 1
