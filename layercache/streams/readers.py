"""Readers that wrap readers: verified, looked into, buffered; and what a blob's first bytes say it is."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Self, cast

from layercache.errors import BackendError, DigestMismatchError, FormatError, LayercacheError, NotALayerError
from layercache.oci.descriptor import GZIP, NO_COMPRESSION, ZSTD
from layercache.oci.digest import Hash, hasher

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from types import TracebackType

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader

BUFFER = 32 << 10
"""Bytes of a stream's buffer. A caller that asks for more, as copying does, gets them without a copy."""

HEAD = 512
"""The number of first bytes that show what a blob is: a tar's first header."""

CHUNK = 512 << 10
GZIP_MAGIC = b"\x1f\x8b"


def sniff(head: bytes) -> str | None:
    """How the bytes are compressed, by the first `HEAD` of them; None when they are not a layer at all.

    gzip: RFC 1952, 2.3.1. zstd: RFC 8878, 3.1.1 and 3.1.2 (skippable frames). A plain tar has a
    header whose checksum is right, or is empty: blocks of zeros (POSIX pax, "ustar Interchange Format").
    """
    if head.startswith(GZIP_MAGIC):
        return GZIP
    if head[1:4] == b"\xb5\x2f\xfd" and head[0] == 0x28:
        return ZSTD
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return ZSTD
    return NO_COMPRESSION if _is_tar_header(head) else None


def sniff_layer(head: bytes) -> str | None:
    """As `sniff`, for what is stated to be a layer: then no bytes at all are an empty tar."""
    return sniff(head) if head else NO_COMPRESSION


def layer_compression(head: bytes, name: Hash) -> str:
    """How a layer is compressed, by its first `HEAD` bytes. Raises `NotALayerError` if it is not a layer."""
    compression = sniff_layer(head)
    if compression is None:
        if head.lstrip().startswith(b"{") and b'"schemaVersion"' in head:
            hint = f"name the image by its repository and this digest: REPOSITORY@{name}"
            raise NotALayerError(f"{name} is not a layer: it is the manifest of an image", hint=hint)
        raise not_a_layer(name, "neither gzip, zstd nor tar")
    return compression


def not_a_layer(name: Hash, what: str) -> NotALayerError:
    hint = "ask for the compressed form, which is the blob as it is"
    return NotALayerError(f"{name} is not a layer: {what}", hint=hint)


def _is_tar_header(head: bytes) -> bool:
    if len(head) < HEAD:
        return False
    if not any(head):
        return True
    try:
        stated = int(head[148:156].strip(b" \0") or b"-", 8)
    except ValueError:
        return False
    counted = head[:148] + head[156:HEAD]
    found = sum(counted) + 8 * 0x20
    # Old tars of Sun and others summed signed characters, as GNU tar and Go still read them.
    return stated in (found, found - 0x100 * sum(byte > 0x7F for byte in counted))


class WrappingReader(ABC):
    """What readers of readers share: ``readinto`` by ``read``, no seeking, and closing what is wrapped."""

    def __init__(self, raw: Reader, size: int | None = None) -> None:
        self._raw = raw
        self.size = size

    @abstractmethod
    def read(self, size: int = -1, /) -> bytes: ...

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        chunk = self.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


class JudgingReader(WrappingReader):
    """A reader that judges what it reads. Once it has failed it keeps failing: no later read ends well."""

    _failure: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if self._failure is not None:
            raise self._failure
        try:
            return self._read(size)
        except BaseException as error:
            interrupted = LayercacheError("an earlier read was interrupted")
            self._failure = error if isinstance(error, Exception) else interrupted
            raise

    @abstractmethod
    def _read(self, size: int) -> bytes: ...

    def close(self) -> None:
        self._failure = ValueError("read of a closed reader")
        super().close()


def read_full(raw: Reader, size: int) -> bytes:
    """So many bytes, less only at the end, from a reader that may give them in small parts."""
    parts = []
    while size and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def begins_with(reader: Reader, count: int, expected: _Hash) -> bool:
    """Whether the next ``count`` bytes of a reader have a hash. It is read up to there."""
    found = hasher(expected.name)
    while count and (part := reader.read(min(CHUNK, count))):
        found.update(part)
        count -= len(part)
    return not count and found.digest() == expected.digest()


def read_bounded(reader: Reader, limit: int, what: str) -> bytes:
    """All of something small. Raises `FormatError` for more than ``limit`` bytes, and reads no more."""
    size = reader.size
    if size is None or size <= limit:
        data = read_full(reader, limit + 1 if size is None else size)
        if len(data) <= limit:
            return data
    raise FormatError(f"{what} has more than {limit} bytes")


class BytesReader(io.BytesIO):
    """Bytes in memory as a reader."""

    @property
    def size(self) -> int:
        return len(self.getbuffer())


class HeadReader(WrappingReader):
    """A reader whose first bytes were looked at, and are given again."""

    def __init__(self, raw: Reader) -> None:
        super().__init__(raw, raw.size)
        self.head = read_full(raw, HEAD)
        self._left = self.head

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            return self._raw.read(size)
        if 0 <= size <= len(self._left):
            part, self._left = self._left[:size], self._left[size:]
            return part
        part, self._left = self._left, b""  # with what follows: few pieces make less work
        return part + self._raw.read(size if size < 0 else size - len(part))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return super().readinto(buffer) if self._left else self._raw.readinto(buffer)


class HashedReader(JudgingReader):
    """Bytes that are hashed as they pass, and judged before the last of them are given.

    ``finish(hash, size)`` is called once, at the end, with what was found, and raises where that is
    wrong: so wrong bytes end in an error, never in a clean end. The last bytes (at least `CHUNK`, or all of
    a smaller blob) are held back until then, so that a reader who stops at a tar's end marker is not
    fooled either. More than ``size`` bytes, where it is given, are the end as well.
    """

    may_find_wrong_entry: ClassVar[bool] = True
    """See `layercache.resolver.healing`."""

    def __init__(
        self,
        raw: Reader,
        finish: Callable[[Hash, int], None],
        *,
        algorithm: str = "sha256",
        size: int | None = None,
    ) -> None:
        super().__init__(raw, size)
        self._finish = finish
        self._hasher = hasher(algorithm)
        self._seen = 0
        self._marks = [(0, self._hasher.copy())] * 2  # how far it was, and the hash until there
        self._ended = False
        self._held = memoryview(b"")
        self._next: bytes | None = None

    def _read(self, size: int) -> bytes:
        if not self._held and size:
            self._held = memoryview(self._advance())
        part, self._held = self._held[:size], self._held[size:]
        return bytes(part)

    @property
    def seen(self) -> int:
        """Bytes that were read and hashed so far."""
        return self._seen

    def close(self) -> None:
        self._held = memoryview(b"")
        self._next = b""
        super().close()

    def _advance(self) -> bytes:
        now = self._hashed() if self._next is None else self._next
        self._next = self._hashed()
        return now

    def _hashed(self) -> bytes:
        """The next `CHUNK` bytes, less only at the end, where all were found right."""
        if self._ended:
            return b""
        chunk = read_full(self._raw, CHUNK)
        self._marks = [self._marks[1], (self._seen, self._hasher.copy())]
        self._hasher.update(chunk)
        self._seen += len(chunk)
        if len(chunk) < CHUNK or (self.size is not None and self._seen > self.size):
            self._ended = True
            self._finish(Hash.from_hasher(self._hasher), self._seen)
        return chunk

    def begins_alike(self, other: Reader, count: int) -> bool:
        """Whether another reader begins with the bytes that this one gave. It is read up to there."""
        return any(seen == count and begins_with(other, count, until) for seen, until in self._marks)


def verified(raw: Reader, expected: Hash, size: int | None = None) -> HashedReader:
    """The reader's bytes, checked against the hash and the size that they should have."""
    return HashedReader(
        raw,
        lambda found, seen: check_hash(expected, size, found, seen),
        algorithm=expected.algorithm,
        size=size,
    )


def check_whole(size: int | None, count: int) -> None:
    """Raise `BackendError` where a reader has ended before its size, so that nothing is judged by a part."""
    if size is not None and count < size:
        raise BackendError(f"the bytes ended after {count} of {size}", hint="try again, or look at the store")


class StatedSizeError(DigestMismatchError):
    """The bytes have the hash that was asked for, and another size than was stated for them."""


def check_size(name: Hash, stated: int | None, size: int) -> None:
    """Raise `StatedSizeError` where bytes that are right have another size than is stated for them."""
    if stated is not None and size != stated:
        raise StatedSizeError(
            f"{name} has {size} bytes instead of the {stated} that are stated for it",
            hint="its bytes are right, the statement is wrong: that of the image, or of who asked",
        )


def check_hash(expected: Hash, wanted: int | None, found: Hash, size: int) -> None:
    """Raise `DigestMismatchError` unless hash and size in bytes are the expected ones.

    The hash decides: where only the size is another one, it is a `StatedSizeError`.
    """
    if found == expected:
        check_size(expected, wanted, size)
    elif wanted is not None and size != wanted:
        raise DigestMismatchError(
            f"{expected} came with {size} bytes instead of the {wanted} that are stated for it",
            hint="none of them were stored",
        )
    else:
        raise DigestMismatchError(
            f"the bytes of {expected} have the hash {found}", hint="none of them were stored"
        )


class _RawStream(io.RawIOBase):
    """A `Reader` with the face of Python's own raw streams."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._reader.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("seek")
        return cast("io.IOBase", self._reader).seek(offset, whence)

    def tell(self) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("tell")
        return cast("io.IOBase", self._reader).tell()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._reader.readinto(buffer)

    def splice_to(self, pipe: int, size: int, /) -> int:
        from layercache.streams.spliced import splice_to  # for the mirror alone

        return splice_to(self._reader, pipe, size)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._reader.close()


def stream(reader: Reader) -> BinaryIO:
    """A reader as a buffered binary stream, for ``tarfile``, ``shutil`` and all that reads files."""
    raw = reader if isinstance(reader, io.RawIOBase) else _RawStream(reader)
    return cast("BinaryIO", io.BufferedReader(raw, BUFFER))
