"""Clients that mean no good: nothing wrong is served to them, others go on, and nothing is left of them."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise, write_layout
from servers.mirror import Mirror
from servers.registry import Registry
from servers.rude import get, resources, send, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.images import Image

SIZE = 8 << 20
MANIFEST = "/v2/team/app/manifests/1"
CONFIG = """
header_timeout = 2
max_header_size = "16KiB"
max_connections = 200
stall_timeout = 3
"""


@pytest.fixture(scope="module")
def image() -> Image:
    """One layer that does not compress, and is far bigger than what sockets and pipes hold."""
    return make_image([make_layer({"big": noise(SIZE, 5)}, "gzip")])


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("upstream")
    with Registry(folder / "registry") as registry:
        registry.push(f"oci:{write_layout(folder / 'layout', {'image': image})}:image", "team/app:1")
        yield registry


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, upstream: Registry) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("mirror")
    with Mirror(folder, config=f'default_upstream = "{upstream.host}"\n{CONFIG}') as running:
        assert running.get(MANIFEST).status == 200
        yield running


def layer_path(image: Image) -> str:
    return f"/v2/team/app/blobs/{image.layers[0].descriptor.digest}"


@pytest.mark.parametrize(
    "target",
    [
        "/v2/../etc/passwd",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
        "/v2/%252e%252e/%252e%252e/etc/passwd",
        "/v2/team/app/blobs/..%2f..%2f..%2fetc%2fpasswd",
        "/v2/team/app/manifests/..",
        "/v2/team/../team/app/manifests/1",
        "/v2/./team/app/manifests/1",
        "/v2//team/app/manifests/1",
        "//v2/team/app/manifests/1",
        "/V2/team/app/manifests/1",
        "/v2/team/app/manifests/1/",
        "/v2/team/app/manifests/1%00",
        "/v2/team/app/manifests/1%0d%0aX-Injected:%20yes",
        "/v2/team/app/manifests/%ff%fe",
        "/v2/team/app/manifests/%EF%BC%91",
        "/v2/team%5capp/manifests/1",
        "\\..\\..\\etc\\passwd",
        "/blobs/sha256/00",
        "file:///etc/passwd",
        "/v2/team/app/blobs/sha256:" + "0" * 63 + "/",
        "/v2/" + "a/" * 300 + "manifests/1",
        "*",
    ],
)
def test_a_path_that_is_not_one_of_the_spec_is_no_way_to_anything(mirror: Mirror, target: str) -> None:
    reply = get(mirror.port, target)
    assert reply.ended
    assert len(reply.statuses) == 1
    assert reply.statuses[0] in (400, 404)
    assert b"root:" not in reply.data
    assert b"\r\nx-injected" not in reply.data.lower()


def test_an_absolute_url_is_no_way_to_another_host(mirror: Mirror, upstream: Registry) -> None:
    before = len(upstream.accesses())
    reply = get(mirror.port, f"http://127.0.0.1:{upstream.port}/v2/_catalog")
    assert reply.statuses == [200]
    assert b'"repositories"' in reply.data  # the mirror's own
    assert get(mirror.port, "http://169.254.169.254/latest/meta-data/").statuses == [404]
    assert send(mirror.port, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n").statuses in (
        [400],
        [404],
        [405],
    )
    assert len(upstream.accesses()) == before


HOST = b"Host: mirror\r\n"
SMUGGLED = b"GET /v2/_catalog HTTP/1.1\r\nHost: mirror\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 0, 44\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: +0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n",
        b"GET /v2/\r\n",
        b"GET /v2/ HTTP/9.9\r\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_request_that_can_be_read_in_two_ways_carries_no_second_one(
    mirror: Mirror, request_: bytes
) -> None:
    reply = send(mirror.port, request_ + SMUGGLED)
    assert reply.ended
    assert len(reply.statuses) <= 1
    assert b'"repositories"' not in reply.data


def test_a_body_that_a_request_announces_is_no_request(mirror: Mirror) -> None:
    length = f"Content-Length: {len(SMUGGLED)}\r\n\r\n".encode()
    reply = send(mirror.port, b"GET /healthz HTTP/1.1\r\n" + HOST + length + SMUGGLED, patience=2)
    assert reply.statuses == [200]
    assert b'"repositories"' not in reply.data


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"".join(b"X%d: y\r\n" % each for each in range(5000)) + b"\r\n",
        b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Authorization: Basic " + b"QTpB" * 20_000 + b"\r\n\r\n",
    ],
)
def test_headers_that_are_too_big_are_refused_and_the_connection_ends(
    mirror: Mirror, request_: bytes
) -> None:
    reply = send(mirror.port, request_)
    assert reply.ended
    assert reply.statuses in ([431], [414], [400])
    assert mirror.get("/healthz").status == 200


def test_thousands_of_ranges_are_not_sent(mirror: Mirror, image: Image) -> None:
    path, before = layer_path(image), resources(mirror_pid(mirror)).resident
    assert mirror.get(path).body == image.layers[0].blob
    for ranges in (
        ",".join(f"{each}-{each}" for each in range(1500)),
        ",".join(["0-"] * 1500),
        ",".join(["-1"] * 1500),
        f"{SIZE * 2}-{SIZE * 3}",
        "9" * 1000 + "-",
        "0-" + "9" * 1000,
        "1-0",
        "-0",
        "--1",
        "0x10-0x20",
    ):
        found = mirror.get(path, {"Range": f"bytes={ranges}"})
        assert found.status in (200, 206, 400, 416)
        assert len(found.body) <= len(image.layers[0].blob) + 500_000
    assert resources(mirror_pid(mirror)).resident - before < 100 << 20


def mirror_pid(mirror: Mirror) -> int:
    assert mirror.process is not None
    return mirror.process.pid


def test_clients_that_send_their_headers_slowly_are_cut_off_and_others_are_served(mirror: Mirror) -> None:
    held = resources(mirror_pid(mirror))
    with ExitStack() as stack:
        slow = [stack.enter_context(_connect(mirror)) for _ in range(50)]
        for each in slow:
            each.sendall(b"GET /v2/ HTTP/1.1\r\n")
        for _ in range(6):
            assert mirror.get(MANIFEST).status == 200
            for each in slow:
                with suppress(OSError):
                    each.sendall(b"X-Slow: y\r\n")
            time.sleep(0.5)
        for each in slow:
            each.settimeout(10)
            with suppress(ConnectionError):
                while each.recv(1000):
                    pass
    after = settled(mirror_pid(mirror), lambda now: now.files <= held.files + 2)
    assert after.files <= held.files + 2


def test_clients_that_read_nothing_are_cut_off_and_others_are_served(mirror: Mirror, image: Image) -> None:
    held = resources(mirror_pid(mirror))
    request = f"GET {layer_path(image)} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(_connect(mirror, buffer=4096))
            connection.sendall(request)
        assert mirror.get(layer_path(image)).body == image.layers[0].blob
        busy = resources(mirror_pid(mirror))
        assert busy.resident - held.resident < 64 << 20
        after = settled(mirror_pid(mirror), lambda now: now.files <= held.files + 2)
        assert after.files <= held.files + 2  # while the clients still have their ends open


def test_clients_that_hang_up_leave_nothing_behind(mirror: Mirror, image: Image) -> None:
    held = resources(mirror_pid(mirror))
    request = f"GET {layer_path(image)} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode()
    for number in range(60):
        with _connect(mirror) as connection:
            connection.sendall(request)
            if number % 2:
                connection.recv(1000)
    after = settled(mirror_pid(mirror), lambda now: now.files <= held.files + 2)
    assert after.files <= held.files + 2
    assert mirror.get(layer_path(image)).body == image.layers[0].blob


def test_more_connections_than_allowed_wait_and_are_served_later(mirror: Mirror) -> None:
    with ExitStack() as stack:
        for _ in range(220):
            stack.enter_context(_connect(mirror))
        time.sleep(0.2)
    assert mirror.get(MANIFEST).status == 200


def _connect(mirror: Mirror, buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", mirror.port))
    return connection
