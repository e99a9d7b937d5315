"""Which repositories are hosted here, rather than cached from an upstream."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.images.hosted import HOSTED
from layercache.oci.reference import Reference
from layercache.serve.messages import READS
from layercache.tiers import keys

if TYPE_CHECKING:
    from layercache.images.hosted import HostedImages
    from layercache.serve.messages import Request
    from layercache.serve.push.links import Links
    from layercache.serve.settings import ServeSettings

MISSING_AGE = 5.0
"""Seconds for which a name to which nothing was pushed is not looked for again in the tiers."""

REMEMBERED = 10_000


class HostedNames:
    """Tells hosted repositories from those of upstreams. Thread-safe: what is remembered is written at once.

    A name that begins with a registry's host is that registry's, so nobody can push what others would take
    for the upstream's. Of the other names those are hosted that match a pattern in ``hosted``. Without
    patterns it is those to which something was pushed, once; the rest are the default upstream's.
    """

    def __init__(self, settings: ServeSettings, images: HostedImages, links: Links) -> None:
        self._patterns = settings.hosted
        self._images = images
        self._links = links
        # Names to which nothing was pushed, and when that is to be looked up again (monotonic seconds).
        self._absent: dict[str, float] = {}

    def is_hosted(self, request: Request, name: str) -> bool:
        """Whether a request for a repository of this name is for a hosted one. Raises nothing."""
        stated = self._by_name(request, name)
        return self._is_in_tiers(name) if stated is None else stated

    def is_settled(self, request: Request, name: str) -> bool:
        """Whether `is_hosted` has its answer without asking the tiers."""
        return self._by_name(request, name) is not None

    def _by_name(self, request: Request, name: str) -> bool | None:
        """The answer as far as it follows from the name, or from what was pushed on this machine."""
        namespace = request.query.get("ns", "")
        if namespace and namespace != request.headers.get("host", ""):
            return namespace == HOSTED
        first, slash, _ = name.partition("/")
        if slash and ("." in first or ":" in first or first == HOSTED):
            return first == HOSTED
        if self._patterns:
            return any(fnmatchcase(name, pattern) for pattern in self._patterns)
        if request.method not in READS or self._links.knows(name):
            return True
        known = self._absent.get(name)
        return False if known is not None and time.monotonic() < known else None

    def _is_in_tiers(self, name: str) -> bool:
        """Whether an image was pushed to this name, perhaps on another machine."""
        try:
            folder = keys.image_tag(HOSTED, Reference.parse(f"{HOSTED}/{name}").repository, "")
            found = next(iter(self._images.within(folder.removesuffix("_tags/"))), None) is not None
        except LayercacheError:  # then it is the upstream that is asked
            found = False
        if not found:
            if len(self._absent) >= REMEMBERED:
                self._absent.clear()
            self._absent[name] = time.monotonic() + MISSING_AGE
        return found
