"""Ports that are free on loopback, for servers that have to be told theirs. Needs no pytest."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()
