"""A TCP proxy on loopback that cuts connections in the middle of what a client sends."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

STEP = 4096


class CuttingProxy:
    """Passes bytes on to a port, and breaks a connection where the bytes sent in all reach a mark.

    Each mark of ``cuts`` counts once, the lowest first. ``passed``: bytes that clients have sent.
    """

    def __init__(self, port: int, *cuts: int) -> None:
        self.cuts = sorted(cuts)
        self.passed = 0
        self._port = port
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            _break(each)
        for thread in self._threads:
            thread.join()

    def _run(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type]  # one of the methods below
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [client, server]
                self._run(self._pass, client, server, True)
                self._run(self._pass, server, client, False)

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while part := source.recv(STEP):
                target.sendall(part)
                if counted and self._is_cut(len(part)):
                    break
        _break(source)
        _break(target)

    def _is_cut(self, count: int) -> bool:
        with self._lock:
            self.passed += count
            if self.cuts and self.passed >= self.cuts[0]:
                self.cuts.pop(0)
                return True
            return False


def _break(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
