"""What of a cache is to be copied: everything, what is new, or what some images need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import FormatError, NotFoundError
from layercache.images.tags import image_key
from layercache.oci.descriptor import INDEXES, MANIFESTS, Descriptor, Index, Manifest, decode, media_type_of
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.tiers.documents import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.copy.name_sets import SourceRoles
    from layercache.oci.digest import Digest, Hash
    from layercache.oci.reference import Reference
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

DEPTH = 8
"""How many indexes may stand in each other: OCI knows no limit, and nobody makes more than two."""


@dataclass(frozen=True, slots=True)
class Selection:
    """``form``: which forms of layers; None: what the target keeps.

    Forms are copied as they are there. One asked for by name is made where it can be: a tar that the source
    has not is inflated on the way. ``images``: only what these need; none: everything. ``since``: only what
    was published at that time or later, in seconds since the epoch.
    """

    form: Keep | None = None
    images: tuple[Reference, ...] = ()
    since: float = 0.0

    def takes(self, name: Hash, roles: SourceRoles, keep: Keep) -> bool:
        match self.form or keep:
            case "compressed":
                return roles.is_compressed(name)
            case "uncompressed":
                return roles.is_tar(name)
            case _:
                return True

    def makes_tars(self, keep: Keep) -> bool:
        return self.form in (UNCOMPRESSED, "both") or (self.form is None and keep == UNCOMPRESSED)

    def keeps_compressed(self, keep: Keep) -> bool:
        return (self.form or keep) in (COMPRESSED, "both")


def image_entries(tier: Tier, wanted: Selection) -> Iterator[tuple[str, float]]:
    """The key of each wanted image, and when it was published. Raises `NotFoundError` for one not there."""
    if not wanted.images:
        for key, _ in tier.images():
            modified = tier.image_time(key)
            if modified >= wanted.since:
                yield key, modified
    for reference in wanted.images:
        key = image_key(reference)
        try:
            tier.image(key)
            yield key, tier.image_time(key)
        except NotFoundError:
            raise NotFoundError(
                f"the image {reference} is not cached",
                looked_in=[tier.name],
                hint="name it as it was pulled, with its tag or digest",
            ) from None


def referred_to(tier: Tier, descriptor: Descriptor, depth: int = DEPTH) -> Iterator[tuple[Digest, bool]]:
    """Every blob that an image needs, and whether it is a document: what refers to others comes after them.

    What an index names and nobody has pulled is left out. Raises `NotFoundError` where the image's own
    document is not there, `IntegrityError` where one is wrong.
    """
    data = read_document(tier, descriptor.digest)
    kind = media_type_of(data, descriptor.media_type, str(descriptor.digest))
    if kind in INDEXES:
        if not depth:
            raise FormatError(f"{descriptor.digest} is an index in more than {DEPTH} others")
        index = decode(data, Index, str(descriptor.digest))
        for child in index.documents:
            if tier.has_blob(child.digest):
                yield from referred_to(tier, child, depth - 1)
        for blob in index.blobs:
            if tier.has_blob(blob.digest):
                yield blob.digest, False
    elif kind in MANIFESTS:
        manifest = decode(data, Manifest, str(descriptor.digest))
        for layer in manifest.layers:
            yield layer.digest, False
        yield manifest.config.digest, True
    yield descriptor.digest, True
