"""What each worker of the mirror runs."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.serve.application import Application
from layercache.serve.metrics import Metrics
from layercache.serve.observed import Observed
from layercache.serve.page.page import Page
from layercache.serve.service import Service
from layercache.serve.tally import Tally

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.access import Access
    from layercache.serve.setup import Setup

log = logging.getLogger("layercache.serve")


def application(setup: Setup, folder: str, number: int) -> Observed:
    """The application of a worker, number ``number``. ``folder``: for the counts of all, and for pipes."""
    try:
        cache = setup.open_cache()
    except LayercacheError as error:  # it could be opened when the mirror started
        log.warning("a worker cannot open the cache: %s", error)
        raise SystemExit(1) from None
    tally = Tally(lambda: cache.counters, folder=folder, number=number)
    settings = setup.settings
    page = partial(_page, cache, setup, folder, number) if settings.page else None
    service = Service(cache, settings, Metrics(tally), page)
    save = service.page.activity.save if service.page else None
    return Observed(Application(service, folder), tally, settings.access_log, save)


def _page(cache: Cache, setup: Setup, folder: str, number: int, access: Access) -> Page:
    return Page(cache, setup.settings, access.lists, folder, number=number, totals=setup.totals)
