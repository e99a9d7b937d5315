"""What goes wrong between us and a registry is mended where it can be, and told where it cannot."""

from __future__ import annotations

import email.utils
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest
from registry.asking import Waits, read, repository_of, source_of
from servers.images import noise
from servers.lying import (
    LyingRegistry,
    cut_off,
    error_body,
    status,
    without_length,
    wrong_bytes,
)
from servers.pulling import pulled

from layercache.errors import DigestMismatchError, FormatError, IntegrityError, SourceError
from layercache.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference
from layercache.registry.retry import FIRST_WAIT, LONGEST_OBEYED
from layercache.sources.registry import RegistryClient, RegistrySource
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from servers.images import Sample

BLOB = noise(700_000)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, *range(520, 525)])
def test_a_passing_failure_is_tried_again(
    code: int, lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    for text in ("HEAD", "GET /v2/app/manifests", "/blobs/"):
        lying.on(text, status(code), status(code))
    assert pulled(source_of(lying, waits)) == sample.image.blobs
    assert len(waits) == (6 if code == 429 else 4), "a HEAD that fails is followed by a GET at once"
    assert FIRST_WAIT / 2 <= waits[0] <= FIRST_WAIT <= waits[1] <= 2 * FIRST_WAIT


def test_retry_after_is_obeyed_within_reason(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    date = email.utils.formatdate(time.time() - 5, usegmt=True)
    values = ["7", "86400", date, "soon"]
    lying.on("/blobs/", *[status(429, Retry_After=value) for value in values])
    assert read(source_of(lying, waits), blob) == BLOB
    assert waits[:2] == [7, LONGEST_OBEYED]
    assert FIRST_WAIT * 2 <= waits[2] <= FIRST_WAIT * 4 <= waits[3] <= FIRST_WAIT * 8


@pytest.mark.parametrize("value", ["0", "0.01", "0.0", "-1", "", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_wait_is_never_none_at_all(value: str, lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[status(code, Retry_After=value) for code in (429, 503, 429)])
    assert read(source_of(lying, waits), blob) == BLOB
    assert all(FIRST_WAIT / 2 * 2**number <= wait for number, wait in enumerate(waits))


def test_a_date_and_decimals_are_waited_for(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    date = email.utils.formatdate(time.time() + 15, usegmt=True)
    lying.on("/blobs/", *[status(429, Retry_After=value) for value in (date, date[:-3] + "-0000", "2.5")])
    assert read(source_of(lying, waits), blob) == BLOB
    assert all(13 <= wait <= 16 for wait in waits[:2])
    assert waits[2] == 2.5


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_a_limit_is_waited_for_until_the_timeout_and_not_beyond(
    value: str, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[status(429, Retry_After=value)] * 12)
    assert read(source_of(lying, waits, read_timeout=60), blob) == BLOB
    lying.on("/blobs/", *[status(429, Retry_After=value)] * 999)
    waits.clear()
    with pytest.raises(SourceError, match="429"):
        source_of(lying, waits, read_timeout=60).open_blob(blob)
    assert sum(waits) == pytest.approx(60)
    assert len(waits) < 70


def test_without_retries_a_limit_is_not_waited_for(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[status(429)] * 2)
    with pytest.raises(SourceError, match="429"):
        source_of(lying, waits, retries=0).open_blob(blob)
    assert not waits


def test_a_server_that_is_overloaded_is_not_waited_for_as_one_that_limits(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[status(503)] * 99)
    with pytest.raises(SourceError, match="503"):
        source_of(lying, waits).open_blob(blob)
    assert len(waits) == 4


def test_a_limit_while_a_blob_goes_up_is_waited_for_and_nothing_is_sent_twice(
    lying: LyingRegistry, waits: Waits
) -> None:
    data = noise(1000)
    lying.on("POST", status(202, Location="/v2/app/blobs/uploads/1"))
    lying.on("PUT", *[status(429, Retry_After="3")] * 2, status(201))
    assert repository_of(lying, waits).push(Digest.of(data), BytesReader(data)) == 1000
    assert waits == [3, 3]
    assert [request.method for request in lying.requests] == ["GET", "POST", "PUT", "PUT", "PUT"]


@pytest.mark.parametrize("code", [400, 403, 405, 410, 416, 501])
def test_a_final_refusal_is_told_once(code: int, lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", status(code, error_body("ODD", "no\x1b[31m way")))
    with pytest.raises(SourceError, match=rf"{code} ODD no \[31m way"):
        source_of(lying, waits).open_blob(blob)
    assert len(lying.asked("/blobs/")) == 1
    assert not waits


def test_a_pull_limit_is_told_with_its_remedy(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[status(429, error_body("TOOMANYREQUESTS", "slow down"))] * 99)
    with pytest.raises(SourceError, match=f"layercache login {lying.host}"):
        source_of(lying, waits).open_blob(blob)


def test_a_registry_that_gives_another_manifest_for_a_digest_is_found_out(
    lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    digest = lying.add_manifest("1", OCI_MANIFEST, sample.image.manifest).digest
    lying.add_manifest(digest, OCI_INDEX, sample.index.manifest)
    source = source_of(lying, waits)
    with pytest.raises(DigestMismatchError):
        source.document(source.root())
    by_digest = RegistrySource(RegistryClient(), Reference.parse(f"{lying.host}/app@{digest}"))
    with pytest.raises(DigestMismatchError):
        by_digest.root()


def test_wrong_bytes_of_a_manifest_are_found_out(lying: LyingRegistry, waits: Waits, sample: Sample) -> None:
    lying.add_image("1", sample.image)
    lying.on("GET /v2/app/manifests", wrong_bytes)
    with pytest.raises(IntegrityError):
        source_of(lying, waits).document(sample.image.descriptor)
    larger = msgspec.structs.replace(sample.image.descriptor, size=sample.image.descriptor.size + 1)
    assert source_of(lying, waits).document(larger) == sample.image.manifest, "the hash decides"


def test_wrong_bytes_of_a_blob_are_for_its_reader_to_find(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", wrong_bytes)
    assert Digest.of(read(source_of(lying, waits), blob)) != blob.digest


def test_a_manifest_that_breaks_off_is_asked_for_again(
    lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    lying.on("GET /v2/app/manifests", cut_off(100), cut_off(0))
    assert source_of(lying, waits).document(sample.image.descriptor) == sample.image.manifest


def test_a_manifest_without_end_is_not_read_to_it(lying: LyingRegistry, waits: Waits) -> None:
    large = lying.add_manifest("1", OCI_MANIFEST, b" " * ((4 << 20) + 1))
    lying.on("GET /v2/app/manifests", without_length())
    for _ in range(2):
        with pytest.raises(SourceError, match="larger than 4194304"):
            source_of(lying, waits).document(large)


def test_what_is_no_manifest_is_told(lying: LyingRegistry, waits: Waits) -> None:
    lying.add_manifest("1", "text/html", b"<html>")
    with pytest.raises(FormatError, match="not JSON"):
        source_of(lying, waits).root()
    lying.add_manifest("2", OCI_INDEX, b'{"mediaType": "%s"}' % OCI_MANIFEST.encode())
    source = source_of(lying, waits, "2")
    with pytest.raises(FormatError, match="its mediaType is"):
        source.document(source.root())


@pytest.mark.parametrize("head", [True, False])
def test_schema_1_is_refused_by_its_name(head: bool, lying: LyingRegistry, waits: Waits) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    schema_1 = lying.add_manifest("1", kind, b'{"schemaVersion": 1, "name": "app"}')
    if not head:
        lying.on("HEAD", status(405))
    source = source_of(lying, waits)
    with pytest.raises(SourceError, match="schema 1"):
        source.root()
    with pytest.raises(SourceError, match="schema 1"):
        source.document(schema_1)


def test_small_blobs_share_a_connection_and_threads_need_one_each(lying: LyingRegistry, waits: Waits) -> None:
    blobs = [lying.add_blob(str(number).encode()) for number in range(100)]
    source = source_of(lying, waits)
    for blob in blobs[:50]:
        read(source, blob)
    assert lying.connections == 1
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda blob: read(source, blob), blobs))) == 100
    assert lying.connections <= 4


def test_a_stream_left_in_the_middle_gives_its_place_back(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB * 10)
    source = source_of(lying, waits)
    for _ in range(40):
        with source.open_blob(blob) as reader:
            assert reader.read(1000)
    assert read(source, blob) == BLOB * 10


def test_an_empty_blob_needs_no_request(lying: LyingRegistry, waits: Waits) -> None:
    empty = Descriptor(digest=Digest.of(b""), size=0)
    with source_of(lying, waits).open_blob(empty) as reader:
        assert reader.size == 0
        assert reader.read() == b""
    assert not lying.requests
