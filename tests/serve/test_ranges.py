"""Parts of blobs: what a request asks for, and what is fetched for it."""

from __future__ import annotations

from email import message_from_bytes
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise
from servers.received import begin, mirror_of, receive, rest

from layercache.serve import blob_bodies
from layercache.serve.blob_bodies import GAP, RUNS_MAX
from layercache.serve.messages import StreamAnswer
from layercache.serve.ranges import RANGES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.lying import LyingRegistry
    from servers.received import Received

    from layercache.serve.service import Service

IMAGE = make_image([make_layer({"noise": noise(3 << 20)})])
(LAYER,) = IMAGE.layers
BLOB, SIZE = LAYER.blob, len(LAYER.blob)
PATH = f"/v2/app/blobs/{LAYER.digest}"


@pytest.fixture
def service(lying: LyingRegistry, tmp_path: Path) -> Iterator[Service]:
    """A mirror with an empty cache, which knows the image's manifest."""
    with mirror_of(lying, IMAGE, tmp_path / "cache") as running:
        yield running


@pytest.fixture(params=["cold", "warm"])
def either(service: Service, request: pytest.FixtureRequest) -> Service:
    """The same, with and without the blob in its cache."""
    if request.param == "warm":
        receive(service, PATH)
    return service


def asked(upstream: LyingRegistry) -> list[str]:
    return [each.headers.get("range", "") for each in upstream.asked("GET /v2/app/blobs/")]


def parts(found: Received) -> list[tuple[str, bytes]]:
    """The Content-Range and the bytes of each part."""
    head = f"Content-Type: {found.headers['content-type']}\r\n\r\n".encode()
    whole, *found_parts = message_from_bytes(head + found.body).walk()
    assert whole.is_multipart()
    return [(part["content-range"], bytes(part.get_payload(decode=True))) for part in found_parts]


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299", 100, 300),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes={SIZE - 5}-", SIZE - 5, SIZE),
        (f"bytes={SIZE - 5}-{10 * SIZE}", SIZE - 5, SIZE),
        (f"bytes=-{10 * SIZE}", 0, SIZE),
        ("bytes=0-", 0, SIZE),
        ("Bytes = 5-6 , ,", 5, 7),
    ],
)
def test_one_range_is_sent_as_that(either: Service, wanted: str, start: int, end: int) -> None:
    found = receive(either, PATH, {"range": wanted})
    assert found.status == 206
    assert found.body == BLOB[start:end]
    assert found.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert found.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "wanted",
    ["bytes", "items=0-1", "bytes=", "bytes=a-b", "bytes=-", "bytes=0-1,x", "bytes=+1-2"],
)
def test_what_is_not_a_range_of_bytes_is_ignored(either: Service, wanted: str) -> None:
    found = receive(either, PATH, {"range": wanted})
    assert (found.status, found.body) == (200, BLOB)


@pytest.mark.parametrize(
    "wanted", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={10**18}-", "bytes=5-2"]
)
def test_a_range_behind_the_end_is_refused_with_the_size(
    either: Service, lying: LyingRegistry, wanted: str
) -> None:
    before = len(asked(lying))
    found = receive(either, PATH, {"range": wanted})
    assert found.status == 416
    assert found.headers["content-range"] == f"bytes */{SIZE}"
    assert len(asked(lying)) == before


def test_several_ranges_are_sent_as_parts_in_their_order(either: Service) -> None:
    found = receive(either, PATH, {"range": f"bytes=900-999, 0-99, -10, {SIZE}-"})
    assert found.status == 206
    assert found.headers["content-length"] == str(len(found.body))
    wanted = [(900, 1000), (0, 100), (SIZE - 10, SIZE)]
    assert parts(found) == [(f"bytes {a}-{b - 1}/{SIZE}", BLOB[a:b]) for a, b in wanted]


def test_as_many_ranges_as_podman_asks_for_are_sent_and_more_are_refused(either: Service) -> None:
    spans = [(number * 1000, number * 1000 + 500) for number in range(RANGES_MAX)]
    found = receive(either, PATH, {"range": "bytes=" + ",".join(f"{a}-{b - 1}" for a, b in spans)})
    assert [body for _, body in parts(found)] == [BLOB[a:b] for a, b in spans]
    more = ",".join(f"{a}-{b - 1}" for a, b in [*spans, (SIZE - 2, SIZE)])
    assert receive(either, PATH, {"range": f"bytes={more}"}).status == 400


def test_ranges_that_overlap_cannot_make_a_body_bigger_than_the_blob(either: Service) -> None:
    found = receive(either, PATH, {"range": "bytes=" + ",".join(["0-"] * 100)})
    assert found.status == 400
    assert len(found.body) < 1000


def test_a_range_of_another_version_is_ignored(either: Service) -> None:
    wanted = {"range": "bytes=0-9"}
    assert receive(either, PATH, {**wanted, "if-range": f'"{LAYER.digest}"'}).body == BLOB[:10]
    for other in ('"other"', f'W/"{LAYER.digest}"', "Tue, 15 Nov 1994 12:45:26 GMT"):
        found = receive(either, PATH, {**wanted, "if-range": other})
        assert (found.status, len(found.body)) == (200, SIZE)


def test_a_part_of_a_cold_blob_is_all_that_the_upstream_is_asked_for(
    service: Service, lying: LyingRegistry
) -> None:
    found = receive(service, PATH, {"range": "bytes=1000-1999"})
    assert (found.kind, found.headers["x-layercache"]) == ("StreamAnswer", "miss")
    assert asked(lying) == ["bytes=1000-1999"]
    assert LAYER.digest not in service.cache


def test_parts_of_a_cold_blob_that_are_near_each_other_take_one_request(
    service: Service, lying: LyingRegistry
) -> None:
    far = 2 * GAP
    wanted = [(0, 10), (GAP, GAP + 10), (GAP + 10 + far, GAP + 20 + far)]
    text = ",".join(f"{a}-{b - 1}" for a, b in wanted)
    found = receive(service, PATH, {"range": f"bytes={text}"})
    assert [body for _, body in parts(found)] == [BLOB[a:b] for a, b in wanted]
    assert asked(lying) == [f"bytes=0-{GAP + 9}", f"bytes={GAP + 10 + far}-{GAP + 19 + far}"]


@pytest.mark.parametrize("ascending", [True, False])
def test_a_client_cannot_have_the_upstream_asked_for_each_of_many_parts(
    service: Service, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch, ascending: bool
) -> None:
    monkeypatch.setattr(blob_bodies, "GAP", 100)
    wanted = [(at, at + 10) for at in range(0, SIZE // 5, SIZE // 500)]
    wanted = wanted if ascending else wanted[::-1]
    found = receive(service, PATH, {"range": "bytes=" + ",".join(f"{a}-{b - 1}" for a, b in wanted)})
    assert [body for _, body in parts(found)] == [BLOB[a:b] for a, b in wanted]
    assert len(asked(lying)) <= RUNS_MAX


def test_a_cold_blob_that_is_read_in_parts_is_fetched_as_a_whole_soon_and_kept(
    service: Service, lying: LyingRegistry
) -> None:
    step = SIZE // 10
    for start in range(0, SIZE, step):
        found = receive(service, PATH, {"range": f"bytes={start}-{start + step - 1}"})
        assert found.body == BLOB[start : start + step]
    assert asked(lying) == [f"bytes=0-{step - 1}", f"bytes={step}-{2 * step - 1}", ""]
    service.cache.flush()
    assert LAYER.digest in service.cache


def test_a_part_of_a_blob_that_is_on_its_way_is_not_fetched_again(
    service: Service, lying: LyingRegistry
) -> None:
    whole = begin(service, PATH)
    assert isinstance(whole, StreamAnswer)
    for wanted, part in (("bytes=-9", BLOB[-9:]), ("bytes=5-9", BLOB[5:10])):
        assert receive(service, PATH, {"range": wanted}).body == part
    assert rest(whole) == BLOB
    assert asked(lying) == [""]


def test_a_range_of_a_head_is_ignored(either: Service) -> None:
    found = receive(either, PATH, {"range": "bytes=0-1"}, method="HEAD")
    assert (found.status, found.headers["content-length"]) == (200, str(SIZE))
