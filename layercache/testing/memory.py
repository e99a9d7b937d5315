"""The promise about memory: reading and writing take little, whatever the size of the object."""

from __future__ import annotations

import resource
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from layercache.backend.capabilities import SizedWrites
from layercache.testing.base import KEY, Hooks
from layercache.testing.children import in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Backend, Sink

PIECE = 512 << 10
"""Bytes of each read and write of the core."""

_ADVICE = "layers have gigabytes: pass them on in pieces, and hold only a few at a time"


class MemoryPromises(Hooks):
    def test_writing_takes_little_memory(self, backend: Backend) -> None:
        self._wants_heavy()
        self._check("writing", lambda: _write(backend, self.heavy))
        assert backend.stat(KEY).size == self.heavy

    def test_writing_what_has_a_known_size_takes_little_memory(self, backend: Backend) -> None:
        self._wants_heavy()
        if not isinstance(backend, SizedWrites):
            pytest.skip("this backend has no SizedWrites")
        sized = backend
        self._check("writing", lambda: _fill(sized.create_sized(KEY, self.heavy), self.heavy))
        assert backend.stat(KEY).size == self.heavy

    def test_reading_takes_little_memory(self, backend: Backend) -> None:
        self._wants_heavy()
        _write(backend, self.heavy)
        self._check("reading", lambda: _read(backend, 0))
        self._check("reading a range of", lambda: _read(backend, 1, pieces=8))

    def _wants_heavy(self) -> None:
        self.wants_shared_store()
        if not self.heavy:
            pytest.skip("heavy is 0: memory is not measured here")
        assert self.heavy > self.memory, (
            "heavy must be more than memory, or holding the whole object would not show"
        )

    def _check(self, doing: str, work: Callable[[], None]) -> None:
        answer = in_forked_child(lambda: _peak(work))
        assert answer.isdecimal(), f"{doing} {self.heavy} bytes in a forked child: {answer}"
        assert int(answer) <= self.memory, (
            f"{doing} {self.heavy >> 20} MiB took {int(answer) >> 20} MiB of memory, and memory says"
            f" {self.memory >> 20}\n  look at    {_ADVICE}"
        )


def _peak(work: Callable[[], None]) -> int:
    """Return the peak memory of the work in bytes: Python's count or the growth of the process, if more."""
    before = _resident()
    tracemalloc.start()
    work()
    _, traced = tracemalloc.get_traced_memory()
    return max(traced, _resident() - before)


def _resident() -> int:
    """Return the peak memory of this process in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _write(backend: Backend, size: int) -> None:
    _fill(backend.create(KEY), size)


def _fill(sink: Sink, size: int) -> None:
    piece = bytes(PIECE)
    with sink:
        for start in range(0, size, PIECE):
            sink.write(memoryview(piece)[: size - start])
        sink.commit()


def _read(backend: Backend, start: int, pieces: int | None = None) -> None:
    buffer = bytearray(PIECE)
    with backend.open(KEY, start) as reader:
        while reader.readinto(buffer) and pieces != 0:
            pieces = None if pieces is None else pieces - 1
