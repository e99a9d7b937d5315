"""`PlainBackend`: what an author gets for six small methods."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from layercache.backend import Backend, Entry
from layercache.backend.plain import PIECE, ConditionalPlainBackend, PerProcess, Piece, PlainBackend
from layercache.errors import BackendError, NotFoundError
from layercache.testing import KEY, BackendContract, get, in_forked_child, put
from layercache.testing.base import TEXT, pattern

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from layercache.backend.plain import PlainReader


class Shelf(PlainBackend):
    """Objects in a dictionary, with calls counted and failing as they are told to."""

    def __init__(self, timeout: float = 10.0) -> None:
        super().__init__("shelf://", timeout=timeout)
        self.objects: dict[str, Piece] = {}
        self.failures: list[Exception] = []
        self.asked: list[str] = []
        self.shortened = 0
        self._versions = iter(range(1, 1 << 30))
        self._lock = threading.Lock()

    def fetch(self, key: str, start: int, length: int, version: object | None) -> Piece | None:
        self._ask("fetch")
        found = self.objects.get(key)
        if found is None:
            return None
        data = found.data[start : start + length]
        return Piece(data[: len(data) - self.shortened], found.size, found.modified, found.version)

    def put(self, key: str, data: bytes) -> None:
        self._ask("put")
        with self._lock:
            self.objects[key] = Piece(data, len(data), time.time(), next(self._versions))

    def put_file(self, key: str, file: io.BufferedIOBase, size: int) -> None:
        data = file.read()
        assert len(data) == size
        self.put(key, data)

    def list(self, prefix: str) -> Iterator[Entry]:
        self._ask("list")
        for key, found in list(self.objects.items()):
            if key.startswith(prefix):
                yield Entry(key, found.size, found.modified)

    def remove(self, key: str) -> None:
        self._ask("remove")
        self.objects.pop(key, None)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failures:
            raise self.failures.pop(0)


class TestPlain(BackendContract):
    heavy = 0  # the dictionary is memory

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with closing(Shelf()) as backend:
            yield backend


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_what_may_pass_is_tried_again_and_is_not_seen(shelf: Shelf) -> None:
    shelf.failures = [ConnectionResetError("reset"), TimeoutError("late")]
    put(shelf, KEY, TEXT)
    assert shelf.asked == ["put"] * 3
    shelf.failures = [ConnectionResetError("reset")]
    assert get(shelf, KEY) == TEXT
    shelf.failures = [ConnectionResetError("reset")]
    assert [entry.key for entry in shelf.scan()] == [KEY]


def test_all_tries_of_a_call_end_within_one_time() -> None:
    shelf = Shelf(timeout=0.2)
    shelf.failures = [ConnectionResetError("reset") for _ in range(1000)]
    with pytest.raises(BackendError, match=f"shelf://: looking at|shelf://: reading {KEY}: reset") as failure:
        shelf.stat(KEY)
    assert isinstance(failure.value.__cause__, ConnectionResetError)
    assert 1 < len(shelf.asked) < 20


@pytest.mark.parametrize("error", [KeyError("no such column"), PermissionError("denied"), OSError("odd")])
def test_other_errors_are_the_stores_at_once_and_never_absence(shelf: Shelf, error: Exception) -> None:
    for call in (
        lambda: shelf.open(KEY),
        lambda: shelf.stat(KEY),
        lambda: list(shelf.scan()),
        lambda: shelf.delete(KEY),
        lambda: put(shelf, KEY, TEXT),
    ):
        shelf.failures, before = [error], len(shelf.asked)
        with pytest.raises(BackendError, match="shelf://: ") as failure:
            call()
        assert failure.value.__cause__ is error
        assert len(shelf.asked) == before + 1


def test_an_object_is_read_in_pieces_and_one_request_each(shelf: Shelf) -> None:
    put(shelf, KEY, data := pattern(2 * PIECE + 1))
    shelf.asked.clear()
    assert get(shelf, KEY) == data
    assert shelf.asked == ["fetch"] * 3
    shelf.asked.clear()
    assert get(shelf, KEY, 5, 10) == data[5:10]
    assert shelf.asked == ["fetch"]


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(shelf: Shelf) -> None:
    put(shelf, KEY, bytes(2 * PIECE))
    with shelf.open(KEY) as reader:
        put(shelf, KEY, bytes(2 * PIECE))
        with pytest.raises(BackendError, match="replaced or removed"):
            reader.read()


def test_an_object_that_is_removed_while_it_is_read_is_an_error_not_absence(shelf: Shelf) -> None:
    put(shelf, KEY, bytes(2 * PIECE))
    with shelf.open(KEY) as reader:
        shelf.delete(KEY)
        with pytest.raises(BackendError, match="replaced or removed"):
            reader.read()


def test_fewer_bytes_than_asked_for_are_no_end(shelf: Shelf) -> None:
    put(shelf, KEY, TEXT)
    shelf.shortened = len(TEXT) - 100
    reader: PlainReader = shelf.open(KEY)
    shelf.shortened = 7
    assert reader.read(100) == TEXT[:100]
    with pytest.raises(BackendError, match="expected up to 7 bytes"):
        reader.read()


def test_an_abort_asks_the_store_nothing(shelf: Shelf) -> None:
    with shelf.create(KEY) as sink:
        sink.write(bytes(2 * PIECE))
    assert shelf.asked == []
    with pytest.raises(NotFoundError):
        shelf.stat(KEY)


def test_a_big_object_waits_in_a_file_and_is_sent_once(shelf: Shelf) -> None:
    data = pattern(PIECE + 1)
    with shelf.create(KEY) as sink:
        sink.write(data[:10])
        sink.write(data[10:])
        sink.commit()
    assert shelf.asked == ["put"]
    assert shelf.objects[KEY].data == data


def test_a_client_is_made_once_in_each_process() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(os.getpid())
        return os.getpid()

    client = PerProcess(make)
    assert [client.get(), client.get()] == [os.getpid()] * 2
    assert len(made) == 1
    assert in_forked_child(lambda: client.get() == os.getpid() and client.get() == os.getpid()) == "True"
    assert client.take() == os.getpid()
    assert client.take() is None
    client.get()
    assert len(made) == 2


class ComparingShelf(Shelf, ConditionalPlainBackend):
    """It compares and writes in one step, and may lose the response of that."""

    lost = 0

    def fetch(self, key: str, start: int, length: int, version: object | None) -> Piece | None:
        found = super().fetch(key, start, length, version)
        return found and Piece(found.data, found.size, found.modified, str(found.version))

    def put_if(self, key: str, data: bytes, version: str | None) -> bool:
        self._ask("put_if")
        with self._lock:
            found = self.objects.get(key)
            if version != (found and str(found.version)):
                return False
            self.objects[key] = Piece(data, len(data), time.time(), next(self._versions))
        if self.lost:
            self.lost -= 1
            raise ConnectionResetError("the response is lost")
        return True


class TestComparingShelf(BackendContract):
    heavy = 0
    many = 10

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with closing(ComparingShelf()) as backend:
            yield backend


def test_a_conditional_write_is_one_call() -> None:
    shelf = ComparingShelf()
    assert shelf.honours_conditions()
    assert shelf.create_new(KEY, TEXT)
    assert not shelf.create_new(KEY, TEXT)
    assert shelf.write_if(KEY, b"next", shelf.read_versioned(KEY)[1])
    assert shelf.asked == ["put_if", "put_if", "fetch", "put_if"]


def test_a_conditional_write_whose_response_is_lost_was_done() -> None:
    shelf = ComparingShelf()
    shelf.lost = 1
    assert shelf.create_new(KEY, TEXT)
    version = shelf.read_versioned(KEY)[1]
    shelf.lost = 1
    assert shelf.write_if(KEY, b"next", version)
    shelf.failures = [ConnectionResetError("before it was sent")]
    assert not shelf.write_if(KEY, b"late", version)
    assert get(shelf, KEY) == b"next"


def test_without_versions_of_its_objects_a_store_is_not_conditional() -> None:
    class Versionless(ComparingShelf):
        def fetch(self, key: str, start: int, length: int, version: object | None) -> Piece | None:
            return Piece(TEXT, len(TEXT), 0.0, None)

    with pytest.raises(BackendError, match="no versions of objects"):
        Versionless().read_versioned(KEY)
