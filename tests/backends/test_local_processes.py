"""Processes that write to the local backend, and are forked or killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import a_backend, run_python

from layercache.testing import get

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["unnamed", "named"])
def test_a_forked_child_that_ends_in_order_leaves_its_parents_write_alone(tmp_path: Path, name: str) -> None:
    program = """
import os, sys
from layercache_backends.local import LocalBackend
backend = LocalBackend(sys.argv[1])
if sys.argv[2] == "named":
    backend.unnamed_files = False
sink = backend.create("a/b")
sink.write(b"first ")
child = os.fork()
if child == 0:
    sys.exit(0)  # which collects the child's copy of the sink
assert os.waitpid(child, 0)[1] == 0
sink.write(b"second")
sink.commit()
with backend.open("a/b") as reader:
    print(reader.read())
"""
    assert run_python(program, str(tmp_path), name) == "b'first second'\n"
    assert os.listdir(tmp_path / "tmp") == []


def test_a_kill_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from layercache_backends.local import LocalBackend
sink = LocalBackend(sys.argv[1]).create("a/b")
sink.write(bytes(20 << 20))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [name for _, _, names in os.walk(tmp_path) for name in names] == []


@pytest.mark.parametrize("name", ["unnamed", "named"])
def test_writers_killed_at_any_moment_leave_only_whole_objects(tmp_path: Path, name: str) -> None:
    """Each object is one letter, as many of it as its key says; one key is replaced all the time."""
    program = """
import itertools, sys
from layercache_backends.local import LocalBackend
backend = LocalBackend(sys.argv[1], sync=False)
backend.unnamed_files = None if sys.argv[2] == "unnamed" else False
print("go", flush=True)
for number in itertools.count():
    letter = b"abcdefgh"[number % 8 : number % 8 + 1]
    for key in (f"new/{sys.argv[3]}-{number}", "same"):
        with backend.create(key) as sink:
            for _ in range(10):
                sink.write(letter * 5000)
            sink.commit()
"""
    backend = a_backend(tmp_path)
    moments = random.Random(17)
    for generation in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name, str(generation)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        with writer.stdout:
            writer.stdout.readline()
            # A number of objects rather than a time: the moment within a write is the scheduler's.
            target = moments.randrange(1, 30)
            while sum(entry.key.startswith(f"new/{generation}-") for entry in backend.scan()) < target:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    seen = list(backend.scan())
    assert len(seen) > 6
    for entry in seen:
        value = get(backend, entry.key)
        assert (len(value), len(set(value))) == (50_000, 1), entry.key
