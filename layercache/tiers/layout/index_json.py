"""What other tools wrote into an index.json: images and layers that the cache does not know yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError, InvalidNameError, NotFoundError
from layercache.oci.annotations import REF_NAME
from layercache.oci.descriptor import (
    INDEX_SHARE,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    Descriptor,
    decode,
    index_of,
    is_layer,
    media_type_of,
)
from layercache.oci.digest import DiffID, Digest
from layercache.oci.image_names import listed_reference
from layercache.oci.offers import Offers
from layercache.streams.readers import read_bounded
from layercache.tiers import keys
from layercache.tiers.association import DIFF_ID, Association
from layercache.tiers.cached_images import cached_manifests
from layercache.tiers.documents import read_document
from layercache.tiers.tag_origin import IMPORTED_FROM, import_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.tier import Tier

ENTRY = "dev.layercache.entry"
"""Annotation of an image that we listed: name and digest as they were then. An entry that another tool wrote
has none, or another one's."""

DIGEST = "dev.ggcr.cache.digest"
"""Annotation of a tar's descriptor: the digest of a blob that inflates to it."""


class IndexJson(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """What an index.json holds, each entry as it stands there."""

    schema_version: int = 2
    media_type: str = OCI_INDEX
    manifests: list[msgspec.Raw] = []


def read_index(tier: BackendTier) -> tuple[list[Descriptor], list[msgspec.Raw]]:
    """The images and layers that index.json lists, and what else stands there, to be kept as it is.

    Nothing where there is none, or a torn one: it is a view.
    """
    entries: list[Descriptor] = []
    others: list[msgspec.Raw] = []
    try:
        raw = decode(read(tier, keys.INDEX) or b"{}", IndexJson, keys.INDEX).manifests
    except FormatError:
        return entries, others
    for each in raw:
        try:
            entry = decode(bytes(each), Descriptor, keys.INDEX)
        except FormatError:
            others.append(each)
            continue
        ours = is_layer(entry.media_type) and not {DIFF_ID, DIGEST}.isdisjoint(entry.annotations or ())
        if is_image(entry) or ours:
            entries.append(entry)
        else:
            others.append(each)
    return entries, others


def read(tier: BackendTier, key: str) -> bytes:
    """One of a layout's two files; nothing where it is not there, or is bigger than any real one."""
    limit = tier.policy.max_document_size * INDEX_SHARE if key == keys.INDEX else SMALL_OBJECT
    try:
        with tier.backend.open(key) as reader:
            return read_bounded(reader, limit, key)
    except (NotFoundError, FormatError):
        return b""


def is_image(entry: Descriptor) -> bool:
    return entry.media_type in INDEXES or entry.media_type in MANIFESTS


def is_ours(entry: Descriptor) -> bool:
    """Whether we listed this image, so that it goes when the cache forgets it."""
    annotations = entry.annotations or {}
    return annotations.get(ENTRY) == entry_mark(annotations.get(REF_NAME, ""), entry)


def entry_mark(name: str, entry: Descriptor) -> str:
    return f"{name}@{entry.digest}"


def images(entries: Iterable[Descriptor]) -> Iterator[tuple[str, Descriptor]]:
    """The images among the entries: key and descriptor, as a tier keeps them."""
    for entry in entries:
        if is_image(entry):
            key, annotations = keys.image_key(listed_reference(entry)), dict(entry.annotations or {})
            annotations.pop(ENTRY, None)
            annotations[IMPORTED_FROM] = keys.INDEX
            if annotations.get(REF_NAME) == keys.image_name(key):
                del annotations[REF_NAME]
            yield key, msgspec.structs.replace(entry, annotations=annotations)


def claims(tier: Tier, entries: Iterable[Descriptor]) -> Iterator[Association]:
    """What the images' configs and the layers' annotations say of blobs that are there."""
    for entry in entries:
        if is_image(entry):
            for holding in cached_manifests(tier, entry):
                yield from (claim for claim in holding.claims() if tier.blobs.has(claim.digest))
        elif (claim := _claim(entry)) and tier.blobs.has(claim.digest):
            yield claim


def import_entries(tier: Tier, entries: Iterable[Descriptor]) -> tuple[int, int]:
    """Record as images and claims what other tools listed; return how many of each were not known."""
    entries = list(entries)
    new_images = new_claims = 0
    for key, descriptor in _by_key(tier, entries):
        new_images += import_tag(tier, key, descriptor).is_new
    for claim in claims(tier, entries):
        known = tier.facts.inflates_to(claim.digest, claims=True)
        if not any(fact.computed or fact.diff_id == claim.diff_id for fact in known):
            tier.facts.record(claim)
            new_claims += 1
    return new_images, new_claims


def _by_key(tier: Tier, entries: Iterable[Descriptor]) -> Iterator[tuple[str, Descriptor]]:
    """The images among the entries, one a key: the last of them, or where they are for several platforms an
    index of all, which the tier then has.
    """
    found: dict[str, dict[Digest, Descriptor]] = {}
    for key, descriptor in images(entries):
        found.setdefault(key, {})[descriptor.digest] = descriptor

    def document(descriptor: Descriptor) -> tuple[bytes, str]:
        data = read_document(tier, descriptor.digest)
        return data, media_type_of(data, descriptor.media_type, str(descriptor.digest))

    for key, several in found.items():
        *others, last = several.values()
        offers = Offers(document, lambda each: read_document(tier, each.digest))
        if others and (alternatives := offers.alternatives(several.values())):
            data = index_of(alternatives)
            digest = Digest.of(data)
            tier.blobs.put(digest, data)
            last = msgspec.structs.replace(
                last, media_type=OCI_INDEX, digest=digest, size=len(data), platform=None
            )
        yield key, last


def _claim(entry: Descriptor) -> Association | None:
    diff_id = (entry.annotations or {}).get(DIFF_ID)
    if diff_id is None or not is_layer(entry.media_type):
        return None
    try:
        return Association(
            digest=entry.digest, diff_id=DiffID(diff_id), size=entry.size, media_type=entry.media_type
        )
    except InvalidNameError:
        return None
