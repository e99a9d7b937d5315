"""What tiers know of a layer or a blob: names, sizes, forms, and the images that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.images.by_digest import images_using, listed
from layercache.oci.descriptor import OCTETS
from layercache.oci.digest import DiffID, Digest
from layercache.resolver.absence import not_found
from layercache.resolver.lookup import believed
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.oci.digest import Hash
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


class BlobInfo(Value, frozen=True):
    """The compressed form under one of its digests. ``computed``: else the association is a claim."""

    digest: Digest
    size: int
    media_type: str
    computed: bool


class FormsInTier(Value, frozen=True):
    """The forms of a layer that a tier holds: the digests of compressed ones, and whether it has the tar."""

    tier: str
    compressed: tuple[Digest, ...]
    uncompressed: bool


class LayerInfo(Value, frozen=True):
    """``diff_id`` is None for a blob that has no association: not a layer, or not inflated yet.

    ``images``: names of those that use it, as the nearest tier and others on this machine know them.
    """

    diff_id: DiffID | None
    uncompressed_size: int | None
    blobs: tuple[BlobInfo, ...]
    tiers: tuple[FormsInTier, ...]
    images: tuple[str, ...]


def layer_info(tiers: Sequence[Tier], name: Hash) -> LayerInfo:
    """Gather it. Raises `NotFoundError` if no tier holds the name or an association of it."""
    facts = _facts(tiers, name)
    blobs = [BlobInfo(fact.digest, fact.size, fact.media_type, fact.computed) for fact in facts]
    blobs = blobs or [_unknown(tiers, name)]
    diff_id = facts[0].diff_id if facts else None
    sizes = (fact.uncompressed_size for fact in facts if fact.uncompressed_size is not None)
    digests = [blob.digest for blob in blobs]
    return LayerInfo(
        diff_id,
        next(sizes, None),
        tuple(blobs),
        tuple(_place(tier, digests, diff_id) for tier in tiers),
        tuple(images_using(listed(tiers), digests)),
    )


def _facts(tiers: Sequence[Tier], name: Hash) -> list[Association]:
    """Return one association for each blob of the layer, from the nearest tier that has one."""
    own = [fact for tier in tiers for fact in believed(tiers, tier, tier.facts.about(name)[0])]
    diff_id = own[0].diff_id if own else DiffID(name)
    found: dict[Digest, Association] = {}
    for tier in tiers:
        for fact in believed(tiers, tier, tier.facts.made_from(diff_id, claims=True)):
            found.setdefault(fact.digest, fact)
    return list(found.values()) or own[:1]


def _unknown(tiers: Sequence[Tier], name: Hash) -> BlobInfo:
    """Describe a blob that has no association. Raises `NotFoundError`."""
    for tier in tiers:
        try:
            size = tier.blobs.stat(name).size
        except NotFoundError:
            continue
        return BlobInfo(Digest(name), size, OCTETS, computed=False)
    raise not_found(tiers, f"{name} is not cached")


def _place(tier: Tier, digests: Iterable[Digest], diff_id: DiffID | None) -> FormsInTier:
    compressed = tuple(digest for digest in digests if tier.blobs.has(digest))
    return FormsInTier(tier.name, compressed, diff_id is not None and tier.blobs.has(diff_id))
