"""A blob's bytes that go on from the next place where the one they came from fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from layercache.errors import BackendError, NotFoundError, SourceError
from layercache.statistics.places import Place, place_of
from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.tiers.tier import Tier


class Replica(NamedTuple):
    """Another place with the same bytes, and how to read them from an offset on. ``tier``: if it is one."""

    place: Place
    tier: Tier | None
    open_at: Callable[[int], Reader]


class FailoverReader(WrappingReader):
    """The bytes of one blob out of a tier, at whose failure the next way is gone on at the same offset.

    The tier that failed is skipped. Nothing is checked here: all ways lead to bytes of one name, and
    the reader of this stream hashes them. When no way is left the last failure is raised.
    """

    def __init__(self, tier: Tier, first: Reader, ways: Iterator[Replica]) -> None:
        super().__init__(first, first.size)
        self._tier: Tier | None = tier
        self._place = Place.of_tier(tier.name)
        self._ways = ways
        self._offset = 0

    @property
    def place(self) -> Place:
        """Where the last bytes came from."""
        return self._place if self._tier is not None else place_of(self._raw) or self._place

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while True:
            try:
                part = self._raw.read(size)
            except (BackendError, SourceError) as error:
                self._go_on(error)
                continue
            self._offset += len(part)
            return part

    def _go_on(self, error: BackendError | SourceError) -> None:
        if self._tier is not None and isinstance(error, BackendError):
            self._tier.mark_failed(error)
        for place, tier, open_at in self._ways:
            try:
                reader = open_at(self._offset)
            except (NotFoundError, BackendError, SourceError):
                continue
            self._raw.close()
            self._raw, self._tier, self._place = reader, tier, place
            return
        raise error
