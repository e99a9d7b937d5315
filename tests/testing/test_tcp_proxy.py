"""The plain fault proxy does what it is set to, connection by connection."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from layercache.testing import Fault, TCPProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 300_000


class Echo:
    """A server that sends back what it gets; ``received`` counts bytes."""

    def __init__(self) -> None:
        self.received = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(60)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while data := client.recv(65536):
                self.received += len(data)
                client.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    running = Echo()
    yield running
    running.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TCPProxy]:
    with TCPProxy(echo.port) as running:
        yield running


def ask(proxy: TCPProxy, size: int = SIZE, timeout: float = 10.0) -> bytes:
    """Send so many bytes and read as many, or what comes. Raises `ConnectionError` where it is reset."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout) as connection:
        failures: list[ConnectionError] = []
        sending = threading.Thread(target=_send, args=(connection, bytes(size), failures))
        sending.start()
        found = bytearray()
        try:
            while len(found) < size and (piece := connection.recv(65536)):
                found += piece
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            sending.join()
    # A reset is an error of the socket's, which one of its calls gets: the other sees no more than an end.
    if failures and not found:
        raise failures[0]
    return bytes(found)


def _send(connection: socket.socket, data: bytes, failures: list[ConnectionError]) -> None:
    try:
        connection.sendall(data)
    except ConnectionError as error:
        failures.append(error)
    except OSError:  # the reader has left
        pass


def test_without_a_fault_a_connection_lasts_and_all_passes(proxy: TCPProxy, echo: Echo) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
        for _ in range(3):
            connection.sendall(b"ping")
            assert connection.recv(100) == b"ping"
    assert ask(proxy) == bytes(SIZE)
    assert proxy.connections == 2
    assert (proxy.to_server, proxy.to_client) == (SIZE + 12, SIZE + 12)


def test_a_fault_meets_the_next_connection_and_no_other(proxy: TCPProxy) -> None:
    proxy.on("", Fault(cut_answer=1000))
    # The system may reset a connection that is closed while a request still comes, and drop what was sent.
    with suppress(ConnectionError):
        assert ask(proxy) == bytes(1000)
    assert proxy.to_client == 1000
    assert ask(proxy) == bytes(SIZE)


def test_of_a_request_that_is_cut_the_server_gets_a_part(proxy: TCPProxy, echo: Echo) -> None:
    proxy.on("", Fault(cut_request=1000))
    with suppress(ConnectionError):
        assert len(ask(proxy)) <= 1000
    assert proxy.to_server == 1000


def test_a_connection_is_reset_before_or_after_the_server_did_its_work(proxy: TCPProxy, echo: Echo) -> None:
    for fault, received in ((Fault(reset=True), 0), (Fault(deaf=True, after=5), 5)):
        proxy.on("", fault)
        with pytest.raises(ConnectionError):
            assert ask(proxy, 5) == b"?"
        assert echo.received == received


def test_before_its_time_a_fault_does_nothing(proxy: TCPProxy) -> None:
    proxy.always = Fault(deaf=True, after=9)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
        connection.sendall(b"ping")
        assert connection.recv(100) == b"ping"
        connection.sendall(b"and on")
        with pytest.raises(ConnectionError):
            connection.recv(100)


@pytest.mark.parametrize("stall", [0, 1000])
def test_a_stalled_answer_says_nothing_more(proxy: TCPProxy, stall: int) -> None:
    proxy.always = Fault(stall=stall)
    with pytest.raises(TimeoutError):
        ask(proxy, timeout=0.3)
    assert proxy.to_client == stall


def test_an_answer_of_somebody_else_comes_from_no_server(proxy: TCPProxy, echo: Echo) -> None:
    proxy.always = Fault(status=1, body=b"nonsense")
    with suppress(ConnectionError):
        assert ask(proxy, 5) == b"nonsense"[:8]
    assert echo.received == 0


def test_what_is_open_can_be_dropped(proxy: TCPProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
        connection.sendall(b"ping")
        assert connection.recv(100) == b"ping"
        proxy.drop()
        with suppress(ConnectionError):
            assert connection.recv(100) == b""


def test_an_answer_is_late(proxy: TCPProxy) -> None:
    proxy.always = Fault(latency=0.1)
    began = time.monotonic()
    assert ask(proxy, 5) == bytes(5)
    assert time.monotonic() - began >= 0.1
