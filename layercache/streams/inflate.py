"""The tar inside a gzip or zstd blob, within limits."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Any, Protocol

from layercache.errors import FormatError, LimitError
from layercache.oci.descriptor import GZIP, ZSTD
from layercache.streams.readers import CHUNK, GZIP_MAGIC, JudgingReader
from layercache.streams.wide_registers import clear_wide_registers

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.streams.limits import Limits

INFLATE_INPUT = 128 << 10
FIRST_INPUT = 32 << 10
"""What a member or frame gets first, and then twice as much each time: what it leaves over is copied, which
takes less time than to make its decompressor.
"""

ZSTD_WINDOW_LOG_MAX = 27
"""128 MiB, the zstd program's own limit: a frame that wants a larger window is refused."""

GZIP_HEADER_FIRST = 4 << 10
"""Bytes in which a member's header is looked for first."""

GZIP_HEADER_MAX = 256 << 10
"""Bytes of a member's header at most: its name and comment may be of any length, and nobody's are long."""

GZIP_RESERVED = 0xE0
"""Flags that must be zero (RFC 1952, 2.3.1.2)."""


XZ = "xz"
BZIP2 = "bzip2"
"""As ``docker save`` is often compressed by hand. No layer in a registry is."""

XZ_MEMORY_MAX = 160 << 20
"""Bytes that an xz stream may ask for: a dictionary as big as the largest window of zstd, and tables."""


class Decompressor(Protocol):
    """Inflates one member of a gzip, or one frame of a zstd."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: Any, max_length: int) -> bytes: ...


class ZlibMember:
    """A gzip member inflated by zlib, where isal has no wheel, with the interface of the others.

    ``inner`` inflates something else than a member from its beginning on.
    """

    def __init__(self, inner: Any = None) -> None:
        self._inner = inner or zlib.decompressobj(wbits=31)

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


def _gzip_members() -> tuple[Callable[[], Decompressor], type[Exception]]:
    try:
        from isal import igzip_lib
    except ImportError:
        return ZlibMember, zlib.error
    broken: Any = igzip_lib.IsalError  # typed as an instance in isal's stub
    return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), broken


def zstd_frames() -> tuple[Callable[[], Decompressor], type[Exception]]:
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
    return lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError


def _xz_streams() -> tuple[Callable[[], Decompressor], type[Exception]]:
    import lzma

    return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_MAX), lzma.LZMAError


def _bzip2_streams() -> tuple[Callable[[], Decompressor], type[Exception]]:
    import bz2

    return bz2.BZ2Decompressor, OSError


_DECOMPRESSORS = {GZIP: _gzip_members, ZSTD: zstd_frames, XZ: _xz_streams, BZIP2: _bzip2_streams}


class InflatedReader(JudgingReader):
    """The tar inside a gzip or zstd blob: all members, all frames, to the very end.

    gzip: members follow each other, zeros may fill up the end (RFC 1952, 2.2; tar pads tapes so); the same
    holds of xz and bzip2.
    zstd: frames follow each other, skippable ones among them (RFC 8878, 3.1). Anything else after the
    end, a cut stream and a wrong checksum are `FormatError`; beyond the limits it is `LimitError`.

    ``doubt`` is called before either is raised (with True), and (with False) once it has become more than the
    ``expected`` bytes, which may be false: it raises where the blob is not what its name says.

    ``seconds``: processor time that inflating has taken so far, without the time for reading the blob.
    """

    def __init__(
        self,
        raw: Reader,
        compression: str,
        limits: Limits,
        what: str,
        *,
        expected: int | None = None,
        doubt: Callable[[bool], object] = lambda _: None,
    ) -> None:
        super().__init__(raw)
        self._expected = expected
        self._doubt = doubt
        self._limits = limits
        self._what = what
        self._compression = compression
        self._member, self._broken = _DECOMPRESSORS[compression]()
        self._now: Decompressor | None = None
        self._begun = False
        self._piece = memoryview(b"")
        self._at = 0
        self._step = FIRST_INPUT
        self._in = 0
        self._out = 0
        self.seconds = 0.0

    def begin_inside(self, member: Decompressor) -> None:
        """Begin in the middle of a member, whose rest ``member`` inflates. Call it before the first read."""
        self._now, self._begun = member, True

    def _read(self, size: int) -> bytes:
        try:
            return self._inflate(size)
        except (FormatError, LimitError):
            self._doubt(True)
            raise

    def _inflate(self, size: int) -> bytes:
        while size and (self._now is not None or self._begin()):
            assert self._now is not None
            piece = self._take() if self._now.needs_input else b""
            begun = time.thread_time()
            try:
                out = self._now.decompress(piece, size)
            except self._broken as error:
                raise FormatError(f"{self._what}: broken {self._compression} stream: {error}") from error
            self.seconds += time.thread_time() - begun
            if self._compression == GZIP:
                clear_wide_registers()
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
        reach = GZIP_HEADER_FIRST
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
        if self._expected is not None and self._out > self._expected:
            self._expected = None
            self._doubt(False)
        self._limits.check(self._out, self._in, self._what)
