"""Redirects, and what else names another server: followed within bounds, and without our secrets."""

from __future__ import annotations

import pytest
from servers.images import noise
from servers.lying import LyingRegistry, cut_off, redirect, status
from sources.asking import Waits, read, source_of

from layercache.errors import NotFoundError, SourceError

BLOB = noise(700_000)


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
        assert [request.headers.get("range") for request in storage.requests] == [None, "bytes=300000-699999"]
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


@pytest.mark.parametrize(("count", "followed"), [(4, True), (5, True), (10, True), (11, False)])
def test_ten_redirects_are_followed(count: int, followed: bool, lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[redirect(f"/v2/app/blobs/{blob.digest}")] * count)
    if followed:
        assert read(source_of(lying, waits), blob) == BLOB
    else:
        with pytest.raises(SourceError, match="redirects more than 10 times"):
            source_of(lying, waits).open_blob(blob)
    assert len(lying.asked("/blobs/")) == min(count, 10) + 1
