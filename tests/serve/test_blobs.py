"""Blobs by their digest: whole, in parts, cached or not, for one client or many."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

import pytest
from servers.images import make_image, make_layer, noise
from servers.lying import cut_off, error_body, silent, status, wrong_bytes
from servers.received import begin, open_service, receive, rest

from layercache.errors import DigestMismatchError
from layercache.resolver import leases
from layercache.resolver.fetch import Fetcher
from layercache.serve.blobs import Content
from layercache.serve.messages import StreamAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.lying import LyingRegistry

    from layercache.oci.digest import Digest
    from layercache.serve.service import Service
    from layercache.streams.byte_ranges import Span

BIG = 3 << 20
IMAGE = make_image([make_layer({"noise": noise(BIG)}), make_layer({"a": b"small"})])
LAYER, SMALL = IMAGE.layers
PATH = f"/v2/app/blobs/{LAYER.digest}"
SIZE = len(LAYER.blob)


@pytest.fixture
def upstream(lying: LyingRegistry) -> LyingRegistry:
    lying.add_image("1", IMAGE)
    return lying


@pytest.fixture
def service(upstream: LyingRegistry, tmp_path: Path) -> Iterator[Service]:
    """A mirror with an empty cache, which knows the image's manifest."""
    with closing(open_service(f"file://{tmp_path}/cache", upstream=upstream.host)) as running:
        receive(running, "/v2/app/manifests/1")
        yield running


def gets(upstream: LyingRegistry, digest: Digest = LAYER.digest) -> list[str]:
    """The ranges of the requests for a blob; "" for all of it."""
    return [request.headers.get("range", "") for request in upstream.asked(f"GET /v2/app/blobs/{digest}")]


def test_a_blob_is_fetched_once_and_then_sent_as_a_file(service: Service, upstream: LyingRegistry) -> None:
    first, second = receive(service, PATH), receive(service, PATH)
    assert first.body == second.body == LAYER.blob
    assert (first.kind, second.kind) == ("StreamAnswer", "FileAnswer")
    assert (first.headers["x-layercache"], second.headers["x-layercache"]) == ("miss", "hit")
    assert gets(upstream) == [""]
    for each in (first, second):
        assert each.headers["docker-content-digest"] == LAYER.digest
        assert each.headers["etag"] == f'"{LAYER.digest}"'
        assert each.headers["content-length"] == str(SIZE)
        assert each.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("threads", [False, True])
def test_the_first_bytes_are_sent_before_any_others_have_come(
    service: Service, upstream: LyingRegistry, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fetcher, "idle", lambda *_: threads)
    upstream.on("/blobs/", silent(64 << 10))
    answer = begin(service, PATH)
    assert isinstance(answer, StreamAnswer)
    assert 0 < len(answer.first) <= 64 << 10
    assert service.cache.layer(LAYER.digest).is_on_its_way("compressed")
    upstream.ended.set()
    assert rest(answer) == LAYER.blob


def test_a_head_asks_the_upstream_by_head_and_a_cached_blob_nobody(
    service: Service, upstream: LyingRegistry
) -> None:
    cold = receive(service, PATH, method="HEAD")
    assert (cold.status, cold.body, cold.headers["content-length"]) == (200, b"", str(SIZE))
    assert len(upstream.asked("HEAD /v2/app/blobs/")) == 1
    assert gets(upstream) == []
    receive(service, PATH)
    warm = receive(service, PATH, method="HEAD")
    assert warm.headers["content-length"] == str(SIZE)
    assert len(upstream.asked("HEAD /v2/app/blobs/")) == 1


def test_a_client_that_has_the_blob_is_not_sent_it_again(service: Service, upstream: LyingRegistry) -> None:
    for condition in (f'"{LAYER.digest}"', f'W/"{LAYER.digest}"', f'"other", "{LAYER.digest}"', "*"):
        found = receive(service, PATH, {"if-none-match": condition})
        assert (found.status, found.body) == (304, b"")
        assert found.headers["etag"] == f'"{LAYER.digest}"'
    assert receive(service, PATH, {"if-none-match": '"other"'}).status == 200
    assert gets(upstream) == [""]


def test_a_client_that_hangs_up_does_not_stop_the_fetch(service: Service, upstream: LyingRegistry) -> None:
    answer = begin(service, PATH)
    assert isinstance(answer, StreamAnswer)
    answer.rest.close()
    service.cache.flush()
    again = receive(service, PATH)
    assert (again.kind, again.body) == ("FileAnswer", LAYER.blob)
    assert gets(upstream) == [""]


def test_many_clients_at_once_cost_one_fetch(service: Service, upstream: LyingRegistry) -> None:
    with ThreadPoolExecutor(24) as clients:
        found = list(clients.map(lambda _: receive(service, PATH), range(24)))
    assert all(each.body == LAYER.blob for each in found)
    assert gets(upstream) == [""]


def test_two_mirrors_that_share_a_store_cost_one_fetch(
    upstream: LyingRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASED_FROM", 1 << 20)

    def mirror(name: str) -> Service:
        shared = f"file://{tmp_path}/shared?keep=compressed&lease=true"
        return open_service(f"file://{tmp_path}/{name}", shared, upstream=upstream.host)

    with closing(mirror("one")) as one, closing(mirror("two")) as two, ThreadPoolExecutor(8) as clients:
        for each in (one, two):
            receive(each, "/v2/app/manifests/1")
        found = list(clients.map(lambda number: receive((one, two)[number % 2], PATH), range(8)))
    assert all(each.body == LAYER.blob for each in found)
    assert gets(upstream) == [""]


def test_a_blob_that_the_repository_does_not_have_is_unknown(
    service: Service, upstream: LyingRegistry
) -> None:
    other = upstream.add_blob(noise(1000, 9))
    missing = status(404, error_body("BLOB_UNKNOWN", "not here"), Content_Type="application/json")
    upstream.on("/blobs/", *[missing] * 20)
    for name in (f"app/blobs/{other.digest}", f"elsewhere/blobs/{LAYER.digest}"):
        found = receive(service, f"/v2/{name}")
        assert (found.status, json.loads(found.body)["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_that_the_upstream_lost_is_unknown(
    service: Service, upstream: LyingRegistry, method: str
) -> None:
    missing = status(404, error_body("BLOB_UNKNOWN", "lost"), Content_Type="application/json")
    upstream.on("/blobs/", missing, missing)
    found = receive(service, PATH, method=method)
    assert (found.status, json.loads(found.body)["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_that_the_upstream_fails_to_send_is_never_reported_as_unknown(
    service: Service, upstream: LyingRegistry, method: str
) -> None:
    upstream.on("/blobs/", *[status(500)] * 100)
    found = receive(service, PATH, method=method)
    assert (found.status, json.loads(found.body)["errors"][0]["code"]) == (503, "UNAVAILABLE")


def test_wrong_bytes_of_the_upstream_end_in_an_error_before_their_end(
    service: Service, upstream: LyingRegistry
) -> None:
    upstream.on("/blobs/", wrong_bytes)
    answer = begin(service, PATH)
    assert isinstance(answer, StreamAnswer)
    pieces: list[bytes] = []
    with closing(answer.rest), pytest.raises(DigestMismatchError):
        pieces.extend(iter(answer.rest.read, b""))
    assert len(answer.first) + sum(map(len, pieces)) < SIZE
    assert receive(service, PATH).body == LAYER.blob


@pytest.mark.parametrize("wanted", [{}, {"range": "bytes=0-9"}, {"range": "bytes=0-9,20-29"}])
def test_what_was_opened_for_an_answer_that_becomes_an_error_is_closed(
    service: Service, upstream: LyingRegistry, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    opened = []

    def noted(self: Content, span: Span) -> BinaryIO:
        opened.append(follow(self, span))
        return opened[-1]

    follow = Content.follow
    monkeypatch.setattr(Content, "follow", noted)
    monkeypatch.setattr(Content, "open", noted)
    upstream.on("/blobs/", *[wrong_bytes] * 9)
    assert receive(service, f"/v2/app/blobs/{SMALL.digest}", wanted).kind == "Answer"
    assert [each.closed for each in opened] == [True]


def test_a_connection_that_breaks_in_the_middle_goes_on_where_it_was(
    service: Service, upstream: LyingRegistry
) -> None:
    upstream.on("/blobs/", cut_off(1 << 20))
    assert receive(service, PATH).body == LAYER.blob
    assert gets(upstream) == ["", f"bytes={1 << 20}-{SIZE - 1}"]
