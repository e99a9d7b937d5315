"""A plain tar that a tier has only inside another blob: its bytes come out of that while they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import IntegrityError, NotALayerError
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.streams.inflate import InflatedReader
from layercache.streams.readers import CHUNK, HeadReader, WrappingReader, layer_compression
from layercache.tiers.plain_tars import others
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from layercache.backend import Reader
    from layercache.errors import LayercacheError
    from layercache.oci.digest import Hash
    from layercache.streams.limits import Limits
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


class Inside(Value, frozen=True):
    """The blob of ``fact``, which a tier says to inflate to the plain tar that is wanted.

    This is not trusted: every reader of the tar hashes it. If it is another tar, ``refuse`` is called with
    the fact and a reason, and returns the error to raise.
    """

    fact: Association
    limits: Limits
    refuse: Callable[[Association, str], LayercacheError]

    def open(self, tier: Tier, start: int = 0) -> Reader:
        """The tar, from an offset on. Raises `NotFoundError` where the tier does not have the blob."""
        return self.of(tier.blobs.open(self.fact.digest), start)

    def of(self, blob: Reader, start: int = 0) -> Reader:
        """The same out of the blob, which is closed where that fails."""
        try:
            reader = _InsideReader(blob, self)
            reader.skip(start)
        except BaseException:
            blob.close()
            raise
        return reader


class _InsideReader(WrappingReader):
    """The tar inside a blob, which is looked at when it is read. What is not a layer refutes the fact."""

    def __init__(self, blob: Reader, inside: Inside) -> None:
        super().__init__(blob, inside.fact.uncompressed_size)
        self._inside = inside
        self._begun = False

    def read(self, size: int = -1, /) -> bytes:
        try:
            if not self._begun:
                self._begin()
            return self._raw.read(size)
        except (IntegrityError, NotALayerError) as error:
            raise self._inside.refuse(self._inside.fact, error.message) from error

    def _begin(self) -> None:
        digest = self._inside.fact.digest
        self._raw = head = HeadReader(self._raw)
        self._begun = True
        compression = layer_compression(head.head, digest)
        if compression != NO_COMPRESSION:
            self._raw = InflatedReader(head, compression, self._inside.limits, digest)

    def skip(self, count: int) -> None:
        if self.size is not None:
            self.size = max(0, self.size - count)
        while count and (skipped := self.read(min(CHUNK, count))):
            count -= len(skipped)


def is_inside(tier: Tier, name: Hash, size: int, wrong: Container[tuple[Tier, Hash]]) -> bool:
    """Whether a tier has a blob that is said to have this tar of ``size`` bytes inside, and is not wrong."""
    return any(
        fact.uncompressed_size == size and (tier, fact.digest) not in wrong and tier.blobs.has(fact.digest)
        for fact in others(tier, name)
    )
