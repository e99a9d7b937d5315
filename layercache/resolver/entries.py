"""Entries of tiers, opened: of the right size, or hashed because no size is known."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.events import Event, Observers
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.streams.readers import HashedReader, check_size

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way
    from layercache.resolver.tier_writer import TierWriter


class Entries:
    """Opens what tiers have, unless it is known to be wrong. Thread-safe: it has no state that changes."""

    def __init__(self, keeper: TierWriter, observers: Observers, *, verify_always: bool) -> None:
        self._keeper = keeper
        self._observers = observers
        self._verify_always = verify_always

    def open(self, layer: LayerState, way: Way) -> Reader | None:
        """The blob in the way's tier, if it is there and has the right size. The layer learns the size."""
        tier, name, form = way.tier, way.name, way.form
        assert tier is not None, "a source has no entries"
        if (tier, name) in self._keeper.wrong:
            return None
        try:
            reader = self._opened(layer, way) or way.open()
        except NotFoundError:
            return None
        size, wanted = reader.size, self._meant(layer, way).size_of(form)
        if size == wanted is not None:
            return reader
        if wanted is not None:
            try:
                taken = self._is_taken(layer, way, size or 0)
            except BaseException:
                reader.close()
                raise
            if not taken:
                reader.close()
                return None
        elif tier.policy.trusted and not self._verify_always:
            reader = self.hashed(way, reader)  # nothing is known that it could be checked by
        layer.update(lambda now: now.counted(form, size))
        return reader

    def size(self, layer: LayerState, way: Way) -> int | None:
        """The size of the blob that `open` would open, if it would. Its bytes do not travel for that."""
        tier = way.tier
        assert tier is not None, "a source has no entries"
        if tier.remote and layer.responses is None and not self.is_wrong(way):
            try:
                size = tier.blobs.size(way.name)
            except NotFoundError:
                return None
            if self._meant(layer, way).size_of(way.form) in (None, size):
                layer.update(lambda now: now.counted(way.form, size))
                return size
        reader = self.open(layer, way)
        if reader is None:
            return None
        reader.close()
        return reader.size or 0

    @staticmethod
    def _meant(layer: LayerState, way: Way) -> LayerIdentity:
        """The layer by the digest of this blob."""
        identity = layer.identity
        if way.form == COMPRESSED and way.name != identity.digest:
            return layer.update(lambda now: now.meaning(Digest(way.name)))
        return identity

    def _opened(self, layer: LayerState, way: Way) -> Reader | None:
        """The blob, if it came with the answer to the look-up."""
        if (responses := layer.responses) is None or way.tier is None:
            return None
        if way.inside is None:
            return responses.take(way.tier, way.name)
        blob = responses.take(way.tier, way.inside.fact.digest)
        return None if blob is None else way.inside.of(blob)

    def is_wrong(self, way: Way) -> bool:
        """Whether this entry was found wrong, and is not ours to remove."""
        return way.tier is not None and (way.tier, way.name) in self._keeper.wrong

    def open_part(self, layer: LayerState, way: Way, part: tuple[int, int | None]) -> Reader | None:
        """Bytes of a trusted tier's blob, once the whole was found to be right as for `open`.

        That is: it has the right size, or, where none is known or the cache verifies always, the right hash.
        Raises `WrongEntryError` where it has not, as reading all of it would.
        """
        if way.remote and not self._verify_always and self._has_right_size(layer, way):
            return self.hit(layer, way, way.open(*part))
        whole = self.open(layer, way)
        if whole is None:
            return None
        with whole:
            if self._verify_always and not isinstance(whole, HashedReader):
                whole = self.hashed(way, whole)
            if isinstance(whole, HashedReader):
                from layercache.transfer.follower import read_through

                read_through(whole)
        return self.hit(layer, way, way.open(*part))

    def _has_right_size(self, layer: LayerState, way: Way) -> bool:
        """Asked of a tier whose bytes travel, so that none do but those that are wanted."""
        tier = way.tier
        if tier is None or self.is_wrong(way):
            return False
        identity = layer.identity
        if way.form == COMPRESSED:
            identity = identity.meaning(Digest(way.name))
        return tier.blobs.size(way.name) == identity.size_of(way.form)

    def _is_taken(self, layer: LayerState, way: Way, size: int) -> bool:
        """Whether to take an entry of another size than is known: the hash decides, not the size.

        What is at hand is hashed now. What is far is hashed while it is read, unless the asker states a size.
        Raises `StatedSizeError` where the entry is right, and the size that was stated is not.
        """
        tier, name, form = way.tier, way.name, way.form
        assert tier is not None, "a source has no entries"
        identity = layer.identity
        stated = identity.stated_size if form == COMPRESSED else None
        if tier.policy.trusted:
            if self._keeper.look_again(tier, name, form):
                return False
            check_size(name, stated, size)
            facts = (identity.fact, *identity.alternatives.values())
            self._keeper.correct([fact for fact in facts if fact], name, form, size)
            layer.update(lambda now: now.corrected(name, form, size))
        elif stated not in (None, size):
            note = f"it has {size} bytes instead of the {stated} that are stated for it"
            self._observers.emit(Event("failed", name, form, tier.name, note=note))
            return False
        return True

    def hashed(self, way: Way, reader: Reader) -> HashedReader:
        """The bytes of an entry, hashed as they pass; a wrong one is put out of the way."""
        check = partial(self._keeper.check, way, reader.size)
        return HashedReader(reader, check, algorithm=way.name.algorithm, size=reader.size)

    def hit(self, layer: LayerState, way: Way, reader: Reader) -> Reader:
        self.count_hit(layer, way, reader.size or 0)
        return reader

    def count_hit(self, layer: LayerState, way: Way, size: int) -> None:
        assert way.tier is not None, "a source has no entries"
        saved = layer.identity.saved(way.name, way.form, size)
        self._observers.hit(way.name, way.form, way.tier.name, size, saved)
