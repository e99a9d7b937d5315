"""A tar that is compressed comes out again whole, by every reader, and always from the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
import subprocess
import zlib

import pytest
from fixtures.blobs import inflate
from fixtures.zstd import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.images import noise

from layercache.oci.descriptor import GZIP, ZSTD
from layercache.streams import compress
from layercache.streams.compress import DEFAULTS, LEVELS, Compression
from layercache_backends.memory import MemoryReader

MIXED = (
    b"".join(b"line %d of a file that compresses\n" % n for n in range(3000)) + noise(40_000) + bytes(90_000)
)
KINDS = (ZSTD, GZIP)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "ZSTD_FRAME", 16 << 10)
    monkeypatch.setattr(compress, "GZIP_BLOCK", 48 << 10)


def compressed(data: bytes, kind: str, level: int | None = None, threads: int | None = None) -> bytes:
    return b"".join(Compression.of(kind, level).run(MemoryReader(data), threads))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 512, 16 << 10, (16 << 10) + 1, 48 << 10, len(MIXED)])
def test_what_was_compressed_comes_out_again(kind: str, size: int) -> None:
    data = MIXED[:size]
    blob = compressed(data, kind)
    assert inflate(blob, kind) == data
    if kind == GZIP:
        assert gzip.decompress(blob) == data
        assert zlib.decompressobj(wbits=31).decompress(blob) == data, "it is one member"
    else:
        assert zstd.decompress(blob) == data


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_does_not_change_the_bytes(kind: str) -> None:
    assert len({compressed(MIXED, kind, threads=threads) for threads in (1, 2, 3, 8)}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_another_level_makes_other_bytes_of_the_same_tar(kind: str) -> None:
    made = {level: compressed(MIXED, kind, level) for level in (1, LEVELS[kind][-1])}
    assert len(set(made.values())) == 2
    assert {inflate(blob, kind) for blob in made.values()} == {MIXED}
    assert compressed(MIXED, kind) == compressed(MIXED, kind, DEFAULTS[kind])


@settings(max_examples=30)
@given(st.binary(max_size=200), st.integers(0, 60_000), st.sampled_from(KINDS), st.integers(1, 7))
def test_any_bytes_come_out_again_however_they_are_read(
    seed: bytes, count: int, kind: str, step: int
) -> None:
    data = (seed or b"\0") * (count // (len(seed) or 1) + 1)

    class Pieces(MemoryReader):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size, step * 1000) if size and size > 0 else size)

    blob = b"".join(Compression.of(kind).run(Pieces(data), 2))
    assert inflate(blob, kind) == data
    assert blob == compressed(data, kind)


def seek_table(blob: bytes) -> list[tuple[int, int]]:
    """Read as zstd's contrib/seekable_format/zstd_seekable_compression_format.md says."""
    count, descriptor, magic = struct.unpack("<IBI", blob[-9:])
    assert (magic, descriptor) == (0x8F92EAB1, 0)
    size = 8 * count + 9
    assert struct.unpack("<II", blob[-size - 8 : -size]) == (0x184D2A5E, size)
    return [struct.unpack_from("<II", blob, len(blob) - size + 8 * each) for each in range(count)]


def test_a_zstd_can_be_read_from_the_middle_by_its_table() -> None:
    blob = compressed(MIXED, ZSTD)
    sizes = seek_table(blob)
    assert len(sizes) == -(-len(MIXED) // (16 << 10))
    at = tar_at = 0
    for size, tar_size in sizes:
        assert zstd.decompress(blob[at : at + size]) == MIXED[tar_at : tar_at + tar_size]
        at, tar_at = at + size, tar_at + tar_size
    assert tar_at == len(MIXED)


def test_a_frame_states_its_size_and_wants_no_larger_window() -> None:
    (size, _), *_ = seek_table(compressed(MIXED, ZSTD, 22))
    head = zstd.get_frame_info(compressed(MIXED, ZSTD, 22)[:size])
    assert head.decompressed_size == 16 << 10
    damaged = bytearray(compressed(MIXED[:1000], ZSTD))
    damaged[-1] ^= 1
    with pytest.raises(zstd.ZstdError, match=r"(?i)checksum"):
        zstd.decompress(damaged)


def test_a_single_frame_has_no_table() -> None:
    blob = compressed(MIXED[:1000], ZSTD)
    assert zstd.get_frame_size(blob) == len(blob)


def test_a_gzip_has_neither_time_nor_name() -> None:
    assert compressed(MIXED, GZIP)[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_a_gzip_in_blocks_is_hardly_larger_than_one_stream() -> None:
    assert len(compressed(MIXED, GZIP)) < 1.02 * len(gzip.compress(MIXED, 6))
    repeated = noise(20_000) * 40
    assert len(compressed(repeated, GZIP)) < 30_000, "a block refers to the one before it"


def test_memory_is_bounded_by_the_threads_not_by_the_tar() -> None:
    taken = 0

    class Counting(MemoryReader):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal taken
            part = super().read(size)
            taken += len(part)
            return part

    blocks = Compression.of(ZSTD).run(Counting(bytes(2 << 20)), 2)
    next(blocks)
    assert taken <= 4 * (16 << 10), "the reader runs a block ahead of each thread"
    blocks.close()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize(
    ("text", "kind", "level"),
    [("zstd", ZSTD, 3), ("zstd:22", ZSTD, 22), ("gzip", GZIP, 6), ("gzip:1", GZIP, 1)],
)
def test_a_level_may_be_given(text: str, kind: str, level: int) -> None:
    assert Compression.parse(text) == Compression.of(kind, level)


@pytest.mark.parametrize(
    "text",
    ["", "xz", "zstd:", "zstd:0", "zstd:23", "gzip:10", "gzip:-1", "gzip:x", "ZSTD", "zstd:3:4", "zstd:٣"],
)
def test_what_is_no_compression_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        Compression.parse(text)


@pytest.mark.parametrize(("program", "kind"), [("zstd", ZSTD), ("gzip", GZIP), ("pigz", GZIP)])
def test_the_programs_of_these_formats_read_it(program: str, kind: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, "-dc"], input=compressed(MIXED, kind), capture_output=True, check=True)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(MIXED).digest()
    assert done.stderr == b""
