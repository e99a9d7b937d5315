"""The promises of capabilities: `Spooler`, `SmallObjects`, `Touchable` and others. Skipped without them."""

from __future__ import annotations

import gc
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
import urllib3

from layercache.backend import SMALL_OBJECT, RewindError
from layercache.backend.capabilities import (
    Diagnosable,
    Expendable,
    Finding,
    LocalPath,
    Movable,
    SignedURL,
    SizedWrites,
    SmallObjects,
    Spooler,
    Touchable,
)
from layercache.errors import BackendError, NotFoundError
from layercache.testing.base import (
    KEY,
    TEXT,
    Hooks,
    assert_absent,
    check_bytes,
    get,
    pattern,
    put,
)
from layercache.testing.children import PATIENCE, in_forked_child

if TYPE_CHECKING:
    from layercache.backend import Backend, Sink
    from layercache.backend.capabilities import Spool


MEDIUM = (1 << 20) + 7


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

    @pytest.mark.parametrize("size", [0, 1, MEDIUM, None])
    def test_an_object_of_known_size_is_whole_and_not_there_before(
        self, backend: Backend, size: int | None
    ) -> None:
        data = pattern(self.big if size is None else size)
        with self._sized(backend, len(data)) as sink:
            _write(sink, data)
            assert_absent(backend, KEY)
            _write(sink, data, len(data), commit=True)
        check_bytes(get(backend, KEY), data, f"an object of a known size of {len(data)} bytes")

    @pytest.mark.parametrize("more", [-1, 1])
    def test_an_object_of_another_size_than_stated_is_not_published(
        self, backend: Backend, more: int
    ) -> None:
        for size in (1, self.big):
            with pytest.raises(BackendError), self._sized(backend, size) as sink:
                _write(sink, pattern(size + more), commit=True)
            assert_absent(backend, KEY)

    def test_an_aborted_write_of_known_size_leaves_nothing(self, backend: Backend) -> None:
        for written in (0, 1, self.big // 2, self.big):
            with self._sized(backend, self.big) as sink:
                _write(sink, pattern(written))
            with pytest.raises(BackendError):
                sink.commit()
            assert_absent(backend, KEY)

    def test_a_local_path_is_the_file(self, backend: Backend) -> None:
        if not isinstance(backend, LocalPath):
            pytest.skip("this backend is not a LocalPath")
        assert not os.path.exists(backend.path(KEY))
        put(backend, KEY, TEXT)
        with open(backend.path(KEY), "rb") as file:
            assert file.read() == TEXT

    def test_a_killed_spool_leaves_nothing(self, backend: Backend) -> None:
        self._spool(backend).close()
        self.wants_shared_store()

        def write_and_die() -> None:
            self._spool(backend).write(TEXT)
            os.kill(os.getpid(), signal.SIGKILL)

        assert in_forked_child(write_and_die) == "killed"
        assert list(backend.scan()) == [], "a spool has no name before it is published"

    def test_small_objects_of_a_folder_are_read_whole(self, backend: Backend) -> None:
        if not isinstance(backend, SmallObjects):
            pytest.skip("this backend has no SmallObjects")
        sizes = (0, 1, 300, 4096, 8192, 10_001, SMALL_OBJECT)
        wanted = {f"contract/ab/{size}": pattern(size) for size in sizes}
        for size in (SMALL_OBJECT + 1, MEDIUM):
            put(backend, f"contract/ab/{size}", pattern(size))
        for key, data in {**wanted, "contract/ab/c/d": TEXT, "contract/abc/1": TEXT}.items():
            put(backend, key, data)
        found = dict(backend.read_small("contract/ab/"))
        assert set(found) == {*wanted, "contract/ab/c/d"}, (
            "read_small() returns all objects up to SMALL_OBJECT"
        )
        for key, data in wanted.items():
            check_bytes(found[key], data, f"read_small() of an object of {len(data)} bytes")
        assert dict(backend.read_small("contract/ab/c/")) == {"contract/ab/c/d": TEXT}
        assert list(backend.read_small("contract/b/")) == []

    def test_reading_small_objects_copes_with_what_vanishes_meanwhile(self, backend: Backend) -> None:
        if not isinstance(backend, SmallObjects):
            pytest.skip("this backend has no SmallObjects")
        wanted = {f"contract/{number}/x" for number in range(20)}
        for key in wanted:
            put(backend, key, TEXT)
        left, seen = set(wanted), {}
        for key, data in backend.read_small("contract/"):
            seen[key] = data
            left.discard(key)
            if left:
                backend.delete(left.pop())
        assert set(seen) <= wanted
        assert set(seen.values()) == {TEXT}

    def test_moving_gives_an_object_another_name_and_replaces_what_had_it(self, backend: Backend) -> None:
        if not isinstance(backend, Movable):
            pytest.skip("this backend is not Movable")
        put(backend, KEY, TEXT)
        for _ in range(2):
            with backend.open(KEY) as reader:
                backend.move(KEY, f"{KEY}-moved")
                assert reader.read() == TEXT, "move() must not break the readers that are open"
            assert_absent(backend, KEY)
            assert get(backend, f"{KEY}-moved") == TEXT
            put(backend, KEY, TEXT)
        backend.delete(KEY)
        with pytest.raises(NotFoundError):
            backend.move(KEY, f"{KEY}-moved")
        assert get(backend, f"{KEY}-moved") == TEXT, "a missing object must not replace another one"

    def test_touching_makes_an_objects_time_that_of_now_and_nothing_else(self, backend: Backend) -> None:
        if not isinstance(backend, Touchable):
            pytest.skip("this backend is not Touchable")
        put(backend, KEY, TEXT)
        before = backend.stat(KEY)
        with backend.open(KEY) as reader:
            modified = getattr(reader, "modified", None)
            assert modified is not None, "readers of a Touchable have modified"
            assert abs(modified - before.modified) < 1, "HTTP gives times in whole seconds"
            backend.touch(KEY)
            assert reader.read() == TEXT, "touch() must not break the readers that are open"
        patience = time.monotonic() + PATIENCE
        while backend.stat(KEY).modified <= before.modified and time.monotonic() < patience:
            backend.touch(KEY)
        after = backend.stat(KEY)
        assert after.modified > before.modified
        assert (after.key, after.size, get(backend, KEY)) == (before.key, before.size, TEXT)
        backend.delete(KEY)
        backend.touch(KEY)
        assert_absent(backend, KEY)

    def test_a_signed_url_reads_one_object_without_credentials(self, backend: Backend) -> None:
        if not isinstance(backend, SignedURL):
            pytest.skip("this backend has no SignedURL")
        data, odd = pattern(300_000), f"{KEY}+@=:_-.x"
        put(backend, KEY, data)
        put(backend, odd, TEXT)
        url, other = (backend.signed_url(each, 60) for each in (KEY, odd))
        if url is None or other is None:
            pytest.skip("these credentials cannot sign")
        check_bytes(_fetched(url), data, "the object of a signed URL")
        check_bytes(_fetched(url, "bytes=1000-1999"), data[1000:2000], "a range of a signed URL")
        check_bytes(_fetched(other), TEXT, "a key with odd characters")
        put(backend, KEY, TEXT)
        check_bytes(_fetched(url), TEXT, "a signed URL names the object, not its bytes")
        backend.delete(KEY)
        assert urllib3.request("GET", url).status >= 400
        assert backend.signed_url(KEY, 60), "signed_url() does not look whether the object exists"

    def test_a_diagnosis_finds_something_and_writes_nothing(self, backend: Backend) -> None:
        if not isinstance(backend, Diagnosable):
            pytest.skip("this backend is not Diagnosable")
        put(backend, KEY, TEXT)
        before = list(backend.scan())
        for finding in backend.diagnose():
            assert isinstance(finding, Finding), f"diagnose() must yield Finding, not {finding!r}"
            assert finding.name
            assert finding.detail, "a finding must say what was found"
        assert list(backend.scan()) == before, "diagnose() must not write"

    def _sized(self, backend: Backend, size: int) -> Sink:
        if not isinstance(backend, SizedWrites):
            pytest.skip("this backend has no SizedWrites")
        return backend.create_sized(KEY, size)

    def _spool(self, backend: Backend) -> Spool:
        if not isinstance(backend, Spooler):
            pytest.skip("this backend is not a Spooler")
        return backend.spool()


def _fetched(url: str, wanted: str = "") -> bytes:
    """What anybody gets from a URL."""
    assert url.startswith(("http://", "https://")), f"signed_url() must return a URL, not {url!r}"
    answer = urllib3.request("GET", url, headers={"Range": wanted} if wanted else {}, timeout=PATIENCE)
    assert answer.status == (206 if wanted else 200), "a signed URL gives the whole object, or a range"
    return answer.data


def _follow(spool: Spool, size: int) -> bytes:
    """Read a spool from its start until there are ``size`` bytes of it."""
    buffer = bytearray(300_000)
    seen = bytearray()
    patience = time.monotonic() + PATIENCE
    while len(seen) < size and time.monotonic() < patience:
        seen += buffer[: spool.readinto_at(len(seen), buffer)]
    return bytes(seen)


def _write(sink: Sink, data: bytes, start: int = 0, *, commit: bool = False) -> None:
    """Write the data from ``start`` on, and go back where the store asks for that."""
    while True:
        try:
            for at in range(start, len(data), 1 << 20):
                sink.write(memoryview(data)[at : at + (1 << 20)])
            if commit:
                sink.commit()
        except RewindError as error:
            start = error.offset
        else:
            return
