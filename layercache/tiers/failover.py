"""A blob's bytes that go on from the next place where the one they came from fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError, SourceError
from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.tiers.tier import Tier

    Replica = tuple[Tier | None, Callable[[int], Reader]]
    """Where, if it is a tier, and how to read the same bytes from there, from an offset on."""


class FailoverReader(WrappingReader):
    """The bytes of one blob out of a tier, at whose failure the next way is gone on at the same offset.

    The tier that failed is skipped. Nothing is checked here: all ways lead to bytes of one name, and
    the reader of this stream hashes them. When no way is left the last failure is raised.
    """

    def __init__(self, tier: Tier, first: Reader, ways: Iterator[Replica]) -> None:
        super().__init__(first, first.size)
        self._tier: Tier | None = tier
        self._ways = ways
        self._offset = 0

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
        for tier, open_at in self._ways:
            try:
                reader = open_at(self._offset)
            except (NotFoundError, BackendError, SourceError):
                continue
            self._raw.close()
            self._raw, self._tier = reader, tier
            return
        raise error
