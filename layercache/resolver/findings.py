"""What a pass finds out about a layer, and what follows from it for the layer and for the tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import LayercacheError, LimitError
from layercache.events import Event, Observers
from layercache.oci.descriptor import NO_COMPRESSION, compression_of, is_layer
from layercache.oci.forms import COMPRESSED
from layercache.resolver.identity import contradiction
from layercache.streams.readers import layer_compression, not_a_layer
from layercache.tiers.association import Association
from layercache.transfer.follower import Follower, read_through

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.backend import Reader
    from layercache.oci.digest import Digest
    from layercache.resolver.identity import Outcome
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier


class Findings:
    """Learns what was computed, corrects what is wrong. Thread-safe: it has no state that changes."""

    def __init__(self, keeper: TierWriter, observers: Observers) -> None:
        self.keeper = keeper
        self.observers = observers

    def learn(self, layer: LayerState, outcome: Outcome) -> None:
        """Learn what a pass found out. A claim that it refutes is deleted, and an error if the asker's."""
        identity, digest = layer.identity, outcome.digest
        claimed, found = identity.diff_id, outcome.diff_id
        if claimed is not None and found is not None and claimed != found:
            if fact := outcome.fact:
                self.keeper.record(fact)
            self.keeper.refute(Association(digest, claimed, size=0))
            error = contradiction(digest, found, claimed)
            if not identity.unconfirmed:
                raise error
            self.observers.emit(Event("failed", digest, COMPRESSED, "a claim", note=error.message))
        layer.update(lambda now: now.confirmed_by(outcome))

    def claim(self, layer: LayerState, kept: Iterable[Tier], fact: Association | None) -> None:
        """Write down what the asker says of the blob, where it is kept, and learn what is known there."""
        if fact and (found := self.keeper.claim(fact, kept)):
            layer.update(lambda now: now.with_record(found))

    def doubt_fact(self, layer: LayerState, digest: Digest, tier: Tier) -> None:
        """A blob has another tar inside than was computed: either it is wrong, or a fact of ours is.

        A fact of which a bit rotted is dropped, and the truth is learned instead. One that is whole is
        left to `learn`.
        """
        if wrong := self.keeper.look_again(tier, digest, COMPRESSED):
            raise wrong
        if fact := layer.identity.fact:
            rotten = self.keeper.is_half(fact)
            self.keeper.recant(fact)
            layer.update(lambda now: now.disproved(rotten=rotten))

    def doubt(self, digest: Digest, blob: Reader, tier: Tier | None, ended: bool) -> None:
        """What is made of a blob is broken, or too much: look whether the blob is what its name says.

        Raises `WrongEntryError`, or what else the blob's reader finds, where it is not. ``ended``: nobody
        reads on. Until then a blob that comes from its origin and is kept nowhere cannot be looked at.
        """
        if isinstance(blob, Follower):
            blob.run()
        elif tier is not None:
            if wrong := self.keeper.look_again(tier, digest, COMPRESSED):
                raise wrong
        elif ended:
            read_through(blob)

    def refute(self, layer: LayerState, digest: Digest, error: LayercacheError) -> None:
        """A blob that a diff ID has led to has no tar inside: so the claim is false that it has this one."""
        identity = layer.identity
        if identity.asked is None or identity.diff_id is None or identity.computed:
            return
        if isinstance(error, LimitError):  # which may be raised
            self.keeper.refuted.add((digest, identity.diff_id))
        else:
            self.keeper.refute(Association(digest, identity.diff_id, size=0))

    def compression(self, layer: LayerState, digest: Digest, head: bytes) -> str:
        """What the blob's first bytes say. A media type that contradicts them is reported as an event."""
        media_type = layer.identity.media_type
        stated = compression_of(media_type)
        if not is_layer(media_type):
            raise not_a_layer(digest, media_type)
        if not head and stated is None and layer.identity.diff_id is None:
            raise not_a_layer(digest, "it is empty")  # only where somebody says so an empty blob is a layer
        compression = layer_compression(head, digest)
        if stated not in (None, compression):
            found = "not compressed" if compression == NO_COMPRESSION else compression
            note = f"it is {found} by its first bytes, though its media type is {media_type}"
            self.observers.emit(Event("mislabelled", digest, COMPRESSED, "", note=note))
        return compression
