"""What a process of the mirror is started with: its settings, and how it opens its cache."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from layercache.errors import BackendError, LayercacheError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from layercache.cache import Cache
    from layercache.serve.settings import ServeSettings


class Setup(Value, frozen=True):
    """``open_cache``: called in each worker. ``tiers``: the URLs of the cache, without secrets.

    ``totals``: the file to which all caches of this user add what they did; None: it is not kept.
    """

    settings: ServeSettings
    open_cache: Callable[[], Cache]
    tiers: tuple[str, ...]
    totals: str | None = None


def try_starting(setup: Setup) -> None:
    """Start what a worker serves in a separate process, and close it: nothing of it may stay in this one.

    Raises what starting it raises, if that is a `LayercacheError`.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_start_and_close, args=(setup, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        error: LayercacheError | None = ours.recv()
    except EOFError:
        error = BackendError("the mirror cannot be started: the process that tried has ended")
    child.join()
    if error:
        raise error


def _start_and_close(setup: Setup, result: Connection) -> None:
    from layercache.serve.service import Service

    try:
        with setup.open_cache() as cache:
            Service(cache, setup.settings).close()
    except LayercacheError as error:
        result.send(error)
    else:
        result.send(None)
