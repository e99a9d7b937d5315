"""The hash and the number of all bytes of a stream, in one loop for everybody who reads one to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from layercache.oci.digest import Hash, hasher
from layercache.streams.readers import CHUNK, check_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.backend import Reader


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def chunks(stream: _Readable) -> Iterator[bytes]:
    """All bytes of a stream, at most `CHUNK` at a time."""
    return iter(lambda: stream.read(CHUNK), b"")


def hash_chunks(
    pieces: Iterable[bytes], algorithm: str, each: Callable[[bytes], object] = lambda _: None
) -> tuple[Hash, int]:
    """The hash of all pieces, and how many bytes they are. ``each`` is called with each piece."""
    running, count = hasher(algorithm), 0
    for piece in pieces:
        running.update(piece)
        each(piece)
        count += len(piece)
    return Hash.from_hasher(running), count


def hash_of(reader: Reader, algorithm: str) -> Hash:
    """The hash of all that a fresh reader gives. Raises `BackendError` where it ends before its size."""
    found, count = hash_chunks(chunks(reader), algorithm)
    check_whole(reader.size, count)
    return found
