"""Finds in a tier what the images of a lock file need, to verify just that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError, NotFoundError
from layercache.oci.descriptor import (
    NO_COMPRESSION,
    Descriptor,
    Manifest,
    compression_of,
    decode,
    is_foreign,
    media_type_of,
)
from layercache.oci.image_tree import walk
from layercache.oci.offers import Offers
from layercache.tiers.documents import read_document
from layercache.tiers.plain_tars import holding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.errors import IntegrityError
    from layercache.oci.descriptor import Platform
    from layercache.oci.digest import Digest, Hash
    from layercache.oci.reference import Reference
    from layercache.tiers.backend.tier import BackendTier


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that an image needs and the tier does not have, or cannot use: what, in words."""

    image: str
    problem: str


@dataclass(slots=True)
class Needed:
    """What images need. ``blobs``: those that the tier has: documents, and a form of each layer."""

    blobs: dict[Hash, None] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


def find_needed(tier: BackendTier, images: Iterable[Reference], platform: Platform | None) -> Needed:
    """Find what images need of a platform, or of all that their indexes list (``platform`` None).

    Images are named by digest. A layer may be there in either form. Nothing is hashed but documents; one with
    wrong bytes is among the blobs. Raises `BackendError`.
    """
    needed = Needed()
    for reference in images:
        assert reference.digest is not None, "a lock file has digests"
        image = _Image(tier, str(reference), needed)
        image.find(Descriptor(digest=reference.digest, size=0), platform)
    return needed


class _Image:
    def __init__(self, tier: BackendTier, name: str, needed: Needed) -> None:
        self._tier = tier
        self._name = name
        self._needed = needed

    def find(self, root: Descriptor, platform: Platform | None) -> None:
        for manifest in self._manifests(root, platform):
            self._add(manifest.config.digest)
            for layer in manifest.layers:
                if not is_foreign(layer.media_type):
                    self._add(layer.digest, plain=compression_of(layer.media_type) == NO_COMPRESSION)

    def _manifests(self, root: Descriptor, platform: Platform | None) -> Iterator[Manifest]:
        if platform is None:
            for node in walk(self._read, root, self._failed):
                if isinstance(node.parsed, Manifest):
                    yield node.parsed
            return
        try:
            descriptor, data, _ = Offers(self._document, self._read).choose(root, platform)
            yield decode(data, Manifest, f"the manifest {descriptor.digest}")
        except (NotFoundError, FormatError, DigestMismatchError) as error:
            self._failed(root, error)

    def _document(self, descriptor: Descriptor) -> tuple[bytes, str]:
        data = self._read(descriptor)
        return data, media_type_of(data, descriptor.media_type, f"the manifest {descriptor.digest}")

    def _read(self, descriptor: Descriptor) -> bytes:
        try:
            data = read_document(self._tier, descriptor.digest)
        except NotFoundError as error:
            raise NotFoundError(f"{descriptor.digest} is not cached") from error
        except DigestMismatchError:
            self._needed.blobs[descriptor.digest] = None
            raise
        self._needed.blobs[descriptor.digest] = None
        return data

    def _failed(self, _: Descriptor, error: NotFoundError | IntegrityError) -> None:
        # Wrong bytes are found again, and put into quarantine, when all blobs are hashed.
        if not isinstance(error, DigestMismatchError):
            self._needed.missing.append(Missing(self._name, error.message))

    def _add(self, digest: Digest, *, plain: bool = False) -> None:
        tars = (fact.diff_id for fact in self._tier.facts.inflates_to(digest, claims=True))
        for name in (digest, *tars):
            if self._tier.blobs.has(name):
                self._needed.blobs[name] = None
                return
        if plain and (fact := holding(self._tier, digest)) is not None:
            self._needed.blobs[fact.digest] = None
            return
        self._needed.missing.append(Missing(self._name, f"{digest} is not cached"))
