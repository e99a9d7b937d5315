"""Compresses a layer that is cached, or can be fetched: another blob of the same tar."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError
from layercache.events import Event
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.compressing import check_inside, compress_into
from layercache.resolver.identity import LayerIdentity
from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver
    from layercache.streams.compress import Compression
    from layercache.tiers.association import Association
    from layercache.transfer.spool import TierSpool

WRONG_TARS_MAX = 4
"""Wrong tars of one layer after which it is given up. Each is quarantined."""


def compress(
    resolver: Resolver,
    layer: LayerState,
    compression: Compression,
    progress: Callable[[int], object],
    *,
    everywhere: bool,
) -> LayerIdentity:
    """Compress the tar of a layer; return the layer by the new digest. As `Layer.compress`."""
    keeper = resolver.keeper
    for left in reversed(range(WRONG_TARS_MAX)):
        spool = resolver.passes.spool(keeper.store(COMPRESSED), COMPRESSED)
        if spool is None:
            break
        with closing(spool):
            try:
                fact = _compressed(resolver, layer, compression, spool, progress)
            except DigestMismatchError:
                if not left or not resolver.doubt(layer, UNCOMPRESSED):
                    raise
                continue
            kept = keeper.keep(spool, fact.digest, COMPRESSED, everywhere=everywhere, layer=fact.digest)
        if not kept:
            break
        keeper.record(fact, kept)
        return LayerIdentity.from_fact(fact)
    raise keeper.kept_nowhere(COMPRESSED)


def _compressed(
    resolver: Resolver,
    layer: LayerState,
    compression: Compression,
    spool: TierSpool,
    progress: Callable[[int], object],
) -> Association:
    observers, place = resolver.passes.observers, spool.tier.name
    before = layer.identity.diff_id
    with resolver.open(layer, UNCOMPRESSED) as tar:
        observers.emit(Event("compressing", before, UNCOMPRESSED, place, total=tar.size))
        algorithm = before.algorithm if before else "sha256"
        limits = resolver.passes.limits
        fact = compress_into(spool, _Counted(tar, progress), compression, limits, algorithm=algorithm)
    wanted = layer.identity.diff_id
    assert wanted is not None, "the tar was read to its end"
    check_inside(fact, wanted)
    observers.emit(Event("compressed", fact.digest, COMPRESSED, place, size=fact.size))
    return fact


class _Counted(WrappingReader):
    """A reader that reports how many bytes each read gave."""

    def __init__(self, raw: Reader, passed: Callable[[int], object]) -> None:
        super().__init__(raw, raw.size)
        self._passed = passed

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._raw.read(size)
        self._passed(len(chunk))
        return chunk
