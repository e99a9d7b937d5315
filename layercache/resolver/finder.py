"""Finds layers by one of their names, and holds what remote tiers answer until a layer is read."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.resolver import lookup
from layercache.resolver.questions import Questions
from layercache.tiers.concurrently import FanOut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from weakref import ref

    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.lookup import Pairs
    from layercache.resolver.responses import Responses
    from layercache.tiers.tier import Tier

HELD = 16
"""Look-ups whose responses stay open, the latest ones. Each holds a connection, or a small blob."""


class Finder:
    """Looks names up in ``tiers``, without the claims that were ``refuted``. Thread-safe."""

    def __init__(self, tiers: Sequence[Tier], refuted: Pairs) -> None:
        self._tiers = tiers
        self._refuted = refuted
        self._at_once = FanOut()
        self._latest = _LatestResponses()

    def find(self, name: Hash) -> tuple[LayerIdentity, Responses | None]:
        """As `lookup.find`, with the blobs that were opened on the way, if any. Raises `NotFoundError`."""
        asked = Questions(self._tiers, self._at_once, reading=True)
        try:
            identity = lookup.find(self._tiers, name, asked, self._refuted)
        except BaseException:
            asked.give_up()
            raise
        return identity, self._held(asked)

    def is_cached(self, name: Hash) -> bool:
        """Whether `find` would find anything. Nothing is read for that."""
        try:
            lookup.find(
                self._tiers, name, Questions(self._tiers, self._at_once, reading=False), self._refuted
            )
        except NotFoundError:
            return False
        return True

    def of_digest(
        self, digest: Digest, *, stated: bool, coming: bool
    ) -> tuple[LayerIdentity, Responses | None]:
        """As `lookup.of_digest`, with what was opened on the way, if anything.

        ``stated``: by who asks, so no tier is asked that takes a round trip. ``coming``: the blob is on its
        way, and need not be opened.
        """
        tiers = tuple(lookup.on_this_machine(self._tiers)) if stated else self._tiers
        asked = Questions(self._tiers, self._at_once, reading=True)
        if coming:
            asked.leave_out(digest)
        try:
            identity = lookup.of_digest(tiers, digest, asked, self._refuted)
        except BaseException:
            asked.give_up()
            raise
        return identity, self._held(asked)

    def _held(self, asked: Questions) -> Responses | None:
        """The responses of a look-up, which stay open for a while."""
        if asked.responses is not None:
            self._latest.add(asked.responses)
        return asked.responses

    def close(self) -> None:
        self._latest.close()
        self._at_once.close()


class _LatestResponses:
    """Closes the responses of look-ups that many others have followed. Thread-safe without a lock: each step
    on the queue is one of its own methods, and to close responses twice does no harm.
    """

    def __init__(self) -> None:
        self._latest: deque[ref[Responses]] = deque()

    def add(self, responses: Responses) -> None:
        from weakref import ref  # for remote tiers alone

        self._latest.append(ref(responses))
        self._close_all_but(HELD)

    def close(self) -> None:
        self._close_all_but(0)

    def _close_all_but(self, count: int) -> None:
        while len(self._latest) > count:
            try:
                oldest = self._latest.popleft()()
            except IndexError:  # another thread was faster
                return
            if oldest is not None:
                oldest.close()
