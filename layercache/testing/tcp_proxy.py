"""A fault proxy for protocols other than HTTP: faults affect a connection, not a request."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.testing.proxy import PATIENCE, PIECE, Fault, FaultProxy, hang_up, reset_at_close, stop_reading

if TYPE_CHECKING:
    from collections.abc import Callable


class TCPProxy(FaultProxy):
    """As `FaultProxy`, of any protocol over TCP, and with connections that last.

    Each connection suffers one fault, the next of ``on("", …)`` or ``always`` as it was when it was made.
    With ``after`` it begins when the client has sent so many bytes. ``cut_request`` counts from the start of
    the connection, ``cut_answer`` and ``stall`` from the start of the fault. ``status`` sends ``body`` alone
    and closes; ``short``, ``flip`` and ``bandwidth`` are for HTTP.
    """

    def _serve(self, client: socket.socket) -> None:
        try:
            with self._tracked(client):
                self._connected(client, self._choose(b"connection"))
        except OSError:
            pass  # one of the two hung up
        except Exception as error:  # raised when the proxy is left
            self._errors.append(error)

    def _connected(self, client: socket.socket, fault: Fault) -> None:
        if fault.reset:
            reset_at_close(client)
        elif fault.status is not None:
            client.sendall(fault.body)
        elif fault.stall == 0 and not fault.after:
            self._ended.wait()
        else:
            with self._tracked(socket.create_connection(self._target, timeout=PATIENCE)) as server:
                server.settimeout(None)
                _Conversation(self, client, server, fault).run()


class _Conversation:
    """The two directions of a connection, each in a separate thread."""

    def __init__(self, proxy: TCPProxy, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._fault = fault
        self._sent = 0

    def run(self) -> None:
        uploading = threading.Thread(target=self._quietly, args=(self._upload,), name="fault proxy")
        uploading.start()
        self._quietly(self._download)
        uploading.join()

    def _quietly(self, direction: Callable[[], None]) -> None:
        with suppress(OSError):
            direction()
        # Ends the other direction. The client can still be reset: one that is hung up could not.
        hang_up(self._server)
        stop_reading(self._client)

    def _upload(self) -> None:
        limit = self._fault.cut_request
        buffer = memoryview(bytearray(PIECE))
        while limit is None or self._sent < limit:
            room = PIECE if limit is None else min(PIECE, limit - self._sent)
            count = self._client.recv_into(buffer[:room])
            if not count:
                return
            self._sent += count
            self._proxy.count(to_server=count)
            self._server.sendall(buffer[:count])
        reset_at_close(self._client)

    def _download(self) -> None:
        fault, given = self._fault, 0
        limit = fault.cut_answer if fault.stall is None else fault.stall
        buffer = memoryview(bytearray(PIECE))
        while count := self._server.recv_into(buffer):
            due = self._sent >= fault.after
            if due and fault.deaf:
                reset_at_close(self._client)
                return
            if due and limit is not None:
                count = min(count, limit - given)
                given += count
            self._proxy.pause(fault.latency)
            self._proxy.count(to_client=count)
            self._client.sendall(buffer[:count])
            if due and given == limit:
                if fault.stall is not None:
                    self._proxy.pause(None)
                return
