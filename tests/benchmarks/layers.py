"""Layers made of files that are on any machine: Python, its modules and its shared libraries.

They compress as the layers of real images do, to about two fifths (gzip -6): what compresses better than
that is mixed with files that do not compress, as real layers have archives and pictures among their files.
The same Python makes the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import struct
import sys
import sysconfig
import tarfile
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layercache.oci.descriptor import OCI_LAYER_ZSTD
from layercache.oci.digest import DiffID, Digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE = 1 << 20
WANTED = 0.4
"""Compressed to uncompressed size that a layer shall have."""

_LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})
_SAMPLE = 256 << 10  # of a file's bytes, to see how well they compress
_NOISE = 1 << 10  # bytes that are worth a file
_ROUND = 64 << 20  # bytes of files after which they begin anew: far beyond the windows of gzip and zstd


@dataclass(frozen=True)
class MadeLayer:
    """A blob in a file, and what is known of it; sizes in bytes."""

    path: Path
    digest: Digest
    diff_id: DiffID
    size: int
    tar_size: int
    media_type: str


class Files:
    """The files that layers are made of, read once."""

    def __init__(self) -> None:
        self._files = [(path.name, path.read_bytes()) for path in _found()]
        self._shares = [_compressed_share(data[:_SAMPLE]) for _, data in self._files]

    def cycle(self, start: int, largest: int) -> Iterator[tuple[str, bytes]]:
        """Names and contents without end, from some file on, cut to pieces of ``largest`` bytes."""
        dice = random.Random(start)
        owed = 0.0  # bytes that do not compress, and that make up for those before that do
        for number in itertools.count(start):
            turn, place = divmod(number, len(self._files))
            name, data = self._files[place]
            for offset in range(0, len(data), largest):
                part = data[offset : offset + largest]
                yield f"opt/{turn}/{place}-{offset}/{name}", part
                owed += (WANTED * (len(part) + tarfile.BLOCKSIZE) - self._shares[place] * len(part)) / (
                    1 - WANTED
                )
                if owed >= _NOISE:
                    yield f"opt/{turn}/{place}-{offset}.bin", dice.randbytes(int(owed))
                    owed = 0.0


def make_layer(files: Files, folder: Path, number: int, tar_size: int, media_type: str) -> MadeLayer:
    """Write a layer's blob into the folder, under its digest. ``number`` tells layers of a size apart."""
    tar = _Tar(files, number, tar_size)
    pieces = _zstd(tar) if media_type == OCI_LAYER_ZSTD else _gzip(tar)
    blob_hash, size = hashlib.sha256(), 0
    unnamed = folder / "blob.part"
    with unnamed.open("wb") as target:
        for piece in pieces:
            blob_hash.update(piece)
            size += len(piece)
            target.write(piece)
    digest = Digest.from_hasher(blob_hash)
    path = folder / digest.hex
    unnamed.rename(path)
    return MadeLayer(path, digest, DiffID.from_hasher(tar.hash), size, tar.size, media_type)


class _Tar:
    """A tar of about so many bytes, in pieces of `PIECE`; hashed and counted as it passes."""

    def __init__(self, files: Files, number: int, wanted: int) -> None:
        self.hash, self.size = hashlib.sha256(), 0
        self._entries = _entries(files, number, wanted)

    def __iter__(self) -> Iterator[bytes]:
        for piece in _in_pieces(self._entries):
            self.hash.update(piece)
            self.size += len(piece)
            yield piece


def _entries(files: Files, number: int, wanted: int) -> Iterator[bytes]:
    left = wanted - 2 * tarfile.BLOCKSIZE
    largest = max(4096, wanted // 8)
    label = f"etc/layer-{number}", f"{number}\n".encode()  # no two layers are the same
    for name, whole in itertools.chain([label], files.cycle(7 * number, largest)):
        data = whole[: max(0, left - tarfile.BLOCKSIZE)]
        info = tarfile.TarInfo(name)
        info.size = len(data)
        padding = -len(data) % tarfile.BLOCKSIZE
        yield info.tobuf(tarfile.GNU_FORMAT) + data + bytes(padding)
        left -= tarfile.BLOCKSIZE + len(data) + padding
        if left <= tarfile.BLOCKSIZE:
            break
    yield bytes(2 * tarfile.BLOCKSIZE)


def _in_pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    if held:
        yield bytes(held)


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member at level 6, its pieces compressed in parallel, as pigz and containers' pgzip do it."""
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # RFC 1952, 2.3
    crc = size = 0
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for piece in pieces:
            crc, size = zlib.crc32(piece, crc), size + len(piece)
            waiting.append(pool.submit(_deflated, piece))
            if len(waiting) > 8:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield b"\x03\0" + struct.pack("<II", crc, size & 0xFFFFFFFF)  # an empty last block, RFC 1951, 3.2.6


def _deflated(piece: bytes) -> bytes:
    compressor = zlib.compressobj(6, wbits=-15)
    return compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)


def _zstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zstd.ZstdCompressor(level=3)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _compressed_share(data: bytes) -> float:
    return len(zlib.compress(data, 6)) / len(data) if data else 1.0


def _found() -> list[Path]:
    """Modules and libraries, some of each close together, as a real tree has them."""
    library = sysconfig.get_path("stdlib")
    found = [Path(sys.executable).resolve()]
    folder, name = sysconfig.get_config_vars("LIBDIR", "INSTSONAME")
    if folder and name and (shared := Path(folder, name)).is_file():
        found.append(shared)
    for parent, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and "config-" not in name)
        found += [Path(parent, name) for name in sorted(names) if name.endswith((".py", ".so"))]
    mixed = sorted(found, key=lambda path: hashlib.sha256(path.name.encode()).digest())
    sizes = itertools.accumulate(path.stat().st_size for path in mixed)
    return [path for path, total in zip(mixed, sizes, strict=True) if total <= _ROUND]
