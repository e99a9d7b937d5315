"""What each worker of the mirror runs."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.serve.application import Application
from layercache.serve.metrics import Metrics
from layercache.serve.observed import Observed
from layercache.serve.service import Service
from layercache.serve.tally import Tally

if TYPE_CHECKING:
    from layercache.serve.setup import Setup

log = logging.getLogger("layercache.serve")


def application(setup: Setup, folder: str, number: int) -> Observed:
    """The application of a worker. ``folder``: for the counts of all; ``number``: of this worker's."""
    # Until the server below handles it: what the first process has set would only set a flag here.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        cache = setup.open_cache()
    except LayercacheError as error:  # it could be opened when the mirror started
        log.warning("a worker cannot open the cache: %s", error)
        raise SystemExit(1) from None
    tally = Tally(lambda: cache.counters, folder=folder, number=number)
    service = Service(cache, setup.settings, Metrics(tally))
    return Observed(Application(service), tally, setup.settings.access_log)
