"""Which entries of a cache to copy: everything, recent entries, or what some images need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import ConfigError, NotFoundError
from layercache.oci.descriptor import Manifest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.oci.image_tree import walk
from layercache.sources.names import registry_reference
from layercache.tiers import keys
from layercache.tiers.documents import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.copy.name_sets import SourceRoles
    from layercache.errors import IntegrityError
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest, Hash
    from layercache.oci.reference import Reference
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier


@dataclass(frozen=True, slots=True)
class Selection:
    """``form``: which forms of layers; None: those that the target keeps.

    Forms are copied as they are. A tar that is asked for by ``form`` and missing in the source is inflated
    during the copy. ``images``: only what these need; empty: everything. ``since``: only what was published
    at that time or later, in seconds since the epoch.
    """

    form: Keep | None = None
    images: tuple[Reference, ...] = ()
    since: float = 0.0

    @classmethod
    def of(cls, form: Keep | None, images: Iterable[str], since: float) -> Selection:
        """What the names of images select. Raises `ConfigError` for one that is not a registry's."""
        references = []
        for name in dict.fromkeys(images):
            if (reference := registry_reference(name)) is None:
                raise ConfigError(
                    f"{name} does not name a cached image",
                    hint="name an image of a registry, as it was pulled",
                )
            references.append(reference)
        return cls(form, tuple(references), since)

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
    """The key of each selected image, and when it was published. Raises `NotFoundError` for a missing one."""
    if not wanted.images:
        for key, _ in tier.images.scan():
            modified = tier.images.time(key)
            if modified >= wanted.since:
                yield key, modified
    for reference in wanted.images:
        key = keys.image_key(reference)
        try:
            tier.images.get(key)
            yield key, tier.images.time(key)
        except NotFoundError:
            raise NotFoundError(
                f"the image {reference} is not cached",
                looked_in=[tier.name],
                hint="name it as it was pulled, with its tag or digest",
            ) from None


def image_blobs(tier: Tier, root: Descriptor) -> list[tuple[Digest, bool]]:
    """Every blob that an image needs, and whether it is a document: the image's own comes last.

    Entries of an index that were never pulled are left out. Raises `NotFoundError` where the image's own
    document is not there, `IntegrityError` where one is wrong.
    """

    def read(document: Descriptor) -> bytes:
        return read_document(tier, document.digest)

    def failed(document: Descriptor, error: NotFoundError | IntegrityError) -> None:
        if document is root or not isinstance(error, NotFoundError):
            raise error

    found: list[tuple[Digest, bool]] = []
    for node in walk(read, root, failed):
        found.append((node.descriptor.digest, True))
        if isinstance(node.parsed, Manifest):
            found += node.blobs()
        else:  # the documents that an index lists follow, each if it is there
            found += (blob for blob in node.blobs() if not blob[1] and tier.blobs.has(blob[0]))
    return found[::-1]
