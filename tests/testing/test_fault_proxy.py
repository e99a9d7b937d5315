"""The fault proxy does what it is told, and nothing else: tests of what other tests rely on."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from layercache.testing import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 300_000
BODY = bytes(range(250)) * (SIZE // 250)


class Origin(ThreadingHTTPServer):
    """GET gives the body; what is PUT whole is kept in ``bodies``."""

    daemon_threads = False

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        self._answer(BODY)

    def do_PUT(self) -> None:
        wanted = int(self.headers["Content-Length"])
        body = self.rfile.read(wanted)
        if len(body) == wanted:
            self.server.bodies.append(body)
            self._answer(b"kept")

    def log_message(self, format: str, *args: object) -> None: ...

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(origin: Origin) -> Iterator[FaultProxy]:
    with FaultProxy(origin.server_port) as running:
        yield running


def ask(
    proxy: FaultProxy, method: str = "GET", path: str = "/", body: bytes | None = None
) -> tuple[int, str | None, bytes]:
    """Status, stated length and body."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        length = answer.getheader("Content-Length")
        try:
            return answer.status, length, answer.read()
        except http.client.IncompleteRead as error:
            return answer.status, length, error.partial
    finally:
        connection.close()


def test_without_a_fault_all_passes_and_is_counted(proxy: FaultProxy, origin: Origin) -> None:
    assert ask(proxy) == (200, str(SIZE), BODY)
    assert ask(proxy, "PUT", "/a", BODY) == (200, "4", b"kept")
    assert origin.bodies == [BODY]
    assert proxy.requests == ["GET /", "PUT /a"]
    assert (proxy.connections, proxy.asked("PUT"), proxy.asked("/")) == (2, 1, 2)
    assert (proxy.to_server, proxy.to_client) == (SIZE, SIZE + 4)


def test_a_fault_meets_the_request_it_is_meant_for_once(proxy: FaultProxy) -> None:
    proxy.on("GET /b", Fault(status=503, body=b"busy", headers={"Retry-After": "1"}), Fault(status=500))
    assert ask(proxy, path="/a")[0] == 200
    assert ask(proxy, path="/b") == (503, "4", b"busy")
    assert ask(proxy, path="/b") == (500, "0", b"")
    assert ask(proxy, path="/b")[0] == 200


def test_a_spoilt_answer_to_an_upload_is_read_by_who_uploads(proxy: FaultProxy, origin: Origin) -> None:
    proxy.on("PUT", Fault(status=503))
    assert ask(proxy, "PUT", "/", BODY * 10)[0] == 503
    assert origin.bodies == []


def test_an_answer_is_cut_with_its_length_and_shortened_with_another(proxy: FaultProxy) -> None:
    proxy.on("GET", Fault(cut_answer=1000), Fault(cut_answer=0), Fault(short=1000))
    assert ask(proxy) == (200, str(SIZE), BODY[:1000])
    assert ask(proxy) == (200, str(SIZE), b"")
    assert ask(proxy) == (200, str(SIZE - 1000), BODY[:-1000])


def test_a_byte_is_flipped(proxy: FaultProxy) -> None:
    proxy.on("GET", Fault(flip=SIZE - 1))
    assert ask(proxy)[2] == BODY[:-1] + bytes([BODY[-1] ^ 0xFF])


def test_of_a_request_that_is_cut_the_server_gets_a_part(proxy: FaultProxy, origin: Origin) -> None:
    proxy.on("PUT", Fault(cut_request=1000))
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(proxy, "PUT", "/", BODY)
    assert proxy.to_server == 1000
    assert origin.bodies == []


def test_a_connection_is_reset_before_or_after_the_server_did_its_work(
    proxy: FaultProxy, origin: Origin
) -> None:
    proxy.on("PUT", Fault(reset=True), Fault(deaf=True))
    for kept in ([], [b"x"]):
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            ask(proxy, "PUT", "/", b"x")
        assert origin.bodies == kept


@pytest.mark.parametrize("stall", [0, 1000])
def test_a_stalled_answer_says_nothing_more_until_the_client_gives_up(proxy: FaultProxy, stall: int) -> None:
    proxy.on("GET", Fault(stall=stall))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.2)
    connection.request("GET", "/")
    with pytest.raises(TimeoutError):
        connection.getresponse().read()
    connection.close()
    assert proxy.to_client == stall


def test_nobody_listens_while_it_refuses(proxy: FaultProxy) -> None:
    with proxy.refusing(), pytest.raises(ConnectionRefusedError):
        ask(proxy)
    assert ask(proxy)[0] == 200


def test_latency_and_bandwidth_take_their_time(proxy: FaultProxy) -> None:
    proxy.always = Fault(latency=0.05, bandwidth=SIZE * 10)
    began = time.monotonic()
    assert ask(proxy)[2] == BODY
    assert ask(proxy, "PUT", "/", BODY)[2] == b"kept"
    assert time.monotonic() - began > 0.15  # at the least each way a tenth of a second, or nearly


def test_it_leaves_no_thread_even_where_it_was_told_to_stall(origin: Origin) -> None:
    with FaultProxy(origin.server_port) as proxy:
        proxy.on("GET", Fault(stall=0), Fault(stall=5))
        connections = [http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60) for _ in range(2)]
        for connection in connections:
            connection.request("GET", "/")
    assert not [thread for thread in threading.enumerate() if thread.name == "fault proxy"]
    for connection in connections:
        connection.close()
