"""A TCP proxy in front of a server on loopback, which disturbs the traffic on request.

    with FaultProxy(server.port) as proxy:
        proxy.always = Fault(latency=0.05, bandwidth=60 << 20)      # what every connection is like
        proxy.on("GET /bucket", Fault(cut_answer=1000), Fault(status=503))   # the next two such requests
        ...
        assert proxy.asked("GET /bucket") == 3

Faults are used in order, one for each request whose method and path contain the text; after that ``always``
applies, which changes nothing by default. A connection carries one request, after which both sides close it,
so a fault affects only the intended request.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PIECE = 256 << 10
PATIENCE = 10.0
"""Seconds for a client to read a response of the proxy, and for connecting to the server."""

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?i)(?<=\r\ncontent-length:) *(\d+)")
_CONNECTION = re.compile(rb"(?i)\r\nconnection:[^\r]*")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d ")


@dataclass(frozen=True)
class Fault:
    """A fault of one request. Offsets and lengths are those of a body, in bytes."""

    latency: float = 0.0
    """Seconds by which the response is late."""
    bandwidth: int | None = None
    """Bytes a second, in each direction."""
    cut_request: int | None = None
    """Reset after this many bytes of the request; the server receives only these."""
    cut_answer: int | None = None
    """Close after this many bytes of the response, whatever length was stated."""
    short: int = 0
    """Omit this many bytes at the end of the response, and state the remaining length."""
    stall: int | None = None
    """Stop sending after this many bytes of the response. 0: do not contact the server at all."""
    reset: bool = False
    """Reset instead of contacting the server. (To refuse connections: `FaultProxy.refusing`.)"""
    deaf: bool = False
    """Reset instead of the response, after the server has carried out the request."""
    status: int | None = None
    """Respond with this status, ``body`` and ``headers`` instead of contacting the server."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    flip: int | None = None
    """Flip the bits of the byte at this offset of the response."""
    after: int = 0
    """`TCPProxy` only: bytes that the client sends on a connection before the fault starts."""


class FaultProxy:
    """Listens on a free loopback port and passes on to ``port`` of ``host``."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.always = Fault()
        self.connections = 0
        self.requests: list[str] = []
        """Method and path of each request, in order."""
        self.to_server = 0
        """Bytes of bodies passed on."""
        self.to_client = 0
        self._target = (host, port)
        self._faults: list[tuple[str, deque[Fault]]] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        # Bound but not listening: reserves the port while nothing listens on it.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener = self._reserved

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, text: str, *faults: Fault) -> None:
        """Disturb the next requests whose "METHOD path" contains the text, one fault each."""
        with self._lock:
            self._faults.append((text, deque(faults)))

    def forgive(self) -> None:
        """Drop the faults that have not been used."""
        with self._lock:
            self._faults.clear()

    def asked(self, text: str) -> int:
        """Count the requests whose "METHOD path" contained the text."""
        return sum(text in request for request in self.requests)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections inside the block; open ones stay."""
        hang_up(self._listener)
        self._listener.close()
        yield
        self._listen()

    def drop(self) -> None:
        """Close the open connections."""
        with self._lock:
            for each in self._open:
                hang_up(each)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        with self._lock:
            for each in (self._listener, *self._open):
                hang_up(each)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()
        self._reserved.close()
        if self._errors and kind is None:
            raise self._errors[0]

    def pause(self, seconds: float | None) -> None:
        """Wait so long (None: for as long as the proxy runs), or until the proxy is left."""
        self._ended.wait(seconds)

    def _listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(128)
        self._in_thread(self._accept, self._listener)

    def _in_thread(self, work: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(argument,), name="fault proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._in_thread(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            with self._tracked(client):
                incoming = _Incoming(client)
                if head := incoming.head():
                    self._treat(client, incoming, head, self._choose(head))
        except OSError:
            pass  # one of the two hung up
        except Exception as error:  # the test gets it at the end
            self._errors.append(error)

    def _choose(self, head: bytes) -> Fault:
        request = b" ".join(head.partition(b"\r\n")[0].split(b" ")[:2]).decode("latin-1")
        with self._lock:
            self.requests.append(request)
            for text, faults in self._faults:
                if faults and text in request:
                    return faults.popleft()
        return self.always

    def _treat(self, client: socket.socket, incoming: _Incoming, head: bytes, fault: Fault) -> None:
        if fault.reset:
            reset_at_close(client)
        elif fault.status is not None:
            self._ended.wait(fault.latency)
            _answer_instead(client, fault)
        elif fault.stall == 0:
            self._ended.wait()
        else:
            with self._tracked(socket.create_connection(self._target, timeout=PATIENCE)) as server:
                server.settimeout(None)
                server.sendall(_closing(head))
                uploading = threading.Thread(target=self._upload, args=(client, incoming, server, fault))
                uploading.start()
                try:
                    self._ended.wait(fault.latency)
                    self._download(server, client, fault)
                finally:
                    hang_up(server)
                    # Not both directions of the client's: a connection that is hung up cannot be reset.
                    stop_reading(client)
                    uploading.join()

    def _upload(
        self, client: socket.socket, incoming: _Incoming, server: socket.socket, fault: Fault
    ) -> None:
        with suppress(OSError):  # the thread of the answer sees it too
            for piece in self._pieces(incoming, fault.cut_request, fault.bandwidth):
                self.count(to_server=len(piece))
                server.sendall(piece)
        if fault.cut_request is not None:
            reset_at_close(client)
        # Of a request that was cut, and of a client that is gone, the server is to know.
        hang_up(server)

    def _download(self, server: socket.socket, client: socket.socket, fault: Fault) -> None:
        incoming = _Incoming(server)
        head = incoming.head()
        while _INTERIM.match(head):
            client.sendall(head)
            head = incoming.head()
        if fault.deaf or not head:
            reset_at_close(client)
            return
        limit = fault.cut_answer if fault.stall is None else fault.stall
        if fault.short:
            found = _LENGTH.search(head)
            assert found, f"an answer without a length cannot be short: {head!r}"
            limit = max(0, int(found[1]) - fault.short)
            head = _LENGTH.sub(b" %d" % limit, head)
        client.sendall(_closing(head))
        done = 0
        for piece in self._pieces(incoming, limit, fault.bandwidth):
            if fault.flip is not None and done <= fault.flip < done + len(piece):
                piece[fault.flip - done] ^= 0xFF
            self.count(to_client=len(piece))
            client.sendall(piece)
            done += len(piece)
        if fault.stall is not None:
            self._ended.wait()

    def count(self, to_server: int = 0, to_client: int = 0) -> None:
        """Counts before it is sent: who got the last byte may look at once."""
        with self._lock:
            self.to_server += to_server
            self.to_client += to_client

    def _pieces(self, incoming: _Incoming, limit: int | None, bandwidth: int | None) -> Iterator[memoryview]:
        """What comes in, up to its end or to so many bytes, no faster than so many bytes a second."""
        buffer = bytearray(PIECE if bandwidth is None else max(1024, min(PIECE, bandwidth // 50)))
        began, done = time.monotonic(), 0
        while limit is None or done < limit:
            room = len(buffer) if limit is None else min(len(buffer), limit - done)
            count = incoming.readinto(memoryview(buffer)[:room])
            if not count:
                return
            yield memoryview(buffer)[:count]
            done += count
            if bandwidth is not None:
                self._ended.wait(max(0.0, began + done / bandwidth - time.monotonic()))

    @contextmanager
    def _tracked(self, each: socket.socket) -> Iterator[socket.socket]:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(each)
        try:
            yield each
        finally:
            with self._lock:
                self._open.discard(each)
            each.close()


class _Incoming:
    """What a socket receives: first a head, then what follows."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def head(self) -> bytes:
        """Up to the empty line, with it. Empty if the other side hung up before."""
        while _END_OF_HEAD not in self._rest:
            received = self._connection.recv(PIECE)
            if not received:
                return b""
            self._rest += received
        head, end, self._rest = self._rest.partition(_END_OF_HEAD)
        return head + end

    def readinto(self, view: memoryview) -> int:
        if not self._rest:
            return self._connection.recv_into(view)
        piece, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(piece)] = piece
        return len(piece)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _closing(head: bytes) -> bytes:
    """The head of a request or an answer after which the connection is closed."""
    return _CONNECTION.sub(b"", head)[: -len(b"\r\n")] + b"Connection: close" + _END_OF_HEAD


def _answer_instead(client: socket.socket, fault: Fault) -> None:
    head = f"HTTP/1.1 {fault.status} Spoilt\r\nContent-Length: {len(fault.body)}\r\nConnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fault.headers.items())
    client.sendall(head.encode() + b"\r\n" + fault.body)
    # The rest of the request is taken, as the system resets a connection that is closed with bytes unread.
    client.shutdown(socket.SHUT_WR)
    client.settimeout(PATIENCE)
    while client.recv(PIECE):
        pass


def hang_up(each: socket.socket) -> None:
    """End both directions: a thread that waits for this socket wakes up."""
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def stop_reading(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RD)


def reset_at_close(each: socket.socket) -> None:
    with suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
