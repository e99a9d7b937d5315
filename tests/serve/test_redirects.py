"""With ``redirect``, clients read a blob straight from a bucket that has it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import urllib3
from servers.images import make_image, make_layer, noise
from servers.lying import error_body, status
from servers.received import open_service, receive

if TYPE_CHECKING:
    from pathlib import Path

    from servers.fake_gcs import FakeGCS
    from servers.lying import LyingRegistry

    from layercache.serve.service import Service

IMAGE = make_image([make_layer({"noise": noise(300_000)})])
(LAYER,) = IMAGE.layers
PATH = f"/v2/app/blobs/{LAYER.digest}"


@pytest.fixture
def bucket(fake_gcs: FakeGCS) -> str:
    return f"gs://{fake_gcs.bucket()}/team?endpoint_url={fake_gcs.url}&token=anon&timeout=60"


def mirror(tmp_path: Path, bucket: str, upstream: LyingRegistry, *, redirect: bool = True) -> Service:
    """A mirror over a disk and a bucket, which has pulled the image."""
    upstream.add_image("1", IMAGE)
    running = open_service(f"file://{tmp_path}/cache", bucket, upstream=upstream.host, redirect=redirect)
    receive(running, "/v2/app/manifests/1")
    first = receive(running, PATH)
    assert (first.status, first.body) == (200, LAYER.blob), "a blob that no bucket has is sent from here"
    running.cache.flush()
    return running


def test_clients_are_sent_to_the_bucket_for_what_it_has(
    tmp_path: Path, bucket: str, lying: LyingRegistry
) -> None:
    with closing(mirror(tmp_path, bucket, lying)) as service:
        for headers in ({}, {"range": "bytes=5-9"}):
            found = receive(service, PATH, headers)
            assert (found.status, found.body) == (307, b"")
            assert found.headers["docker-content-digest"] == LAYER.digest
            assert found.headers["cache-control"] == "no-store", "the URL expires"
            sent = urllib3.request("GET", found.headers["location"], headers=headers)
            assert sent.data == (LAYER.blob[5:10] if headers else LAYER.blob)
        head = receive(service, PATH, method="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(LAYER.blob)))


def test_without_the_option_blobs_are_sent_from_here(
    tmp_path: Path, bucket: str, lying: LyingRegistry
) -> None:
    with closing(mirror(tmp_path, bucket, lying, redirect=False)) as service:
        assert receive(service, PATH).status == 200


def test_an_entry_of_another_size_and_a_bucket_that_fails_are_not_what_clients_are_sent_to(
    tmp_path: Path, bucket: str, lying: LyingRegistry, fake_gcs: FakeGCS
) -> None:
    with closing(mirror(tmp_path, bucket, lying)) as service:
        name = bucket.removeprefix("gs://").partition("/")[0]
        (key,) = [each for each in fake_gcs.names(name) if LAYER.digest.hex in each and "/blobs/" in each]
        fake_gcs.put(name, key, LAYER.blob[:-1])
        found = receive(service, PATH)
        assert (found.status, found.body) == (200, LAYER.blob)


def test_a_blob_is_sent_only_through_a_repository_that_refers_to_it_also_by_the_bucket(
    tmp_path: Path, bucket: str, lying: LyingRegistry
) -> None:
    missing = status(404, error_body("BLOB_UNKNOWN", "not here"), Content_Type="application/json")
    lying.on("/v2/elsewhere/", *[missing] * 10)
    with closing(mirror(tmp_path, bucket, lying)) as service:
        found = receive(service, f"/v2/elsewhere/blobs/{LAYER.digest}")
        assert (found.status, "location" in found.headers) == (404, False)
