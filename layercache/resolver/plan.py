"""The ways to the bytes of a layer, in order of cost. Nothing is opened here, and nothing is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.inside import Inside
    from layercache.sources.origin import BlobSource
    from layercache.statistics.places import Place
    from layercache.tiers.tier import Tier


class Way(Value, frozen=True):
    """One place that may have a blob from which the wanted form can be given or made.

    ``form`` is what is stored there: a compressed blob on the way to a tar is inflated. ``tier`` is None
    for the source. ``near``: it takes no more than an `open`, since nobody keeps these bytes on their way.
    ``claimed``: only a claim says that this blob is what was asked for. ``inside``: the tier has the blob, a
    plain tar, inside another one, out of which it is read.
    """

    name: Hash
    form: Form
    tier: Tier | None
    source: BlobSource | None = None
    near: bool = False
    claimed: bool = False
    inside: Inside | None = None

    @property
    def place(self) -> Place:
        """What messages and statistics call it."""
        if self.tier is not None:
            from layercache.statistics.places import Place

            return Place.of_tier(self.tier.name)
        assert self.source is not None, "a way leads to a tier or to the source"
        return self.source.place

    @property
    def trusted(self) -> bool:
        return self.tier is not None and self.tier.policy.trusted

    @property
    def remote(self) -> bool:
        return self.tier is None or self.tier.remote

    def open(self, start: int = 0, end: int | None = None) -> Reader:
        """As `Backend.open`. A source is read from ``start``, no further than to ``end``.

        Raises `NotFoundError`, `BackendError`, `SourceError`.
        """
        if self.tier is not None and self.inside is None:
            return self.tier.blobs.open(self.name, start, end)
        if self.tier is not None and self.inside is not None:
            reader = self.inside.open(self.tier, start)
        else:
            assert self.source is not None, "a way leads to a tier or to the source"
            reader = self.source.open(start, end)
        if end is None:
            return reader
        from layercache.resolver.bounded import BoundedReader

        return BoundedReader(reader, end - start)


def plan(
    identity: LayerIdentity,
    form: Form,
    tiers: Sequence[Tier],
    near: Sequence[Tier] = (),
    source: BlobSource | None = None,
) -> Iterator[Way]:
    """The ways to a form, the cheapest first.

    The local part comes first: the form itself in the tiers that are ``near``, which are the first of all
    ``tiers``. Then, tier by tier, the form itself and, for a tar, the blob that inflates to it; then, for a
    blob, those that only a claim leads to; then the source.
    """
    names = identity.names(form)
    for tier in near:
        for name in names:
            yield Way(name, form, tier, near=True)
    if form == COMPRESSED:
        for tier in tiers[len(near) :]:
            for name in names:
                yield Way(name, form, tier)
        for tier in tiers:
            for digest in identity.claimed_digests():
                yield Way(digest, form, tier, claimed=True)
    else:
        for tier in tiers:
            yield from _ways_to_a_tar(identity, tier, tar=tier not in near)
    if source is not None and identity.digest is not None:
        yield Way(identity.digest, COMPRESSED, None, source)


def _ways_to_a_tar(identity: LayerIdentity, tier: Tier, *, tar: bool) -> Iterator[Way]:
    """Inflating here costs less than bringing a tar from afar. ``tar``: the tier was not looked at for it."""
    inflated = [Way(digest, COMPRESSED, tier) for digest in identity.digests()]
    ready = [Way(name, UNCOMPRESSED, tier) for name in identity.names(UNCOMPRESSED)] if tar else []
    if tier.policy.keep == COMPRESSED:
        yield from inflated
    elif tier.remote:
        yield from inflated + ready
    else:
        yield from ready + inflated
