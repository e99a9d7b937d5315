"""What is promised by those who can more: `Spooler`, `Expendable`, `LocalPath`. Others skip these."""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from layercache.backend import Expendable, LocalPath, Spooler
from layercache.errors import BackendError
from layercache.testing.base import (
    KEY,
    PATIENCE,
    TEXT,
    Hooks,
    assert_absent,
    get,
    in_forked_child,
    pattern,
    put,
)

if TYPE_CHECKING:
    from layercache.backend import Backend, Spool


class CapabilityPromises(Hooks):
    def test_a_spool_is_read_while_it_grows_and_published_whole(self, backend: Backend) -> None:
        data = pattern(self.big)
        with closing(self._spool(backend)) as spool:
            followed = ThreadPoolExecutor(1)
            with followed:
                reading = followed.submit(_follow, spool, len(data))
                for start in range(0, len(data), 1 << 20):
                    spool.write(memoryview(data)[start : start + (1 << 20)])
                assert reading.result(PATIENCE) == data
            assert list(backend.scan()) == []
            spool.publish(KEY)
            assert get(backend, KEY) == data
            buffer = bytearray(100)
            assert spool.readinto_at(7, buffer) == 100
            assert buffer == data[7:107]
            with suppress(BackendError):
                spool.write(b"too late")
            assert get(backend, KEY) == data
        assert get(backend, KEY) == data

    def test_a_spool_reads_at_any_offset(self, backend: Backend) -> None:
        with closing(self._spool(backend)) as spool:
            buffer = bytearray(b"~" * 10)
            assert spool.readinto_at(0, buffer) == 0
            spool.write(b"01234567")
            assert spool.readinto_at(3, memoryview(buffer)[:2]) == 2
            assert buffer == b"34~~~~~~~~"
            assert spool.readinto_at(6, buffer) == 2
            assert buffer == b"67~~~~~~~~"
            for past in (8, 9, 1 << 40):
                assert spool.readinto_at(past, buffer) == 0

    def test_a_spool_that_is_closed_or_forgotten_leaves_nothing(self, backend: Backend) -> None:
        spool = self._spool(backend)
        spool.write(TEXT)
        spool.close()
        spool.close()
        with pytest.raises(BackendError):
            spool.publish(KEY)
        with pytest.raises(BackendError):
            spool.write(b"more")
        self._spool(backend).write(TEXT)
        gc.collect()
        assert list(backend.scan()) == []
        assert_absent(backend, KEY)

    def test_a_spool_publishes_over_what_is_there(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        for value in (b"", b"new"):
            with closing(self._spool(backend)) as spool:
                spool.write(value)
                spool.publish(KEY)
            assert get(backend, KEY) == value

    def test_a_forked_child_cannot_publish_its_parents_spool(self, backend: Backend) -> None:
        with closing(self._spool(backend)) as spool:
            spool.write(TEXT)
            assert in_forked_child(lambda: spool.publish(KEY)) == "BackendError"
            assert in_forked_child(spool.close) == "None"
            assert_absent(backend, KEY)
            spool.publish(KEY)
        assert get(backend, KEY) == TEXT

    def test_an_expendable_object_is_whole_or_not_there(self, backend: Backend) -> None:
        if not isinstance(backend, Expendable):
            pytest.skip("this backend is not Expendable")
        for value in (TEXT, b"", b"replaced"):
            with backend.create_expendable(KEY) as sink:
                sink.write(value)
                sink.commit()
            assert get(backend, KEY) == value
        with pytest.raises(KeyboardInterrupt), backend.create_expendable(KEY) as sink:
            sink.write(b"half")
            raise KeyboardInterrupt
        assert get(backend, KEY) == b"replaced"
        with backend.create_expendable(KEY) as sink:
            assert in_forked_child(sink.commit) == "BackendError"
        assert get(backend, KEY) == b"replaced"

    def test_a_local_path_is_the_file(self, backend: Backend) -> None:
        if not isinstance(backend, LocalPath):
            pytest.skip("this backend is no LocalPath")
        assert not os.path.exists(backend.path(KEY))
        put(backend, KEY, TEXT)
        with open(backend.path(KEY), "rb") as file:
            assert file.read() == TEXT

    def _spool(self, backend: Backend) -> Spool:
        if not isinstance(backend, Spooler):
            pytest.skip("this backend is no Spooler")
        return backend.spool()


def _follow(spool: Spool, size: int) -> bytes:
    """Read a spool from its start until there are ``size`` bytes of it."""
    buffer = bytearray(300_000)
    seen = bytearray()
    patience = time.monotonic() + PATIENCE
    while len(seen) < size and time.monotonic() < patience:
        seen += buffer[: spool.readinto_at(len(seen), buffer)]
    return bytes(seen)
