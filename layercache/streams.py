"""Readers that wrap readers: inflated, verified, joined; and what a blob's first bytes say it is."""

from __future__ import annotations

import hashlib
import io
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self, cast

from layercache.descriptor import GZIP, NO_COMPRESSION, ZSTD
from layercache.digest import Hash
from layercache.errors import DigestMismatchError, FormatError, LayercacheError, LimitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader

BUFFER = 32 << 10
"""Bytes of a stream's buffer. Whoever asks for more at a time, as copying does, gets them without a copy."""

HEAD = 512
"""How many first bytes tell what a blob is: a tar's first header."""

CHUNK = 512 << 10
INFLATE_INPUT = 128 << 10
FIRST_INPUT = 4 << 10
"""What a member or frame gets first, and then twice as much each time: what it leaves over is copied."""

ZSTD_WINDOW_LOG_MAX = 27
"""128 MiB, the zstd program's own limit: a frame that wants a larger window is refused."""

GZIP_MAGIC = b"\x1f\x8b"
GZIP_HEADER_MAX = 256 << 10
"""Bytes of a member's header at most: its name and comment may be of any length, and nobody's are long."""

GZIP_RESERVED = 0xE0
"""Flags that must be zero (RFC 1952, 2.3.1.2)."""


def sniff(head: bytes) -> str | None:
    """How the bytes are compressed, by the first `HEAD` of them; None when they are no layer at all.

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


def _is_tar_header(head: bytes) -> bool:
    if len(head) < HEAD:
        return False
    if not any(head):
        return True
    try:
        stated = int(head[148:156].strip(b" \0") or b"-", 8)
    except ValueError:
        return False
    return stated == sum(head[:148]) + 8 * 0x20 + sum(head[156:HEAD])


MAX_INFLATED_SIZE = 64 << 30
MAX_RATIO = 250


@dataclass(frozen=True, slots=True)
class Limits:
    """When inflating is stopped as a decompression bomb.

    ``size``: bytes of one layer's tar. ``ratio``: inflated to compressed, looked at once a tar has
    grown beyond ``ratio_from`` bytes, so that a small layer of zeros is no bomb.
    """

    size: int = MAX_INFLATED_SIZE
    ratio: int = MAX_RATIO
    ratio_from: int = 1 << 30


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


def _read_full(raw: Reader, size: int) -> bytes:
    """So many bytes, less only at the end, from a reader that may give them in small parts."""
    parts = []
    while size and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: Any, max_length: int) -> bytes: ...


class _ZlibMember:
    """A gzip member inflated by zlib, where isal has no wheel, with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: Any, max_length: int) -> bytes:
        tail = self._inner.unconsumed_tail
        return self._inner.decompress(tail + bytes(data) if tail else data, max_length)


def _gzip_header_length(data: bytes) -> int:
    """The length of a gzip member's header (RFC 1952, 2.3); 0 while the bytes do not reach to its end."""
    if len(data) < 10:
        return 0
    flags, end = data[3], 10
    if flags & 4:  # FEXTRA
        end += 2 + int.from_bytes(data[10:12], "little")
    for name in (8, 16):  # FNAME, FCOMMENT
        if flags & name:
            end = data.find(0, end) + 1
            if not end:
                return 0
    if flags & 2:  # FHCRC
        end += 2
    return end if end <= len(data) else 0


def _gzip_members() -> tuple[Callable[[], _Decompressor], type[Exception]]:
    try:
        from isal import igzip_lib
    except ImportError:
        return _ZlibMember, zlib.error
    broken: Any = igzip_lib.IsalError  # typed as an instance in isal's stub
    return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), broken


def _zstd_frames() -> tuple[Callable[[], _Decompressor], type[Exception]]:
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
    return lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError


class InflatedReader(JudgingReader):
    """The tar inside a gzip or zstd blob: all members, all frames, to the very end.

    gzip: members follow each other, zeros may fill up the end (RFC 1952, 2.2; tar pads tapes so).
    zstd: frames follow each other, skippable ones among them (RFC 8878, 3.1). Anything else after the
    end, a cut stream and a wrong checksum are `FormatError`; beyond the limits it is `LimitError`.
    """

    def __init__(self, raw: Reader, compression: str, limits: Limits, what: str) -> None:
        super().__init__(raw)
        self._limits = limits
        self._what = what
        self._compression = compression
        self._member, self._broken = _gzip_members() if compression == GZIP else _zstd_frames()
        self._now: _Decompressor | None = None
        self._begun = False
        self._piece = memoryview(b"")
        self._at = 0
        self._step = FIRST_INPUT
        self._in = 0
        self._out = 0

    def _read(self, size: int) -> bytes:
        while size and (self._now is not None or self._begin()):
            assert self._now is not None
            try:
                out = self._now.decompress(self._take() if self._now.needs_input else b"", size)
            except self._broken as error:
                raise FormatError(f"{self._what}: broken {self._compression} stream: {error}") from error
            if self._now.eof:
                self._at -= len(self._now.unused_data)
                self._now = None
            if out:
                self._out += len(out)
                self._check_limits()
                return out
        return b""

    def _begin(self) -> bool:
        """Begin the next member or frame; False at the end of the stream."""
        while True:
            if self._at == len(self._piece) and not self._more():
                if not self._in:
                    raise FormatError(f"{self._what}: the {self._compression} stream is empty")
                return False
            if self._compression == ZSTD or self._piece[self._at] or not self._begun:
                break
            self._at = len(self._piece) - len(bytes(self._piece[self._at :]).lstrip(b"\0"))
        self._step = FIRST_INPUT
        if self._compression == GZIP:
            self._step += self._gzip_header()
        self._now = self._member()
        self._begun = True
        return True

    def _gzip_header(self) -> int:
        """The length of the header, which is in the input as a whole now.

        isal takes it in no parts: of a header that is cut by the end of the input it forgets what it read
        (isa-l's issue 224).
        """
        reach = FIRST_INPUT
        while True:
            head = bytes(self._piece[self._at : self._at + reach])
            if not GZIP_MAGIC.startswith(head[:2]) or (len(head) > 3 and head[3] & GZIP_RESERVED):
                raise FormatError(f"{self._what}: broken gzip stream: no gzip header where one should be")
            if length := _gzip_header_length(head):
                return length
            if len(head) > GZIP_HEADER_MAX:
                raise FormatError(f"{self._what}: broken gzip stream: a header without an end")
            if len(head) == reach:
                reach *= 2
            elif not self._more():
                raise self._cut_off()

    def _take(self) -> memoryview:
        """Input for the decompressor."""
        if self._at == len(self._piece) and not self._more():
            raise self._cut_off()
        start, self._at = self._at, min(self._at + self._step, len(self._piece))
        self._step = min(2 * self._step, INFLATE_INPUT)
        return self._piece[start : self._at]

    def _more(self) -> bool:
        """Read on, behind what is left of the input; False at the end."""
        more = self._raw.read(CHUNK)
        left = self._piece[self._at :]
        self._piece, self._at = memoryview(b"".join((left, more)) if left else more), 0
        self._in += len(more)
        return bool(more)

    def _cut_off(self) -> FormatError:
        return FormatError(f"{self._what}: the {self._compression} stream is cut off")

    def _check_limits(self) -> None:
        limits = self._limits
        if self._out > limits.size:
            raise LimitError(
                f"{self._what} inflates to more than {limits.size} bytes",
                hint="if it is to be trusted, raise max_inflated_size",
            )
        if self._out > limits.ratio_from and self._out > limits.ratio * self._in:
            raise LimitError(
                f"{self._what} inflates to more than {limits.ratio} times its size",
                hint="if it is to be trusted, raise max_ratio",
            )


class HeadReader(WrappingReader):
    """A reader whose first bytes were looked at, and are given again."""

    def __init__(self, raw: Reader) -> None:
        super().__init__(raw, raw.size)
        self.head = _read_full(raw, HEAD)
        self._left = self.head

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            return self._raw.read(size)
        if size < 0:
            part, self._left = self._left, b""
            return part + self._raw.read()
        part, self._left = self._left[:size], self._left[size:]
        return part

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return super().readinto(buffer) if self._left else self._raw.readinto(buffer)


class HashedReader(JudgingReader):
    """Bytes that are hashed as they pass, and judged before the last of them are given.

    ``finish(hash, size)`` is called once, at the end, with what was found, and raises where that is
    wrong: so wrong bytes end in an error, never in a clean end. The last bytes (at least `CHUNK`, or all of
    a smaller blob) are held back until then, so that a reader who stops at a tar's end marker is not
    fooled either. More than ``size`` bytes, where it is given, are the end as well.
    """

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
        self._hasher = hashlib.new(algorithm)
        self._seen = 0
        self._ended = False
        self._held = memoryview(b"")
        self._next: bytes | None = None

    def _read(self, size: int) -> bytes:
        if not self._held and size:
            self._held = memoryview(self._advance())
        part, self._held = self._held[:size], self._held[size:]
        return bytes(part)

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
        chunk = _read_full(self._raw, CHUNK)
        self._hasher.update(chunk)
        self._seen += len(chunk)
        if len(chunk) < CHUNK or (self.size is not None and self._seen > self.size):
            self._ended = True
            self._finish(Hash.from_hasher(self._hasher), self._seen)
        return chunk


def verified(raw: Reader, expected: Hash, size: int | None = None) -> HashedReader:
    """The reader's bytes, checked against the hash and the size that they should have."""
    return HashedReader(
        raw,
        lambda found, seen: check_hash(expected, size, found, seen),
        algorithm=expected.algorithm,
        size=size,
    )


def hash_of(reader: Reader, algorithm: str) -> Hash:
    """The hash of all that is left in a reader."""
    hasher = hashlib.new(algorithm)
    while chunk := reader.read(CHUNK):
        hasher.update(chunk)
    return Hash.from_hasher(hasher)


def check_hash(expected: Hash, wanted: int | None, found: Hash, size: int) -> None:
    """Raise `DigestMismatchError` unless hash and size in bytes are the expected ones."""
    if wanted is not None and size != wanted:
        raise DigestMismatchError(
            f"{expected} came with {size} bytes instead of the {wanted} that are stated for it",
            hint="nothing of them was kept",
        )
    if found != expected:
        raise DigestMismatchError(
            f"the bytes of {expected} have the hash {found}", hint="nothing of them was kept"
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

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._reader.close()


def stream(reader: Reader) -> BinaryIO:
    """A reader as a buffered binary stream, for ``tarfile``, ``shutil`` and all that reads files."""
    raw = reader if isinstance(reader, io.RawIOBase) else _RawStream(reader)
    return cast("BinaryIO", io.BufferedReader(raw, BUFFER))
