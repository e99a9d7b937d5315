"""What a blob is, its first bytes say."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from io import BytesIO

import pytest
from fixtures.blobs import SKIPPABLE, Trickle, tar_in, v7_tar, zstd_frame, zstd_skippable
from hypothesis import given
from hypothesis import strategies as st
from servers.images import noise

from layercache.oci.descriptor import GZIP, NO_COMPRESSION, ZSTD
from layercache.streams.readers import HEAD, HeadReader, sniff
from layercache_backends.memory import MemoryReader


@pytest.mark.parametrize(
    "tar",
    [
        tar_in(tarfile.USTAR_FORMAT),
        tar_in(tarfile.GNU_FORMAT, "long" * 60),
        tar_in(tarfile.PAX_FORMAT, "ünïcödé" * 30),
        v7_tar(),
        bytes(1024),
        bytes(10240),
    ],
    ids=["ustar", "gnu", "pax", "v7", "empty", "empty record"],
)
def test_a_tar_is_known_by_its_first_header_or_by_zeros(tar: bytes) -> None:
    assert sniff(tar[:HEAD]) == NO_COMPRESSION


@pytest.mark.parametrize("name", ["k\xe4se", "\xff" * 90, "plain"])
def test_an_old_tar_whose_checksum_was_summed_of_signed_bytes_is_one(name: str) -> None:
    header = bytearray(v7_tar()[:HEAD])
    header[:100] = name.encode("latin-1").ljust(100, b"\0")
    header[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % signed
    assert sniff(bytes(header)) == NO_COMPRESSION
    header[148:156] = b"%06o\0 " % (signed + 1)
    assert sniff(bytes(header)) is None


def test_a_gzip_is_known_by_its_magic() -> None:
    assert sniff(gzip.compress(b"")) == GZIP
    assert sniff(gzip.compress(noise(2000))[:HEAD]) == GZIP


def test_a_zstd_is_known_by_its_magic_and_by_each_skippable_one() -> None:
    assert sniff(zstd_frame(b"")) == ZSTD
    for magic in SKIPPABLE:
        assert sniff(zstd_skippable(b"", magic)) == ZSTD
    for magic in (SKIPPABLE[0] - 1, SKIPPABLE[-1] + 1):
        assert sniff(zstd_skippable(b"", magic)) is None


def zip_file() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("file", noise(1000))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f",
        b"\x28\xb5\x2f",
        b"{}",
        json.dumps({"schemaVersion": 2, "text": "x" * 600}).encode(),
        zip_file(),
        noise(HEAD),
        tar_in(tarfile.USTAR_FORMAT)[: HEAD - 1],
        bytes(HEAD - 1),
        bytes(HEAD - 1) + b"\1",
        b" " * HEAD,
    ],
    ids=[
        "nothing",
        "half a gzip magic",
        "most of a zstd magic",
        "empty config",
        "JSON",
        "zip",
        "noise",
        "most of a tar header",
        "less than a block of zeros",
        "one bit in a block of zeros",
        "spaces",
    ],
)
def test_what_is_no_layer_is_not_taken_for_one(data: bytes) -> None:
    assert sniff(data[:HEAD]) is None


@given(st.binary(max_size=HEAD))
def test_any_first_bytes_are_judged_without_an_error(head: bytes) -> None:
    assert sniff(head) in (None, GZIP, ZSTD, NO_COMPRESSION)


def test_a_tar_header_with_a_wrong_checksum_is_none() -> None:
    header = bytearray(tar_in(tarfile.USTAR_FORMAT)[:HEAD])
    header[0] ^= 1
    assert sniff(bytes(header)) is None


@pytest.mark.parametrize("length", [0, 1, HEAD - 1, HEAD, HEAD + 1, 3000])
@pytest.mark.parametrize("step", [1, 100, 10_000])
@pytest.mark.parametrize("size", [1, 500, -1])
def test_a_head_that_was_looked_at_is_read_again(length: int, step: int, size: int) -> None:
    data = noise(length)
    reader = HeadReader(Trickle(data, step))
    assert reader.head == data[:HEAD]
    assert reader.size == length
    assert b"".join(iter(lambda: reader.read(size), b"")) == data


def test_a_head_that_was_looked_at_is_read_again_into_a_buffer() -> None:
    data = noise(2000)
    reader = HeadReader(MemoryReader(data))
    buffer = bytearray(300)
    got = b"".join(iter(lambda: bytes(buffer[: reader.readinto(buffer)]), b""))
    assert got == data
