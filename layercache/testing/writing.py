"""The promises about writing: completely or not at all, and the last writer wins."""

from __future__ import annotations

import gc
import itertools
import mmap
import time
import warnings
from array import array
from typing import TYPE_CHECKING

import pytest

from layercache.errors import BackendError
from layercache.testing.base import KEY, TEXT, Hooks, assert_absent, get, pattern, put

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from layercache.backend import Backend


class WritingPromises(Hooks):
    @pytest.mark.parametrize("size", [0, 1, 65_537, 1 << 20])
    def test_an_object_of_any_size_is_whole(self, backend: Backend, size: int) -> None:
        data = pattern(size)
        put(backend, KEY, data)
        assert backend.stat(KEY).size == size
        with backend.open(KEY) as reader:
            assert reader.size == size
            assert reader.read() == data

    def test_a_big_object_written_in_uneven_pieces_is_whole(self, backend: Backend) -> None:
        data = pattern(self.big)
        lengths = itertools.cycle([1, 1 << 20, 0, 12_345, (3 << 20) + 1, 7])
        with backend.create(KEY) as sink:
            start = 0
            while start < len(data):
                length = next(lengths)
                sink.write(memoryview(data)[start : start + length])
                start += length
            sink.commit()
        assert backend.stat(KEY).size == len(data)
        assert get(backend, KEY) == data
        assert get(backend, KEY, self.big - 5, self.big + 5) == data[-5:]

    def test_a_big_object_written_at_once_is_whole(self, backend: Backend) -> None:
        data = pattern(self.big)
        put(backend, KEY, data)
        with backend.open(KEY) as reader:
            buffer = bytearray(1 << 20)
            count = 0
            while got := reader.readinto(buffer):
                assert buffer[:got] == data[count : count + got]
                count += got
        assert count == len(data)

    def test_write_takes_any_buffer_of_bytes(self, backend: Backend) -> None:
        with mmap.mmap(-1, 4096) as mapped:
            mapped[:] = b"m" * 4096
            numbers = array("H", [1, 2, 3])
            buffers: list[ReadableBuffer] = [
                b"bytes", bytearray(b"bytearray"), memoryview(b"a memoryview")[2:], mapped, numbers,
                memoryview(numbers)[1:], b"", bytearray(),
            ]  # fmt: skip
            with backend.create(KEY) as sink:
                for buffer in buffers:
                    sink.write(buffer)
                sink.commit()
            assert get(backend, KEY) == b"".join(bytes(buffer) for buffer in buffers)

    def test_a_buffer_is_the_callers_again_when_write_returns(self, backend: Backend) -> None:
        data = pattern(self.big)
        buffer = bytearray(1 << 20)
        with backend.create(KEY) as sink:
            for start in range(0, len(data), len(buffer)):
                piece = data[start : start + len(buffer)]
                buffer[: len(piece)] = piece
                sink.write(memoryview(buffer)[: len(piece)])
                buffer[:] = bytes(len(buffer))
            buffer.clear()  # raises BufferError while somebody holds on to it
            sink.commit()
        assert get(backend, KEY) == data

    def test_nothing_is_visible_before_commit(self, backend: Backend) -> None:
        for size in (0, 1000, self.big):
            with backend.create(KEY) as sink:
                assert_absent(backend, KEY)
                sink.write(bytes(size))
                assert_absent(backend, KEY)
            assert_absent(backend, KEY)

    def test_a_commit_is_seen_by_open_and_stat_and_scan(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        entry = backend.stat(KEY)
        assert (entry.key, entry.size) == (KEY, len(TEXT))
        assert abs(entry.modified - time.time()) < 3600, "modified must be in seconds since the epoch"
        for prefix in ("", "contract/", "contract/blobs/sha256/"):
            (listed,) = backend.scan(prefix)
            assert (listed.key, listed.size) == (KEY, len(TEXT))
            assert abs(listed.modified - entry.modified) <= 1, "a service may round to seconds"

    @pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
    @pytest.mark.parametrize("size", [0, 1000, None])
    def test_leaving_the_block_by_an_exception_aborts(
        self, backend: Backend, kind: type[BaseException], size: int | None
    ) -> None:
        with pytest.raises(kind), backend.create(KEY) as sink:  # the block is what is tested
            sink.write(bytes(self.big if size is None else size))
            raise kind
        assert_absent(backend, KEY)

    def test_leaving_the_block_without_commit_leaves_what_was_there(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        with backend.create(KEY) as sink:
            sink.write(b"half")
        assert get(backend, KEY) == TEXT

    def test_a_sink_that_is_forgotten_leaves_nothing(self, backend: Backend) -> None:
        gc.collect()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            backend.create(KEY).write(TEXT)
            gc.collect()
        assert [str(warning.message) for warning in seen] == []
        assert_absent(backend, KEY)

    def test_abort_ends_a_sink_and_may_be_called_again(self, backend: Backend) -> None:
        sink = backend.create(KEY)
        sink.write(TEXT)
        sink.abort()
        sink.abort()
        with pytest.raises(BackendError):
            sink.write(TEXT)
        with pytest.raises(BackendError):
            sink.commit()
        sink.abort()
        assert_absent(backend, KEY)

    def test_commit_ends_a_sink_and_abort_after_it_takes_nothing_back(self, backend: Backend) -> None:
        sink = backend.create(KEY)
        sink.write(TEXT)
        sink.commit()
        with pytest.raises(BackendError):
            sink.write(TEXT)
        with pytest.raises(BackendError):
            sink.commit()
        sink.abort()
        sink.abort()
        assert get(backend, KEY) == TEXT

    @pytest.mark.parametrize("size", [0, 3, 100_000])
    def test_an_object_is_replaced_whole(self, backend: Backend, size: int) -> None:
        put(backend, KEY, TEXT)
        put(backend, KEY, bytes(size))
        assert get(backend, KEY) == bytes(size)
        assert [(entry.key, entry.size) for entry in backend.scan()] == [(KEY, size)]

    def test_publishing_again_refreshes_the_time(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        first = backend.stat(KEY).modified
        patience = time.monotonic() + 5  # a service may count in seconds
        while (later := backend.stat(KEY).modified) == first and time.monotonic() < patience:
            time.sleep(0.01)
            put(backend, KEY, TEXT)
        assert later > first

    def test_the_time_is_that_of_the_commit(self, backend: Backend) -> None:
        other = f"{KEY}-other"
        with backend.create(KEY) as sink:
            sink.write(TEXT)
            put(backend, other, TEXT)
            first = backend.stat(other).modified
            patience = time.monotonic() + 5
            while backend.stat(other).modified == first and time.monotonic() < patience:
                time.sleep(0.01)
                put(backend, other, TEXT)
            sink.commit()
        assert backend.stat(KEY).modified > first

    def test_the_last_to_commit_wins_whoever_began_first(self, backend: Backend) -> None:
        with backend.create(KEY) as early, backend.create(KEY) as late:
            early.write(b"early")
            late.write(b"late")
            late.commit()
            assert get(backend, KEY) == b"late"
            early.commit()
        assert get(backend, KEY) == b"early"
