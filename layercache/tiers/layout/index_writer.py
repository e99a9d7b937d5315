"""The cache as other tools see it: an OCI image layout (image-spec image-layout.md).

``oci-layout`` and ``index.json`` are derived from images and facts, and nobody resolves by them. What
another tool added to index.json is taken over as images and claims before it is rewritten.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import msgspec

from layercache.backend import write_whole
from layercache.backend.capabilities import Expendable, Lockable
from layercache.oci.annotations import REF_NAME
from layercache.oci.descriptor import DOCKER_LAYER, OCI_LAYER, Descriptor, encode
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache.tiers.association import DIFF_ID
from layercache.tiers.cached_images import cached_manifests
from layercache.tiers.gate import ungated
from layercache.tiers.layout import index_json
from layercache.tiers.layout.index_json import DIGEST, ENTRY

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from contextlib import AbstractContextManager

    from layercache.oci.digest import DiffID, Hash
    from layercache.tiers.association import Association
    from layercache.tiers.backend.tier import BackendTier

LAYERS_MAX = 10_000
"""Layers from which on they are listed only when asked for: index.json has some 560 bytes for each."""

LOCK_SECONDS = 10.0
"""How long to wait for another process that writes the same index.json."""


def write_index(tier: BackendTier, *, layers: bool | None = None, durable: bool = True) -> tuple[int, int]:
    """Derive index.json again and write it as a whole; how many images and how many other entries it has.

    ``layers``: whether layers are listed as well as images; None: while they are fewer than `LAYERS_MAX`.
    Not ``durable``: after a power cut it may be torn, and is derived again at the next change. Raises
    `BackendError`.
    """
    # Who has the lock derives from all that was written before: no older view replaces a newer one.
    with _alone(tier):
        entries, others = index_json.read_index(tier)
        names = set(tier.facts.names())
        index_json.import_entries(tier, _not_known(entries, names))
        sizes = {str(name): entry.size for name, entry in tier.blobs.scan()}
        images = sorted(_images(tier, sizes), key=lambda entry: (_name(entry), entry.digest))
        # A layer has two names. Those of a huge cache are counted, and nothing is read.
        wanted = len(names) < 2 * LAYERS_MAX if layers is None else layers
        blobs = list(_layers(_known(tier), sizes)) if wanted else []
        backend = ungated(tier.backend)  # what other tools read does not make a store one of this format
        create = backend.create
        if not durable and isinstance(backend, Expendable):
            create = backend.create_expendable
        if not index_json.read(tier, keys.OCI_LAYOUT):
            write_whole(create(keys.OCI_LAYOUT), b'{"imageLayoutVersion":"1.0.0"}')
        raw = [msgspec.Raw(encode(entry)) for entry in (*images, *blobs)] + others
        write_whole(create(keys.INDEX), msgspec.json.encode(index_json.IndexJson(manifests=raw)))
    return len(images), len(blobs) + len(others)


def _known(tier: BackendTier) -> dict[tuple[Digest, DiffID], Association]:
    """A fact for every pair of names: claims only about blobs without a computed one."""
    found = {(fact.digest, fact.diff_id): fact for fact in tier.facts.scan()}
    computed = {fact.digest for fact in found.values() if fact.computed}
    return {pair: fact for pair, fact in found.items() if fact.computed or fact.digest not in computed}


def _not_known(entries: Iterable[Descriptor], names: Container[Hash]) -> Iterator[Descriptor]:
    """The entries that may be new: other tools' images, and layers of which no fact is there."""
    for entry in entries:
        if not index_json.is_ours(entry) if index_json.is_image(entry) else entry.digest not in names:
            yield entry


def _images(tier: BackendTier, sizes: dict[str, int]) -> Iterator[Descriptor]:
    """The images of which one platform at least is there, whole, in compressed form."""
    for key, descriptor in tier.images.scan():
        if any(holding.is_whole(sizes.__contains__) for holding in cached_manifests(tier, descriptor)):
            annotations = dict(descriptor.annotations or {})
            name = annotations.setdefault(REF_NAME, keys.image_name(key))
            annotations[ENTRY] = index_json.entry_mark(name, descriptor)
            yield msgspec.structs.replace(descriptor, annotations=annotations)


def _layers(known: dict[tuple[Digest, DiffID], Association], sizes: dict[str, int]) -> Iterator[Descriptor]:
    """Two descriptors a pair, of the forms that are there: each names the other."""
    for digest, diff_id in sorted(known):
        fact = known[digest, diff_id]
        size, tar_size = sizes.get(digest), sizes.get(diff_id) if fact.computed else None
        if size is not None:
            yield _annotated(fact.media_type, digest, size, {DIFF_ID: str(diff_id)})
        if tar_size is not None and str(diff_id) != digest:
            plain = DOCKER_LAYER if fact.media_type.startswith(DOCKER_LAYER) else OCI_LAYER
            yield _annotated(plain, diff_id, tar_size, {DIGEST: str(digest)})


def _annotated(media_type: str, name: Hash, size: int, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest(name), size=size, annotations=annotations)


def _name(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(REF_NAME, "")


def _alone(tier: BackendTier) -> AbstractContextManager[object]:
    if not isinstance(tier.backend, Lockable):
        return nullcontext()
    return tier.backend.lock(keys.INDEX, timeout=LOCK_SECONDS)
