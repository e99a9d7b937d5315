"""What goes wrong between us and a registry is mended where it can be, and told where it cannot."""

from __future__ import annotations

import email.utils
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest
from servers.images import noise
from servers.lying import (
    LyingRegistry,
    both,
    changed,
    cut_off,
    error_body,
    ignoring_range,
    redirect,
    short,
    silent,
    status,
    without_length,
    wrong_bytes,
)
from servers.pulling import pulled

from layercache.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from layercache.digest import Digest
from layercache.errors import DigestMismatchError, FormatError, IntegrityError, NotFoundError, SourceError
from layercache.reference import Reference
from layercache.sources.registry import RegistryClient, RegistrySource
from layercache.sources.retry import FIRST_WAIT, LONGEST_OBEYED
from layercache.sources.settings import RegistrySettings

if TYPE_CHECKING:
    from servers.images import Sample

BLOB = noise(700_000)


class Waits(list[float]):
    """Instead of sleeping: what would have been slept."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def source_of(lying: LyingRegistry, waits: Waits, tag: str = "1", **settings: float) -> RegistrySource:
    client = RegistryClient(RegistrySettings(read_timeout=settings.get("read_timeout", 20)), sleep=waits)
    return RegistrySource(client, Reference.parse(f"{lying.host}/app:{tag}"))


def read(source: RegistrySource, descriptor: Descriptor, start: int = 0) -> bytes:
    with source.open_blob(descriptor, start) as reader:
        return reader.read()


def test_a_body_that_breaks_off_goes_on_where_it_was(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), cut_off(200_000), cut_off(0))
    assert read(source_of(lying, waits), blob) == BLOB
    ranges = [request.headers.get("range") for request in lying.asked("/blobs/")]
    assert ranges[0] is None
    assert ranges[1] == "bytes=300000-"
    assert len(ranges) == 4


@pytest.mark.timeout(8)  # the time to connect, 10 s, is not what is waited for
def test_a_stream_that_falls_silent_goes_on_where_it_was(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", silent(300_000))
    assert read(source_of(lying, waits, read_timeout=0.3), blob) == BLOB


def test_an_early_end_without_a_stated_length_goes_on_where_it_was(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", without_length(missing=100_000))
    assert read(source_of(lying, waits), blob) == BLOB
    assert lying.asked("/blobs/")[1].headers["range"] == "bytes=600000-"


def test_a_server_that_knows_no_ranges_is_read_from_the_start_again(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), both(ignoring_range, cut_off(100_000)), ignoring_range)
    assert read(source_of(lying, waits), blob) == BLOB
    lying.on("/blobs/", ignoring_range)
    assert read(source_of(lying, waits), blob, 500_000) == BLOB[500_000:]


def test_breaks_without_progress_end_in_an_error_that_says_where(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), *[cut_off(0)] * 20)
    with pytest.raises(
        SourceError, match=r"broke off 5 times at byte 300000 of 700000: the connection was closed"
    ):
        read(source_of(lying, waits), blob)
    assert len(lying.asked("/blobs/")) == 5


def test_progress_between_breaks_starts_the_count_anew(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB * 6)
    lying.on("/blobs/", *[cut_off(300_000)] * 12)
    assert read(source_of(lying, waits), blob) == BLOB * 6


def test_a_stated_length_that_is_wrong_is_a_mismatch_at_once(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", short(1), short(1))
    for start in (0, 1000):
        with pytest.raises(DigestMismatchError, match="699999 bytes"):
            source_of(lying, waits).open_blob(blob, start)
    assert len(lying.asked("/blobs/")) == 2


def test_more_bytes_than_stated_are_a_mismatch(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", without_length(b"more"))
    with pytest.raises(DigestMismatchError, match="goes on after"):
        read(source_of(lying, waits), blob)


def test_a_body_without_a_stated_length_is_read_to_its_end_and_its_connection_kept(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[without_length()] * 3)
    source = source_of(lying, waits)
    assert all(read(source, blob) == BLOB for _ in range(3))
    assert lying.connections == 1


def test_another_range_than_was_asked_for_is_refused(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    for content_range in ("bytes 0-699999/700000", "bytes 7", ""):
        lying.on("/blobs/", changed(Content_Range=content_range))
        with pytest.raises(SourceError, match="another range"):
            source_of(lying, waits).open_blob(blob, 100)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(
    code: int, lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    for text in ("HEAD", "GET /v2/app/manifests", "/blobs/"):
        lying.on(text, status(code), status(code))
    assert pulled(source_of(lying, waits)) == sample.image.blobs
    assert len(waits) == 6
    assert FIRST_WAIT / 2 <= waits[0] <= FIRST_WAIT <= waits[1] <= 2 * FIRST_WAIT


def test_retry_after_is_obeyed_within_reason(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    date = email.utils.formatdate(time.time() - 5, usegmt=True)
    values = ["7", "86400", date, "soon"]
    lying.on("/blobs/", *[status(429, Retry_After=value) for value in values])
    assert read(source_of(lying, waits), blob) == BLOB
    assert waits[:3] == [7, LONGEST_OBEYED, 0]
    assert waits[3] <= FIRST_WAIT * 8


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
    lying.on("/blobs/", *[status(429, error_body("TOOMANYREQUESTS", "slow down"))] * 5)
    with pytest.raises(SourceError, match=f"docker login {lying.host}"):
        source_of(lying, waits).open_blob(blob)


def test_a_404_that_no_registry_wrote_is_a_failure_and_not_an_absence(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    bodies = [b"", b"<html>", b"[]", b'{"errors": null}', error_body("UNSUPPORTED", "")]
    lying.on("/blobs/", *[status(404, body) for body in bodies])
    for _ in bodies:
        with pytest.raises(SourceError) as caught:
            source_of(lying, waits).open_blob(blob)
        assert not isinstance(caught.value, NotFoundError)
        assert "not as a registry does" in str(caught.value)


def test_a_registry_that_knows_no_head_is_asked_by_get_once(
    lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    for code in (404, 405):
        lying.requests.clear()
        lying.on("HEAD", status(code))
        source = source_of(lying, waits)
        assert source.root() == sample.image.descriptor
        assert source.document(sample.image.descriptor) == sample.image.manifest
        assert len(lying.asked("GET /v2/app/manifests")) == 1


@pytest.mark.parametrize(
    "missing", [{"Docker_Content_Digest": ""}, {"Docker_Content_Digest": "odd"}, {"Content_Type": ""}]
)
def test_what_head_leaves_out_is_found_by_get(
    missing: dict[str, str], lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    lying.on("HEAD", changed(**missing))
    assert source_of(lying, waits).root() == sample.image.descriptor


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
    with pytest.raises(FormatError, match="says that it is"):
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


def test_a_blob_that_is_somewhere_else_is_fetched_there_without_our_secrets(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    with LyingRegistry() as storage:
        storage.add_blob(BLOB)
        signed = f"http://{storage.host}/blobs/{blob.digest}?X-Signature=secret"
        lying.on("/blobs/", redirect(signed), redirect(signed))
        storage.on("/blobs/", cut_off(300_000))
        assert read(source_of(lying, waits), blob) == BLOB
        assert [request.headers.get("range") for request in storage.requests] == [None, "bytes=300000-"]
        lying.on("/blobs/", *[redirect(signed)] * 2)
        storage.on("/blobs/", status(403, b"<Error>denied</Error>"), status(404))
        for _ in range(2):
            with pytest.raises(SourceError, match="redirected to another server") as caught:
                source_of(lying, waits).open_blob(blob)
            assert not isinstance(caught.value, NotFoundError)
            assert "secret" not in str(caught.value)


def test_a_relative_redirect_is_followed_and_an_endless_one_is_not(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", redirect(f"../other/blobs/{blob.digest}"))
    assert read(source_of(lying, waits), blob) == BLOB
    lying.on("/blobs/", *[redirect(f"/v2/app/blobs/{blob.digest}")] * 20)
    with pytest.raises(SourceError, match="redirects more than"):
        source_of(lying, waits).open_blob(blob)
    for odd in ("file:///etc/passwd", "http://[::1/", "http://127.0.0.1:x/", "ftp://127.0.0.1/x"):
        with LyingRegistry() as other:
            blob = other.add_blob(BLOB)
            other.on("/blobs/", redirect(odd))
            with pytest.raises(SourceError, match="no URL of an HTTP server"):
                source_of(other, waits).open_blob(blob)


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
