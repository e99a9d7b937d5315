"""The tags of a repository."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError
from layercache.serve.listings import Listings
from layercache.serve.messages import json_answer
from layercache.serve.pages import page

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.oci.reference import Reference
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Answer
    from layercache.serve.questions import Questions
    from layercache.serve.settings import ServeSettings

OVERHEAD = 64
"""Bytes of memory that a tag takes beside its characters."""


class Tags:
    """Answers ``/v2/<name>/tags/list``: those of the upstream, sorted. Thread-safe."""

    def __init__(self, cache: Cache, questions: Questions, settings: ServeSettings) -> None:
        self._images = cache.registry_images()
        self._lists: Listings[str] = Listings(
            "tags", questions, settings, lambda tag: len(tag) + OVERHEAD, "NAME_UNKNOWN"
        )

    def answer(self, admitted: Admitted) -> Answer:
        tags, where = self._lists.find(admitted, self._images.tags, self._cached)
        shown, link = page(admitted.request, tags)
        return json_answer({"name": admitted.route.name, "tags": shown}, [*where, *link])

    def _cached(self, repository: Reference) -> list[str]:
        """Those that were pulled, for when the upstream does not answer."""
        with suppress(NotFoundError, BackendError):
            return self._images.cached_tags(repository)
        return []
