"""The way by claims: a diff ID leads to blobs of which only somebody's word says that they inflate to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, IntegrityError, NotALayerError, NotFoundError
from layercache.events import Event, Observers
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.confirmation import ClaimedReader, ConfirmedReader
from layercache.resolver.tier_writer import WrongEntryError
from layercache.streams.readers import check_hash
from layercache.transfer.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.errors import LayercacheError
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.fetch import Fetcher
    from layercache.resolver.finder import Finder
    from layercache.resolver.layer_state import LayerState
    from layercache.tiers.tier import Tier

CLAIMS_MAX = 8
"""Claims that one request follows until it gives up: each that is false costs an inflation, once."""


class Claims:
    """Follows claims one after the other; none decides which bytes are given. Thread-safe."""

    def __init__(self, finder: Finder, passes: Fetcher, observers: Observers) -> None:
        self._finder = finder
        self._passes = passes
        self._observers = observers

    def follow(self, layer: LayerState, go: Callable[[], Reader]) -> Reader:
        """The form that ``go`` opens by the current identity. Where a claim turns out false, by the next one.

        That ends with the first bytes that are read. Raises as ``go`` does, and what was wrong with the last
        claim where no other is left.
        """
        left = CLAIMS_MAX

        def go_on(error: LayercacheError) -> Reader:
            nonlocal left
            while left := left - 1:
                self._mean_another(layer, error)
                try:
                    return go()
                except (IntegrityError, NotALayerError) as another:
                    error = another
                except NotFoundError:
                    break
                finally:
                    layer.give_up_responses()
            raise error

        try:
            first = go()
        except (IntegrityError, NotALayerError) as error:
            first = go_on(error)
        return ClaimedReader(first, go_on)

    def _mean_another(self, layer: LayerState, error: LayercacheError) -> None:
        """Look again for what leads to the tar. Raises the error if nothing does, or no claim is to blame."""
        identity = layer.identity
        if identity.asked is None or isinstance(error, WrongEntryError):
            raise error
        try:
            found, responses = self._finder.find(identity.asked)
        except NotFoundError:
            raise error from None
        if found.digest == identity.digest and not found.computed:
            raise error
        if identity.digest:
            self._observers.emit(Event("failed", identity.digest, COMPRESSED, "a claim", note=error.message))
        layer.responses = responses
        layer.update(lambda _: found)

    def confirmed(self, layer: LayerState, digest: Digest, blob: Reader, tier: Tier | None = None) -> Reader:
        """A blob that a claim leads to, out of a transfer or a ``tier``; the tar inside is made and kept too.

        Reading raises `DigestMismatchError` before the end where it is another tar than was asked for.
        """
        source = None
        tar = self._passes.join(layer, digest, UNCOMPRESSED)
        if tar is None:
            source = blob
            if isinstance(source, Follower):
                blob = source.beside()
            else:
                assert tier is not None, "what is on its way is followed"
                blob = tier.blobs.open(digest)
            try:
                tar = self._passes.inflate(layer, digest, source, tier=tier)
            except BaseException:
                blob.close()
                raise
        return ConfirmedReader(blob, tar, partial(_judge, layer, digest), digest=digest, source=source)


def _judge(layer: LayerState, digest: Digest, found: Hash, seen: int) -> None:
    check_hash(digest, None, found, seen)
    if not layer.identity.is_proved(digest):
        raise DigestMismatchError(f"nothing has shown that {digest} inflates to {layer.identity.asked}")
