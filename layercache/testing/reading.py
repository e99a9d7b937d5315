"""The promises about reading: missing objects, ranges, readers."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layercache.errors import LayercacheError, NotFoundError
from layercache.testing.base import KEY, TEXT, Hooks, assert_absent, check_bytes, few_examples, get, put

if TYPE_CHECKING:
    from layercache.backend import Backend, Reader


class ReadingPromises(Hooks):
    def test_an_object_reads_as_it_was_written(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        assert get(backend, KEY) == TEXT

    def test_what_is_not_there_is_not_found_at_open_and_not_only_at_read(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        for start, end in [(0, None), (0, 10), (5, None), (0, 0), (7, 7)]:
            with pytest.raises(NotFoundError):
                backend.open(f"{KEY}0", start, end)

    def test_what_is_not_there_is_not_found_by_stat(self, backend: Backend) -> None:
        with pytest.raises(NotFoundError):
            backend.stat(KEY)

    def test_what_was_deleted_or_aborted_is_not_found(self, backend: Backend) -> None:
        put(backend, f"{KEY}-deleted", TEXT)
        backend.delete(f"{KEY}-deleted")
        with backend.create(f"{KEY}-aborted") as sink:
            sink.write(TEXT)
        for name in ("deleted", "aborted"):
            assert_absent(backend, f"{KEY}-{name}")

    def test_names_beside_one_that_is_there_are_not_found(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        for name in (
            KEY[:-1],
            f"{KEY}0",
            KEY.upper(),
            f"{KEY}.tmp",
            KEY.replace("sha256", "sha512"),
            "other",
        ):
            assert_absent(backend, name)

    def test_a_folder_is_not_an_object(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        folder = KEY.rpartition("/")[0]
        with pytest.raises(NotFoundError):
            backend.open(folder)
        with pytest.raises(NotFoundError):
            backend.stat(folder)
        backend.delete(folder)
        assert get(backend, KEY) == TEXT

    def test_nothing_is_found_below_an_object(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        with pytest.raises(NotFoundError):
            backend.open(f"{KEY}/below")
        with pytest.raises(NotFoundError):
            backend.stat(f"{KEY}/below")
        backend.delete(f"{KEY}/below")
        assert list(backend.scan(f"{KEY}/")) == []

    def test_a_range_is_the_slice_of_the_object(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        end = len(TEXT)
        ranges: list[tuple[int, int | None]] = [
            (0, None), (0, 0), (0, 1), (1, 1), (0, end), (0, end + 1), (5, None), (17, 1025),
            (end - 1, end), (end - 1, end + 100), (end, end), (end, None), (end, end + 1),
            (end + 5, None), (end + 5, end + 5), (end + 5, end + 500),
        ]  # fmt: skip
        for start, stop in ranges:
            with backend.open(KEY, start, stop) as reader:
                assert reader.size == len(TEXT[start:stop]), (start, stop)
                assert reader.read() == TEXT[start:stop], (start, stop)

    @few_examples
    @given(start=st.integers(0, 200), length=st.none() | st.integers(0, 200), piece=st.integers(1, 64))
    def test_any_range_reads_in_pieces(
        self, backend: Backend, start: int, length: int | None, piece: int
    ) -> None:
        data = TEXT[:150]
        put(backend, KEY, data)
        end = None if length is None else start + length
        with backend.open(KEY, start, end) as reader:
            assert b"".join(iter(lambda: reader.read(piece), b"")) == data[start:end]

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (-5, 5), (3, 2), (1, 0), (0, -1)])
    def test_what_is_no_range_is_a_value_error(self, backend: Backend, start: int, end: int) -> None:
        put(backend, KEY, TEXT)
        with pytest.raises(ValueError, match="range"):
            backend.open(KEY, start, end)

    def test_a_range_of_an_empty_object_is_empty(self, backend: Backend) -> None:
        put(backend, KEY, b"")
        for start, end in [(0, None), (0, 0), (0, 10), (5, None), (5, 10)]:
            with backend.open(KEY, start, end) as reader:
                assert (reader.size, reader.read()) == (0, b"")

    def test_read_gives_at_most_what_was_asked_and_nothing_only_at_the_end(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        for start, end in [(0, None), (1, len(TEXT) - 1)]:
            with backend.open(KEY, start, end) as reader:
                assert reader.read(0) == b""
                first = reader.read(7)
                assert 0 < len(first) <= 7
                assert reader.read(0) == b""
                rest = reader.read(-1)
                assert first + rest == TEXT[start:end]
                assert (reader.read(), reader.read(-1), reader.read(5)) == (b"", b"", b"")

    def test_readinto_fills_the_start_of_a_larger_buffer_only(self, backend: Backend) -> None:
        put(backend, KEY, TEXT[:100])
        for start, end in [(0, None), (10, 90)]:
            wanted = TEXT[:100][start:end]
            with backend.open(KEY, start, end) as reader:
                buffer = bytearray(b"~" * 300)
                count = 0
                while got := reader.readinto(memoryview(buffer)[count:]):
                    count += got
                assert count == len(wanted)
                assert buffer == wanted + b"~" * (300 - count)
                assert reader.readinto(buffer) == 0

    def test_readinto_takes_any_buffer_however_small(self, backend: Backend) -> None:
        put(backend, KEY, TEXT[:1000])
        for start, end in [(0, None), (3, 777)]:
            with backend.open(KEY, start, end) as reader:
                assert reader.readinto(bytearray()) == 0
                buffer = bytearray(7)
                pieces = []
                while count := reader.readinto(buffer):
                    pieces.append(bytes(buffer[:count]))
                assert b"".join(pieces) == TEXT[:1000][start:end]

    def test_a_seekable_reader_seeks_as_a_file_does(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        for start, end in [(0, None), (10, 500)]:
            with backend.open(KEY, start, end) as reader:
                if reader.seekable() is False:
                    continue
                _check_seeking(reader, TEXT[start:end])

    def test_a_reader_closes_twice(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        for start, end in [(0, None), (1, 5)]:
            reader = backend.open(KEY, start, end)
            reader.read(1)
            reader.close()
            reader.close()
            with backend.open(KEY, start, end) as reader:
                reader.close()

    @pytest.mark.parametrize("change", ["replace", "shorten", "delete"])
    @pytest.mark.parametrize("start", [0, 5], ids=["whole", "range"])
    def test_an_open_reader_keeps_the_old_bytes_or_fails(
        self, backend: Backend, change: str, start: int
    ) -> None:
        old, new = b"old!" * (self.big // 4), b"new!" * (self.big // 4)
        put(backend, KEY, old)
        old = old[start:]
        with backend.open(KEY, start) as reader:
            seen = reader.read(1000)
            if change == "replace":
                put(backend, KEY, new)
            elif change == "shorten":
                put(backend, KEY, new[:2000])
            else:
                backend.delete(KEY)
            try:
                seen += reader.read()
            except LayercacheError:
                assert old.startswith(seen)
            else:
                check_bytes(
                    seen, old, "a reader of an object that has changed must return the old bytes, or raise"
                )


def _check_seeking(reader: Reader, data: bytes) -> None:
    assert isinstance(reader, io.IOBase)
    assert reader.tell() == 0
    assert reader.seek(7) == 7
    assert reader.read(5) == data[7:12]
    assert reader.tell() == 12
    assert reader.seek(-3, os.SEEK_CUR) == 9
    assert reader.seek(-4, os.SEEK_END) == len(data) - 4
    assert reader.read() == data[-4:]
    assert reader.seek(0) == 0
    assert reader.read() == data
