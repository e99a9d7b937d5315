"""Runs the mirror: granian's processes, each with a cache of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from granian.constants import Interfaces
from granian.server import Server

from layercache.serve.application import Application
from layercache.serve.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.serve.settings import ServeSettings


def run(open_cache: Callable[[], Cache], settings: ServeSettings) -> None:
    """Serve until SIGINT or SIGTERM. ``open_cache`` is called in each worker."""
    server = Server(
        "layercache",
        address=settings.address,
        port=settings.port,
        interface=Interfaces.RSGI,
        workers=settings.workers,
        websockets=False,
    )
    server.serve(target_loader=partial(_application, open_cache, settings), wrap_loader=False)


def _application(open_cache: Callable[[], Cache], settings: ServeSettings) -> Callable[..., Any]:
    return Application(Service(open_cache(), settings))
