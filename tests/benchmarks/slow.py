"""Loopback made slow: whoever connects gets so many bytes a second from the server behind, and no more."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 128 << 10


@contextmanager
def slowed(port: int, rate: float) -> Iterator[int]:
    """The port of a relay to a port, each connection of which brings at most ``rate`` bytes a second."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Daemons: a connection that somebody keeps open must not keep this process.
        threading.Thread(target=_accept, args=(listener, port, rate), daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept


def _accept(listener: socket.socket, port: int, rate: float) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, target, limit in ((client, server, 0.0), (server, client, rate)):
                threading.Thread(target=_pass_on, args=(source, target, limit), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, rate: float) -> None:
    """All bytes of one direction. A pause is made up for: the rate is that since the last silence."""
    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(_PIECE))
    due = 0.0
    with suppress(OSError):
        while count := source.recv_into(buffer):
            target.sendall(buffer[:count])
            if rate:
                due = max(due, time.monotonic()) + count / rate
                time.sleep(max(0.0, due - time.monotonic()))
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
