"""The guard around a backend: it keeps the promises of the interface, or raises `BackendError`."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from servers.misbehaving import RAISED, SIZES, BadBackend, Options, RawReader, install

from layercache.backend import Backend, Entry
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache.streams.readers import stream
from layercache.tiers.guarded import guarded
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "blobs/sha256/1234"
DATA = os.urandom(3000)


def write(backend: Backend, data: bytes = DATA, key: str = KEY) -> None:
    with backend.create(key) as sink:
        sink.write(data)
        sink.commit()


def read(backend: Backend) -> bytes:
    with backend.open(KEY) as reader:
        return reader.read()


CALLS: dict[str, Callable[[Backend], object]] = {
    "open": read,
    "size": read,
    "read": read,
    "create": write,
    "write": write,
    "commit": write,
    "stat": lambda backend: backend.stat(KEY),
    "scan": lambda backend: list(backend.scan("blobs/")),
    "delete": lambda backend: backend.delete(KEY),
    "close": lambda backend: backend.close(),
    "abort": lambda backend: backend.create(KEY).abort(),
}


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Backend]:
    """A store with one object, whose backend goes wrong in one call, in one way."""
    install(tmp_path / "site", "bad = servers.misbehaving:from_url")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    write(LocalBackend(str(tmp_path / "store")))
    return lambda fault, how: guarded(BadBackend(str(tmp_path / "store"), Options(fault, how)))


@pytest.mark.parametrize("how", [how for how in RAISED if how != "absence"])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_plug_in_raises_is_a_backend_error_that_names_store_and_package(
    bad: Callable[[str, str], Backend], call: str, how: str
) -> None:
    backend = bad(call, how)
    with pytest.raises(BackendError) as caught:
        CALLS[call](backend)
    assert "bad://" in caught.value.message
    if how != "ours":
        assert "layercache-bad 1.2.3" in caught.value.message
        assert caught.value.__cause__ is not None
    if call != "close":
        assert call == "scan" or KEY in caught.value.message or how == "ours"


@pytest.mark.parametrize("call", ["create", "write", "commit", "delete", "scan", "close", "read"])
def test_absence_is_an_answer_to_open_and_stat_alone(bad: Callable[[str, str], Backend], call: str) -> None:
    with pytest.raises(BackendError, match="NotFoundError: nothing here"):
        CALLS[call](bad(call, "absence"))
    for call in ("open", "stat"):
        with pytest.raises(NotFoundError, match="nothing here"):
            CALLS[call](bad(call, "absence"))


def test_what_the_interface_promises_passes(bad: Callable[[str, str], Backend]) -> None:
    backend = bad("", "")
    for start, end in ((-1, None), (3, 2)):
        with pytest.raises(ValueError, match="not a range"):
            backend.open(KEY, start, end)
    with pytest.raises(ValueError, match="not a folder"):
        backend.scan("blobs")
    with pytest.raises(NotFoundError):
        backend.open("blobs/sha256/absent")
    with pytest.raises(ConfigError):
        backend.open("../../etc/passwd")
    with backend.open(KEY, 5, 10) as reader:
        assert (reader.size, reader.read()) == (5, DATA[5:10])
    with backend.open(KEY, len(DATA) + 5) as reader:
        assert (reader.size, reader.read()) == (0, b"")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_pass(
    bad: Callable[[str, str], Backend],
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[BaseException],
) -> None:
    monkeypatch.setitem(RAISED, "interrupt", interrupt)
    for call in ("open", "read", "write", "stat", "delete"):
        with pytest.raises(interrupt):
            CALLS[call](bad(call, "interrupt"))


def test_an_exit_in_a_thread_of_ours_is_a_failure_of_the_backend(
    bad: Callable[[str, str], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RAISED, "exit", lambda: SystemExit(0))
    with ThreadPoolExecutor(1) as pool, pytest.raises(BackendError, match="SystemExit: 0"):
        pool.submit(CALLS["read"], bad("read", "exit")).result()


@pytest.mark.parametrize("call", ["reader.close", "abort"])
def test_a_panic_while_a_reader_or_sink_is_left_hides_nothing(
    bad: Callable[[str, str], Backend], call: str
) -> None:
    backend = bad(call, "panic")
    assert read(backend) == DATA
    with pytest.raises(ZeroDivisionError), backend.create(KEY):
        raise ZeroDivisionError


SIZES_OF_READS = (1, 7, 1000, 2999, 3000, 3001, -1)


@pytest.mark.parametrize("size", SIZES_OF_READS)
@pytest.mark.parametrize("fault", ["data short", "data ends", "data long", "read None", "read text"])
def test_a_reader_gives_all_bytes_or_raises(
    bad: Callable[[str, str], Backend], fault: str, size: int
) -> None:
    backend = bad(*fault.split(" "))
    for whole in (_in_pieces, _into_a_buffer):
        with backend.open(KEY) as reader:
            given: list[bytes] = []
            with pytest.raises(BackendError, match=f"{KEY}: (ended|gave|read gave)"):
                whole(reader, size, given)
            assert len(b"".join(given)) < len(DATA)
            with pytest.raises(BackendError):  # it stays failed
                reader.read(1)


@pytest.mark.parametrize("size", [1, 150, 2999, 5000])
@pytest.mark.parametrize("how", ["overclaiming", "beyond", "negative", "None"])
def test_a_readinto_that_claims_more_than_it_got_is_found_out(how: str, size: int) -> None:
    class Store(MemoryBackend):
        def open(self, key: str, start: int = 0, end: int | None = None) -> Any:
            return RawReader(DATA, how)

    with guarded(Store()).open(KEY) as reader:
        given: list[bytes] = []
        if how == "overclaiming" and size == 1:
            _in_pieces(reader, size, given)  # there it claims what it got
            assert b"".join(given) == DATA
            return
        with pytest.raises(BackendError):
            _in_pieces(reader, size, given)
        assert len(b"".join(given)) < len(DATA)


def test_a_read_gives_no_more_than_it_was_asked_for(bad: Callable[[str, str], Backend]) -> None:
    with bad("read", "more than asked").open(KEY) as reader, pytest.raises(BackendError, match="7 were"):
        reader.read(7)


@pytest.mark.parametrize("how", SIZES)
def test_a_reader_states_a_size(bad: Callable[[str, str], Backend], how: str) -> None:
    with pytest.raises(BackendError, match="states the size"):
        bad("size", how).open(KEY)


def test_a_range_has_no_more_bytes_than_were_asked_for() -> None:
    class Store(MemoryBackend):
        def open(self, key: str, start: int = 0, end: int | None = None) -> Any:
            return super().open(key)

    store = Store()
    write(store)
    with pytest.raises(BackendError, match="states the size 3000"):
        guarded(store).open(KEY, 10, 20)


def test_how_a_reader_ends_changes_nothing_of_what_it_gave(bad: Callable[[str, str], Backend]) -> None:
    assert read(bad("reader.close", "OSError")) == DATA


def test_a_failing_abort_does_not_hide_why_it_is_given_up(bad: Callable[[str, str], Backend]) -> None:
    with pytest.raises(ZeroDivisionError), bad("abort", "SDK").create(KEY):
        _ = 1 // 0
    with pytest.raises(BackendError, match="slow down"), bad("abort", "SDK").create(KEY):
        pass


@pytest.mark.parametrize("call", ["stat", "scan"])
@pytest.mark.parametrize("how", [*SIZES, "other key", "no entry", "no time"])
def test_junk_is_no_entry(bad: Callable[[str, str], Backend], call: str, how: str) -> None:
    with pytest.raises(BackendError, match="layercache-bad"):
        CALLS[call](bad(call, how))


def test_what_is_not_a_key_is_not_listed() -> None:
    class Store(MemoryBackend):
        def scan(self, prefix: str = "") -> Iterator[Entry]:
            yield Entry("blobs/.hidden", 1, 1.0)
            yield Entry("blobs/../../etc/passwd", 1, 1.0)
            yield from super().scan(prefix)

    store = Store()
    write(store)
    assert [entry.key for entry in guarded(store).scan("blobs/")] == [KEY]


@pytest.mark.parametrize("fault", ["commit nothing published", "write a byte lost"])
def test_a_blob_that_was_not_published_whole_is_an_error(
    bad: Callable[[str, str], Backend], fault: str
) -> None:
    call, _, how = fault.partition(" ")
    backend = bad(call, how)
    new = "blobs/sha256/new"
    with pytest.raises(BackendError, match="commit published"):
        write(backend, key=new)
    with pytest.raises(NotFoundError):
        backend.stat(new)


def test_the_object_behind_a_fact_is_not_asked_for_again() -> None:
    asked = []

    class Store(MemoryBackend):
        def stat(self, key: str) -> Entry:
            asked.append(key)
            return super().stat(key)

    backend = guarded(Store())
    write(backend, key="associations/v1/x")
    write(backend)
    assert asked == [KEY]


def test_what_is_raised_while_a_listing_is_looked_at_passes_as_it_is(
    bad: Callable[[str, str], Backend],
) -> None:
    with pytest.raises(ZeroDivisionError):
        [1 // 0 for _ in bad("", "").scan()]


@pytest.mark.parametrize("begun", [0, 1, 2999])
def test_a_buffered_reader_of_a_file_that_is_cut_does_not_end_well(tmp_path: Path, begun: int) -> None:
    backend = LocalBackend(str(tmp_path))
    write(backend)
    with stream(backend.open(KEY)) as reader:
        reader.read(begun)
        os.truncate(tmp_path / KEY, 1000)
        with pytest.raises(BackendError, match="when it was opened"):
            _in_pieces(reader, -1, [])


@pytest.mark.parametrize("pieces", [7, 100_000, -1])
@pytest.mark.parametrize("now", [0, 1000, 2999, 3001, 6000])
def test_a_file_that_is_cut_or_grows_while_it_is_read_is_an_error(
    tmp_path: Path, now: int, pieces: int
) -> None:
    backend = LocalBackend(str(tmp_path))
    write(backend)
    with backend.open(KEY) as reader:
        os.truncate(tmp_path / KEY, now)
        with pytest.raises(BackendError, match="when it was opened"):
            _in_pieces(reader, pieces, [])


def _in_pieces(reader: Any, size: int, given: list[bytes]) -> None:
    while part := reader.read(size):
        given.append(part)


def _into_a_buffer(reader: Any, size: int, given: list[bytes]) -> None:
    buffer = bytearray(size if size > 0 else 10_000)
    with suppress(io.UnsupportedOperation):
        while count := reader.readinto(buffer):
            given.append(bytes(buffer[:count]))
