"""The repositories of which something is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError
from layercache.images.hosted import HOSTED
from layercache.oci.reference import Reference
from layercache.serve.messages import json_answer
from layercache.serve.pages import page
from layercache.serve.remembered import Remembered

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.access import Access, Admitted
    from layercache.serve.messages import Answer

CATALOG_AGE = 10.0
"""Seconds for which the tiers are not listed again."""


class Catalog:
    """Answers ``/v2/_catalog`` with names that begin with a registry, unless they are hosted. Thread-safe.

    A client sees those of which is known, without asking an upstream, that it may read them.
    """

    def __init__(self, cache: Cache, access: Access) -> None:
        self._images = cache.registry_images()
        self._access = access
        self._memory: Remembered[list[str]] = Remembered(1)

    def answer(self, admitted: Admitted) -> Answer:
        names = self._memory.get("names")
        if names is None:
            names = self._images.cached_repositories()
            self._memory.put("names", names, CATALOG_AGE)
        seen = sorted(name.removeprefix(f"{HOSTED}/") for name in names if self._is_seen(admitted, name))
        shown, link = page(admitted.request, seen)
        return json_answer({"repositories": shown}, link)

    def _is_seen(self, admitted: Admitted, name: str) -> bool:
        try:
            return self._access.lists(admitted, Reference.parse(name))
        except InvalidNameError:
            return False
