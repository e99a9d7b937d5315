"""Rude clients: raw bytes to a server, and what of the server's process is left after them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Reply(NamedTuple):
    """Everything that came back. ``ended``: whether the server has closed the connection."""

    data: bytes
    ended: bool

    @property
    def statuses(self) -> list[int]:
        """Those of all responses."""
        lines = [line for line in self.data.split(b"\r\n") if line.startswith(b"HTTP/1.")]
        return [int(line.split()[1]) for line in lines]


def send(port: int, data: bytes, *, patience: float = 10.0) -> Reply:
    """Send bytes on a connection of their own, and read until it is closed, or silent for so many seconds."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        try:
            while part := connection.recv(65536):
                found += part
        except TimeoutError:
            return Reply(found, ended=False)
        except ConnectionError:
            pass
    return Reply(found, ended=True)


def get(port: int, target: str) -> Reply:
    """GET a target as it is."""
    request = f"GET {target} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"
    return send(port, request.encode("latin-1"))


class Resources(NamedTuple):
    """What a process and its children hold. ``resident``: bytes."""

    files: int
    threads: int
    resident: int


def resources(pid: int) -> Resources:
    """Of a process and all below it."""
    found = [Resources(0, 0, 0)]
    for each in _family(pid):
        folder = Path("/proc") / str(each)
        with suppress(FileNotFoundError, ProcessLookupError):
            resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            files, threads = len(os.listdir(folder / "fd")), len(os.listdir(folder / "task"))
            found.append(Resources(files, threads, resident))
    return Resources(*(sum(column) for column in zip(*found, strict=True)))


def settled(pid: int, enough: Callable[[Resources], bool], *, patience: float = 20.0) -> Resources:
    """What is held once that is enough, or when patience ends: connections close a moment later."""
    deadline = time.monotonic() + patience
    while not enough(now := resources(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    try:
        tasks = list((Path("/proc") / str(pid) / "task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _family(pid: int) -> list[int]:
    return [pid, *(each for child in children(pid) for each in _family(child))]
