"""Starts the mirror, or only checks that it could be started."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from typing import TYPE_CHECKING

from layercache.serve import tls
from layercache.serve.greeting import greeting
from layercache.serve.held_files import MOST
from layercache.serve.listening import listen
from layercache.serve.preload import preload
from layercache.serve.server import Server
from layercache.serve.setup import try_starting

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.serve.settings import ServeSettings
    from layercache.serve.setup import Setup

RESERVED = 256
"""File descriptors of a worker for everything but clients: tiers, upstreams, the log."""


def check(setup: Setup) -> None:
    """Raise what `run` would raise, except for the port: a mirror may be running."""
    settings = setup.settings
    if settings.tls_certificate and settings.tls_key:
        tls.load(settings.tls_certificate, settings.tls_key).close()
    try_starting(setup)


def run(
    setup: Setup,
    again: Callable[[], Setup],
    *,
    greet: Callable[[str], object],
    inherited: int | None = None,
    verbose: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM. ``again`` reads the configuration again, ``greet`` prints.

    ``inherited``: the descriptor of a listening socket. Raises `LayercacheError`.
    """
    settings = setup.settings
    check(setup)
    preload()
    with (
        listen(
            settings.address, settings.port, stall_timeout=settings.stall_timeout, inherited=inherited
        ) as listening,
        tempfile.TemporaryDirectory(prefix="layercache-serve-") as folder,
    ):
        multiprocessing.set_start_method("fork", force=True)  # workers share what is open
        server = Server(setup, again, listening, folder, verbose=verbose)
        greet(greeting(setup, listening))
        if short := raise_file_limit(settings):
            greet(short)
        server.run()


def raise_file_limit(settings: ServeSettings) -> str:
    """Let each worker have a file open for each connection; a warning if the system does not allow it."""
    wanted = 2 * settings.max_connections + 2 * settings.max_streams + MOST + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    if enough >= wanted:
        return ""
    return (
        f"layercache: warning: a process may have {enough} files open, and max_connections "
        f"{settings.max_connections} and max_streams {settings.max_streams} need {wanted}: raise the limit "
        "(ulimit -n, LimitNOFILE=), or lower them"
    )
