"""Compressed blobs as tools write them, part by part; and short ways to inflate them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zlib
from typing import TYPE_CHECKING

from layercache.streams.inflate import InflatedReader, Limits
from layercache.streams.readers import CHUNK, WrappingReader
from layercache_backends.memory import MemoryReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.backend import Reader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FEXTRA, FNAME, FCOMMENT, FHCRC = 4, 8, 16, 2
ESTARGZ_FOOTER = 51
SKIPPABLE = range(0x184D2A50, 0x184D2A60)


class Trickle(WrappingReader):
    """Bytes that come in small parts, as from a socket; how many of them were asked for is counted."""

    def __init__(self, data: bytes, step: int = 1) -> None:
        super().__init__(MemoryReader(data), len(data))
        self._step = step
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        part = self._raw.read(self._step if size < 0 else min(size, self._step))
        self.taken += len(part)
        return part


def gzip_member(data: bytes, level: int = 6) -> bytes:
    return gzip.compress(data, level, mtime=0)


def gzip_member_with(
    data: bytes,
    flags: int,
    *,
    extra: bytes = b"extra",
    name: bytes = b"layer.tar",
    comment: bytes = b"no comment",
) -> bytes:
    """A member whose header has optional fields (RFC 1952, 2.3)."""
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\xff"
    if flags & FEXTRA:
        head += struct.pack("<H", len(extra)) + extra
    if flags & FNAME:
        head += name + b"\0"
    if flags & FCOMMENT:
        head += comment + b"\0"
    if flags & FHCRC:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + gzip_member(data)[10:]


def estargz(files: Mapping[str, bytes], chunk: int) -> tuple[bytes, bytes]:
    """An eStargz layer and its tar (containerd/stargz-snapshotter, docs/estargz.md).

    Each chunk of a file has a member of its own, the table of contents the last but one; then comes a
    footer of 51 bytes that says in its extra field where the table begins.
    """
    parts = []
    for name, data in files.items():
        parts.append(_tar_header(name, len(data)) + data[:chunk])
        parts += [data[at : at + chunk] for at in range(chunk, len(data), chunk)]
        parts[-1] += bytes(-len(data) % 512)
    blob = b"".join(map(gzip_member, parts))
    toc = json.dumps({"version": 1, "entries": [{"name": name, "type": "reg"} for name in files]}).encode()
    last = _tar_header("stargz.index.json", len(toc)) + toc + bytes(-len(toc) % 512) + bytes(1024)
    field = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % len(blob)
    footer = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", len(field)) + field
    footer += b"\x01\x00\x00\xff\xff" + bytes(8)
    assert len(footer) == ESTARGZ_FOOTER
    return blob + gzip_member(last) + footer, b"".join(parts) + last


def zstd_frame(
    data: bytes, *, checksum: bool = False, content_size: bool = True, window_log: int | None = None
) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.checksum_flag: int(checksum),
        zstd.CompressionParameter.content_size_flag: int(content_size),
    }
    if window_log is not None:
        options[zstd.CompressionParameter.window_log] = window_log
    compressor = zstd.ZstdCompressor(options=options)
    if content_size:
        return compressor.compress(data, compressor.FLUSH_FRAME)
    return compressor.compress(data) + compressor.flush()


def zstd_skippable(content: bytes, magic: int = SKIPPABLE[0]) -> bytes:
    """A frame that decoders pass over (RFC 8878, 3.1.2)."""
    return struct.pack("<II", magic, len(content)) + content


def zstd_chunked(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """A zstd:chunked layer and its tar, as containers/storage writes it: the table comes last, in
    skippable frames, then a footer of 64 bytes in one more.
    """
    blob, tar = b"", b""
    for name, data in files.items():
        for part in (_tar_header(name, len(data)), data + bytes(-len(data) % 512)):
            blob += zstd_frame(part, content_size=False) if part else b""
            tar += part
    blob += zstd_frame(bytes(1024), content_size=False)
    toc = zstd_frame(json.dumps({"version": 1, "entries": list(files)}).encode())
    footer = struct.pack("<QQQQQQQ", len(blob) + 8, len(toc), len(toc), 1, 0, 0, 0) + b"GNUlInUx"
    return blob + zstd_skippable(toc) + zstd_skippable(footer), tar + bytes(1024)


def inflated(raw: Reader | bytes, compression: str, limits: Limits | None = None) -> InflatedReader:
    reader = MemoryReader(raw) if isinstance(raw, bytes) else raw
    return InflatedReader(reader, compression, limits or Limits(), "the blob")


def inflate(raw: Reader | bytes, compression: str, size: int = CHUNK) -> bytes:
    """The whole inside of a blob, read so many bytes at a time."""
    with inflated(raw, compression) as reader:
        return b"".join(iter(lambda: reader.read(size), b""))


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def tar_in(format: int, name: str = "file", data: bytes = b"data") -> bytes:
    """A tar in one of tarfile's formats."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def v7_tar(name: str = "file") -> bytes:
    """A header as tar wrote it before POSIX: no magic, all after the link's name is empty."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)
