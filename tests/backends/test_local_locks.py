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
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from layercache.errors import BackendError, InvalidNameError
from layercache.testing.base import in_threads
from layercache_backends.local import LocalBackend
from layercache_backends.local.momentary import FILE, GRACE, PLACES, SIGN

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


def is_free(backend: LocalBackend, name: str) -> bool:
    with backend.lock(name, timeout=0, lasting=False) as held:
        return held is not None


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


def test_a_momentary_lock_ends_with_its_process(backend: LocalBackend) -> None:
    command = [sys.executable, "-c", HOLDS.replace('"name"', '"name", lasting=False'), backend.root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert not is_free(backend, "name")
        assert is_free(backend, "another")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert is_free(backend, "name")


def test_momentary_locks_of_many_names_are_independent_and_make_one_small_file(
    backend: LocalBackend, tmp_path: Path
) -> None:
    names = [f"layer-{number}" for number in range(2 * PLACES)]
    with ExitStack() as stack:
        for name in names:
            assert stack.enter_context(backend.lock(name, timeout=0, lasting=False))
        assert not any(is_free(backend, name) for name in names)
    assert all(is_free(backend, name) for name in names)
    assert os.listdir(tmp_path / "locks") == [FILE]
    assert (tmp_path / "locks" / FILE).stat().st_size <= PLACES * SIGN.size
    assert backend.remove_leftovers(0) == 0
    assert os.listdir(tmp_path / "locks") == [FILE], "somebody may hold one just now"


def test_threads_hold_a_momentary_lock_in_turn(backend: LocalBackend) -> None:
    inside: list[int] = []

    def hold(_: int) -> None:
        for _ in range(25):
            with backend.lock("name", lasting=False) as held:
                assert held
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    in_threads(hold, range(4))


@pytest.mark.parametrize("signs", [b"", b"\xff" * SIGN.size * PLACES, b"\x7f" * SIGN.size * PLACES])
def test_a_holder_is_given_up_for_its_silence_whatever_stands_in_the_file(
    backend: LocalBackend, tmp_path: Path, signs: bytes
) -> None:
    """An old sign of another layer's holder is not taken for its own, nor is one from the future."""
    with backend.lock("name", lasting=False):
        (tmp_path / "locks" / FILE).write_bytes(signs)
        began = time.monotonic()
        with backend.lock("name", timeout=60, lasting=False) as held:
            assert held is None
        assert GRACE <= time.monotonic() - began < 60


def test_a_momentary_lock_has_a_file_where_the_system_locks_no_ranges(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with backend.lock("name", lasting=False) as held:
        assert held
        assert (tmp_path / "locks" / "name").exists()
        assert not is_free(backend, "name")
    assert not (tmp_path / "locks" / "name").exists()


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
    assert taken.wait(60)
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


@pytest.mark.parametrize("lasting", [True, False])
def test_a_child_that_was_forked_meanwhile_does_not_hold_on(backend: LocalBackend, lasting: bool) -> None:
    reading, writing = os.pipe()
    with backend.lock("name", lasting=lasting):
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    os.close(reading)
    try:
        with backend.lock("name", timeout=0, lasting=lasting) as again:
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
