"""The local backend's locks, and what killed writers leave: what the contract cannot ask of every store."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from layercache.errors import BackendError, InvalidNameError
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

HOLDS = """
import sys
from layercache_backends.local import LocalBackend
with LocalBackend(sys.argv[1]).lock("name") as held:
    held.leave_note(b"from afar")
    print("held", flush=True)
    sys.stdin.read()
"""
COUNTS = """
import sys
from layercache_backends.local import LocalBackend
backend = LocalBackend(sys.argv[1])
for _ in range(200):
    with backend.lock("count") as held:
        held.leave_note(b"%d" % (int(held.note() or b"0") + 1))
"""


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(str(tmp_path))


def test_a_killed_process_lets_go_and_its_note_stays(backend: LocalBackend) -> None:
    command = [sys.executable, "-c", HOLDS, backend.root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with backend.lock("name", timeout=0.05) as held:
            assert held is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    with backend.lock("name", timeout=0) as held:
        assert held
        assert held.note() == b"from afar"


def test_processes_exclude_each_other(backend: LocalBackend) -> None:
    command = [sys.executable, "-c", COUNTS, backend.root]
    counting = [subprocess.Popen(command) for _ in range(3)]
    assert [each.wait() for each in counting] == [0, 0, 0]
    with backend.lock("count") as held:
        assert held
        assert held.note() == b"600"


def test_who_waited_for_a_file_that_is_removed_takes_the_new_one(
    backend: LocalBackend, tmp_path: Path
) -> None:
    path = tmp_path / "locks" / "name"
    taken = threading.Event()

    def wait() -> None:
        with backend.lock("name") as held:
            assert held
            held.leave_note(b"new")
            taken.set()

    waiting = threading.Thread(target=wait)
    with backend.lock("name") as held:
        assert held
        waiting.start()
        path.unlink()
        held.leave_note(b"removed")
    assert taken.wait(10)
    waiting.join()
    assert path.read_bytes() == b"new"


def test_a_file_that_is_removed_between_opening_and_locking_it_holds_nobody(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "locks" / "name", fcntl.flock
    removed: list[int] = []

    def remove_and_lock(fd: int, operation: int) -> None:
        if not removed:
            removed.append(fd)
            path.unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    with backend.lock("name") as held:
        assert held
        held.leave_note(b"of the one that has the name")
        assert path.read_bytes() == b"of the one that has the name"


def test_a_child_that_was_forked_meanwhile_does_not_hold_on(backend: LocalBackend) -> None:
    reading, writing = os.pipe()
    with backend.lock("name"):
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    os.close(reading)
    try:
        with backend.lock("name", timeout=0) as again:
            assert again
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_where_there_are_no_locks_it_goes_on_without(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with backend.lock("name") as held:
        assert held
        held.leave_note(b"note")
    with backend.lock("name", timeout=0) as held:
        assert held
        assert held.note() == b"note"


def test_what_the_system_refuses_is_told(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"no folder")
    with pytest.raises(BackendError, match="locking name"), backend.lock("name"):
        pass
    with pytest.raises(BackendError, match="removing leftovers of locks/"):
        backend.remove_leftovers(0)


def test_what_goes_wrong_under_a_lock_is_not_blamed_on_it(backend: LocalBackend) -> None:
    with pytest.raises(OSError, match="mine"), backend.lock("name"):
        raise OSError("mine")


@pytest.mark.parametrize("name", ["", "..", "a b", "/etc/passwd"])
def test_what_is_no_name_is_refused(backend: LocalBackend, name: str) -> None:
    with pytest.raises(InvalidNameError), backend.lock(name):
        pass


def test_leftovers_are_what_is_old_and_held_by_nobody(backend: LocalBackend, tmp_path: Path) -> None:
    assert backend.remove_leftovers(0) == 0
    with backend.lock("held"), backend.lock("mine"):
        pass
    (tmp_path / "tmp").mkdir()
    for path in (tmp_path / "tmp" / "1-a", tmp_path / "tmp" / "1-b"):
        path.write_bytes(b"part")
    past = time.time() - 100
    for path in (tmp_path / "locks" / "held", tmp_path / "locks" / "mine", tmp_path / "tmp" / "1-a"):
        os.utime(path, (past, past))
    with backend.lock("held"):
        assert backend.remove_leftovers(90) == 2
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["1-b", "held"]
