"""Finds layers by one of their names, and holds what remote tiers answer until a layer is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.resolver import lookup
from layercache.resolver.questions import Questions
from layercache.resolver.responses import LatestResponses, Responses
from layercache.tiers.concurrently import FanOut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.digest import Hash
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.lookup import Pairs
    from layercache.tiers.tier import Tier


class Finder:
    """Looks names up in ``tiers``, without the claims that were ``refuted``. Thread-safe."""

    def __init__(self, tiers: Sequence[Tier], refuted: Pairs) -> None:
        self._tiers = tiers
        self._refuted = refuted
        self._at_once = FanOut()
        self._latest = LatestResponses()

    def find(self, name: Hash) -> tuple[LayerIdentity, Responses]:
        """As `lookup.find`, with the blobs that were opened on the way. Raises `NotFoundError`."""
        responses = Responses()
        try:
            identity = lookup.find(self._tiers, name, self._questions(responses), self._refuted)
        except BaseException:
            responses.close()
            raise
        if responses.held:
            self._latest.add(responses)
        return identity, responses

    def is_cached(self, name: Hash) -> bool:
        """Whether `find` would find anything. Nothing is read for that."""
        try:
            lookup.find(self._tiers, name, self._questions(None), self._refuted)
        except NotFoundError:
            return False
        return True

    def close(self) -> None:
        self._latest.close()
        self._at_once.close()

    def _questions(self, responses: Responses | None) -> Questions:
        return Questions(self._tiers, self._at_once, responses)
