"""The socket that all workers of the mirror accept connections from.

It is one socket, made before the workers are: a port that is in use is an error, and a connection that waits
to be accepted outlives the worker that a reload or a crash ends. The server below would open a socket for
each worker and port (SO_REUSEPORT), of which neither holds.
"""

from __future__ import annotations

import os
import socket
import sys

from layercache.errors import BackendError, ConfigError

BACKLOG = 1024
"""Connections that wait to be accepted, further ones are refused by the system."""


def listen(address: str, port: int, *, stall_timeout: float, inherited: int | None = None) -> socket.socket:
    """Return a listening socket: ``inherited``, a file descriptor from systemd, or a new one.

    Where the system can do it, it ends a connection whose client takes no byte for ``stall_timeout`` seconds,
    of a file as of a stream. Raises `ConfigError` for what cannot be listened at, `BackendError` if
    the port is in use or not allowed.
    """
    listening = _new(address, port) if inherited is None else _taken_over(inherited)
    # What is set here every accepted connection has, too.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            milliseconds = round(stall_timeout * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    listening.setblocking(False)
    return listening


def place(listening: socket.socket) -> tuple[str, int]:
    """The address and the port that a socket listens at."""
    address, port = listening.getsockname()[:2]
    return address, port


def _new(address: str, port: int) -> socket.socket:
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(
            f"there is no address {address!r} to listen at",
            hint="expected an address of this machine: 127.0.0.1, ::, a host's name",
        ) from error
    # A name may have addresses of both kinds (localhost): clients try IPv4, all of them.
    family, _, _, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)
    both = family == socket.AF_INET6 and place[0] == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(place[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise BackendError(
            f"cannot listen at {shown}: {os.strerror(error.errno or 0)}",
            hint="choose another port (--port; 0 is any free one) or address (--address)",
        ) from error


def _taken_over(descriptor: int) -> socket.socket:
    try:
        listening = socket.socket(fileno=descriptor)
        if listening.type == socket.SOCK_STREAM and listening.family in (socket.AF_INET, socket.AF_INET6):
            return listening
    except OSError as error:
        raise ConfigError(f"file descriptor {descriptor}, which systemd passed, is not a socket") from error
    raise ConfigError(
        f"file descriptor {descriptor}, which systemd passed, is not a TCP socket",
        hint="expected one ListenStream=ADDRESS:PORT in the socket unit",
    )
