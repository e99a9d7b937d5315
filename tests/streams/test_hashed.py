"""Bytes are judged before the last of them are given: wrong ones never end well."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import pytest
from fixtures.blobs import Trickle
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.images import noise, tar_of

from layercache.errors import BackendError, DigestMismatchError, LayercacheError
from layercache.oci.digest import Hash
from layercache.streams.readers import CHUNK, HashedReader, WrappingReader, stream, verified
from layercache_backends.memory import MemoryReader

if TYPE_CHECKING:
    from layercache.backend import Reader

pytestmark = pytest.mark.timeout(60)

SIZES = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 99]
STEPS = [1 << 30, CHUNK, 100_000]


def read(reader: Reader, size: int = CHUNK) -> bytes:
    return b"".join(iter(lambda: reader.read(size), b""))


def given_before_failing(reader: Reader, size: int = CHUNK, match: str = "") -> bytes:
    """What a reader gives before it fails, as it does at every read from then on."""
    got: list[bytes] = []
    with pytest.raises(DigestMismatchError, match=match or None):
        got.extend(iter(lambda: reader.read(size), b""))
    for _ in range(3):
        with pytest.raises(DigestMismatchError):
            reader.read(size)
        with pytest.raises(DigestMismatchError):
            reader.read()
    return b"".join(got)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("stated", [True, False])
def test_right_bytes_pass(size: int, step: int, stated: bool) -> None:
    data = noise(size)
    with verified(Trickle(data, step), Hash.of(data), size if stated else None) as reader:
        assert read(reader) == data
        assert reader.read(1) == b""


def test_right_bytes_pass_in_whatever_parts_they_are_read() -> None:
    data = noise(3 * CHUNK + 5)
    for size in (-1, 777, 10 * CHUNK):
        assert read(verified(MemoryReader(data), Hash.of(data)), size) == data
    reader = verified(MemoryReader(data), Hash.of(data, "sha512"))
    assert reader.read(0) == b""
    buffer = bytearray(100_000)
    assert b"".join(iter(lambda: bytes(buffer[: reader.readinto(buffer)]), b"")) == data
    assert stream(verified(Trickle(noise(700), 1), Hash.of(noise(700)))).read() == noise(700)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", STEPS)
def test_of_wrong_bytes_the_last_are_not_given(size: int, step: int) -> None:
    data = noise(size)
    reader = verified(Trickle(data, step), Hash.of(data + b"!"))
    got = given_before_failing(reader, match=f"have the hash {Hash.of(data)}")
    assert data.startswith(got)
    assert len(got) <= max(0, size - CHUNK)


@pytest.mark.parametrize("size", [1, 100, 3000])
def test_of_a_small_wrong_blob_nothing_is_given_however_it_comes(size: int) -> None:
    reader = verified(Trickle(noise(size), 1), Hash.of(b""))
    assert given_before_failing(reader, 1) == b""


def read_tar(raw: BinaryIO) -> None:
    with tarfile.open(fileobj=raw, mode="r|") as tar:
        assert len(tar.getmembers()) == 1


@pytest.mark.parametrize("more", [1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_a_reader_who_stops_at_the_end_marker_of_a_wrong_tar_is_told(more: int) -> None:
    size = 2 * CHUNK + more
    tar = tar_of({"file": noise(size - size % 512)})
    wrong = bytearray(tar)
    wrong[600] ^= 1
    with (
        stream(verified(MemoryReader(bytes(wrong)), Hash.of(tar))) as raw,
        pytest.raises(DigestMismatchError),
    ):
        read_tar(raw)


@pytest.mark.parametrize("length", [0, 1, CHUNK, 3 * CHUNK])
def test_too_few_bytes_are_told_by_their_number(length: int) -> None:
    data = noise(3 * CHUNK + 1)
    reader = verified(MemoryReader(data[:length]), Hash.of(data), len(data))
    got = given_before_failing(reader, match=f"came with {length} bytes instead of the {len(data)}")
    assert len(got) <= max(0, length - CHUNK)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 5])
def test_more_bytes_than_stated_are_not_read_on_and_on(size: int) -> None:
    data = noise(size)
    raw = Trickle(data + bytes(50 * CHUNK), CHUNK)
    got = given_before_failing(verified(raw, Hash.of(data), size), match="instead of the")
    assert data.startswith(got)
    assert raw.taken <= size + 2 * CHUNK


@given(st.integers(0, 3), st.integers(-2, 2), st.integers(10_000, 3 * CHUNK), st.sampled_from(STEPS))
@settings(max_examples=40)
def test_a_reader_has_judged_before_the_last_chunk_is_given(
    chunks: int, off: int, size: int, step: int
) -> None:
    data = bytes(max(0, chunks * CHUNK + off))
    judged: list[tuple[Hash, int]] = []
    reader = HashedReader(Trickle(data, step), lambda found, seen: judged.append((found, seen)))
    given = 0
    while part := reader.read(size):
        given += len(part)
        assert judged or given <= len(data) - CHUNK
    assert given == len(data)
    assert reader.read() == reader.read(1) == b""
    assert judged == [(Hash.of(data), len(data))]


def test_a_judge_who_refuses_is_asked_once() -> None:
    judged = []

    def refuse(found: Hash, size: int) -> NoReturn:
        judged.append(size)
        raise BackendError("no")

    reader = HashedReader(MemoryReader(noise(CHUNK)), refuse)
    for _ in range(4):
        with pytest.raises(BackendError, match="no"):
            reader.read(10)
    assert judged == [CHUNK]


class Hiccup(WrappingReader):
    """A reader that fails once in the middle, and would go on after that."""

    def __init__(self, data: bytes, at: int, error: BaseException) -> None:
        super().__init__(MemoryReader(data))
        self._at = at
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        self._at -= 1
        if self._at == 0:
            raise self._error
        return self._raw.read(size)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_no_bytes_are_lost_between_an_error_and_a_clean_end(at: int) -> None:
    data = noise(3 * CHUNK)
    reader = verified(Hiccup(data, at, BackendError("a hiccup")), Hash.of(data))
    for _ in range(5):
        with pytest.raises(BackendError, match="a hiccup"):
            read(reader)


def test_an_interrupt_is_raised_once_and_the_reader_is_of_no_use_any_more() -> None:
    data = noise(3 * CHUNK)
    reader = verified(Hiccup(data, 2, KeyboardInterrupt()), Hash.of(data))
    with pytest.raises(KeyboardInterrupt):
        reader.read(1)
    for _ in range(2):
        with pytest.raises(LayercacheError, match="interrupted"):
            reader.read(1)


def test_a_closed_reader_gives_nothing_and_has_closed_what_it_reads_from() -> None:
    raw = MemoryReader(noise(2 * CHUNK))
    reader = verified(raw, Hash.of(noise(2 * CHUNK)))
    assert len(reader.read(10)) == 10
    reader.close()
    reader.close()
    assert raw.closed
    with pytest.raises(ValueError, match="closed"):
        reader.read(10)
