"""Bodies with a Content-Encoding that nobody asked for: documents are decoded, blobs are not."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
from fixtures.zstd import zstd
from registry.asking import Waits, read, repository_of, source_of
from servers.images import noise
from servers.lying import (
    LyingRegistry,
    both,
    changed,
    error_body,
    status,
    without_length,
)
from servers.odd_answers import encoded
from servers.pulling import pulled

import layercache
from layercache.errors import DigestMismatchError, NotFoundError, SourceError
from layercache.oci.descriptor import OCI_LAYER_GZIP
from layercache.registry.encoding import decoded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Sample

BLOB = noise(70_000)
ABSENT = error_body("NOT_FOUND", "artifact app:2 not found")


def zlib_raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "in capitals": ("GZIP", gzip.compress),
    "two members": ("gzip", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without its frame": ("deflate", zlib_raw),
    "zstd": ("zstd", lambda data: zstd.compress(data)),
    "two": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "identity": ("identity", bytes),
    "what S3 remembers": ("aws-chunked", bytes),
    "a false statement": ("gzip", bytes),
    "a false statement of deflate": ("deflate", bytes),
}


@pytest.mark.parametrize(("coding", "encode"), CODINGS.values(), ids=CODINGS)
def test_documents_are_decoded_though_no_encoding_was_asked_for(
    coding: str,
    encode: Callable[[bytes], bytes],
    lying: LyingRegistry,
    waits: Waits,
    sample: Sample,
    tmp_path: Path,
) -> None:
    name = lying.add_image("1", sample.image)
    lying.on("/v2/app", *[encoded(coding, encode)] * 99)
    assert pulled(source_of(lying, waits)) == sample.image.blobs
    repository = repository_of(lying, waits)
    assert repository.manifest("1")[0] == sample.image.manifest
    with repository.open_blob(sample.image.config_digest) as reader:
        assert reader.read() == sample.image.config
    with layercache.open(tmp_path) as cache:
        assert cache.image(name).digest == sample.image.descriptor.digest
    assert all(request.headers["accept-encoding"] == "identity" for request in lying.requests)


@pytest.mark.parametrize("length", [True, False])
def test_a_layer_that_is_stored_with_its_compression_as_its_encoding_is_not_decoded(
    length: bool, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(gzip.compress(BLOB, mtime=0), OCI_LAYER_GZIP)
    stored = changed(Content_Encoding="gzip")
    lying.on("GET /v2/app/blobs/", *[stored if length else both(stored, without_length())] * 2)
    assert read(source_of(lying, waits), blob) == gzip.compress(BLOB, mtime=0)
    with repository_of(lying, waits).open_blob(blob.digest) as reader:
        assert reader.read() == gzip.compress(BLOB, mtime=0)


@pytest.mark.parametrize("length", [True, False])
def test_a_big_blob_is_never_decoded(length: bool, lying: LyingRegistry, waits: Waits) -> None:
    data = gzip.compress(noise(5 << 20), mtime=0)
    blob = lying.add_blob(data, OCI_LAYER_GZIP)
    stored = changed(Content_Encoding="gzip")
    lying.on("GET /v2/app/blobs/", stored if length else both(stored, without_length()))
    assert read(source_of(lying, waits), blob) == data
    lying.on("GET /v2/app/blobs/", encoded("gzip", gzip.compress))
    with pytest.raises(DigestMismatchError) as caught:
        read(source_of(lying, waits), blob)
    assert "content encoding gzip" in caught.value.hint


def test_a_refusal_that_is_encoded_is_understood(lying: LyingRegistry, waits: Waits) -> None:
    lying.on("GET /v2/app", status(404, gzip.compress(ABSENT), Content_Encoding="gzip"))
    lying.on("HEAD", status(404))
    with pytest.raises(NotFoundError, match="artifact app:2 not found"):
        source_of(lying, waits).root()


@pytest.mark.parametrize(
    ("coding", "body", "problem"),
    [
        ("br", b"x", "unsupported content encoding 'br'"),
        ("gzip", gzip.compress(BLOB)[:-9], "not valid gzip"),
        ("gzip", gzip.compress(bytes(5 << 20)), "larger than 4194304 bytes"),
        ("deflate", zlib.compress(bytes(5 << 20)), "larger than 4194304 bytes"),
        ("zstd", zstd.compress(bytes(5 << 20)), "larger than 4194304 bytes"),
        ("gzip, gzip, gzip", b"", "more than 2 content encodings"),
    ],
)
def test_what_cannot_be_decoded_is_reported(
    coding: str, body: bytes, problem: str, lying: LyingRegistry, waits: Waits
) -> None:
    lying.on("HEAD", status(405))
    lying.on("GET /v2/app", status(200, body, Content_Encoding=coding))
    with pytest.raises(SourceError, match=problem):
        source_of(lying, waits).root()


def test_a_small_body_that_inflates_without_end_takes_no_more_memory_than_its_limit() -> None:
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))
    with pytest.raises(SourceError, match="larger than 1000 bytes"):
        decoded(bomb, "gzip, gzip", 1000, "the bomb")
