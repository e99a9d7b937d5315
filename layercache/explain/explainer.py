"""Explains a hash, or an image: what is cached of it where, and what a read would do. Changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import BackendError, ConfigError, IntegrityError, LayercacheError, NotFoundError
from layercache.explain.explanation import Explanation
from layercache.explain.layers import LayerExplainer
from layercache.oci import platforms
from layercache.oci.descriptor import (
    Manifest,
    claimed_diff_ids,
    decode,
    image_config,
    is_foreign,
    media_type_of,
)
from layercache.oci.digest import HEX_LENGTH, Hash
from layercache.oci.offers import Offers
from layercache.resolver import lookup
from layercache.resolver.identity import LayerIdentity
from layercache.sources.names import registry_reference
from layercache.statistics.places import Place
from layercache.tiers import image_refs, keys
from layercache.tiers.documents import read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.explain.explanation import LayerExplanation
    from layercache.oci.descriptor import Descriptor, Platform
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.reference import Reference
    from layercache.registry.settings import RegistrySettings
    from layercache.resolver.resolver import Resolver
    from layercache.tiers.tier import Tier


class Explainer:
    """Asks tiers what they have. No source is asked, no layer is read, and nothing counts as a use.

    ``asked`` are the ``tiers`` as requests see them: one that fails is skipped, and reported once.
    ``settings`` says which mirrors a registry has; None: no source may be asked.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        asked: Sequence[Tier],
        resolver: Resolver,
        settings: Callable[[], RegistrySettings] | None,
    ) -> None:
        self._asked = asked
        self._layers = LayerExplainer(tiers, asked, resolver)
        self._settings = settings

    def explain(self, name: str, platform: str | None) -> Explanation:
        """As `Cache.explain`."""
        if name.partition(":")[0] in HEX_LENGTH:
            return self._explain_hash(Hash(name))
        if (reference := registry_reference(name)) is None:
            raise ConfigError(f"{name} is a source, and not in the cache", hint="name an image or a hash")
        return self._explain_image(reference, platforms.parse_platform(platform) if platform else None)

    def _explain_hash(self, name: Hash) -> Explanation:
        identity = lookup.facts(self._asked, name)
        images = tuple(self._images_with({name, *identity.digests()}))
        return Explanation(
            name=str(name), sources=(), layers=(self._layers.explain(identity, None),), images=images
        )

    def _explain_image(self, reference: Reference, platform: Platform | None) -> Explanation:
        sources = _sources(reference, self._settings) if self._settings else ()
        root, known_to = self._root(reference)
        if root is None:
            problem = "no tier knows this reference: its manifest would be asked for first"
            return Explanation(str(reference), sources, (), known_to, problem=problem)
        try:
            digest, layers = self._layers_of(root, platform, sources[-1] if sources else None)
        except LayercacheError as error:
            return Explanation(str(reference), sources, (), known_to, root.digest, problem=error.message)
        return Explanation(str(reference), sources, tuple(layers), known_to, digest)

    def _root(self, reference: Reference) -> tuple[Descriptor | None, tuple[str, ...]]:
        """What the reference names, by the nearest trusted tier, and the tiers that know it."""
        key, found, known_to = keys.image_key(reference), None, []
        for tier in self._asked:
            with suppress(NotFoundError):
                root = tier.images.get(key)
                known_to.append(tier)
                found = found or (root if tier.policy.trusted else None)
        if known_to and found is None:
            found = known_to[0].images.get(key)
        return found, tuple(tier.name for tier in known_to)

    def _layers_of(
        self, root: Descriptor, platform: Platform | None, source: Place | None
    ) -> tuple[Digest, list[LayerExplanation]]:
        wanted = platforms.normalized(platform) if platform else platforms.default_platform()
        descriptor, data, kind = Offers(self._document, self._read).choose(root, wanted)
        manifest = decode(data, Manifest, f"the manifest {descriptor.digest}")
        config = image_config(kind, manifest.config, self._read(manifest.config))
        pairs = zip(manifest.layers, claimed_diff_ids(manifest, config), strict=True)
        origin = _Unasked(source) if source else None
        return descriptor.digest, [
            self._layers.explain(self._identity(layer, diff_id), origin)
            for layer, diff_id in pairs
            if not is_foreign(layer.media_type)
        ]

    def _identity(self, layer: Descriptor, diff_id: DiffID | None) -> LayerIdentity:
        """As the manifest and the config state it, with what was computed of it."""
        identity = LayerIdentity.stated(layer.digest, diff_id, layer.size, layer.media_type)
        if fact := lookup.computed(self._asked, layer.digest):
            with suppress(IntegrityError):  # the image's config is wrong about it, as a read will report
                return identity.with_record(fact)
        return identity

    def _document(self, descriptor: Descriptor) -> tuple[bytes, str]:
        data = self._read(descriptor)
        return data, media_type_of(data, descriptor.media_type, f"the manifest {descriptor.digest}")

    def _read(self, descriptor: Descriptor) -> bytes:
        for tier in self._asked:
            with suppress(NotFoundError, BackendError, IntegrityError):
                return read_document(tier, descriptor.digest)
        raise NotFoundError(f"the document {descriptor.digest} is not cached, so its layers are not known")

    def _images_with(self, names: set[Hash]) -> list[str]:
        """The images in tiers on this machine that use one of these blobs."""
        found: dict[str, None] = {}
        for tier in self._asked:
            if not tier.remote:
                try:
                    found.update(dict.fromkeys(_images_in(tier, names)))
                except BackendError as error:
                    tier.mark_failed(error)
        return list(found)


def _images_in(tier: Tier, names: set[Hash]) -> Iterator[str]:
    for key, descriptor in tier.images.scan():
        needed = image_refs.contents(tier.blobs.inspect, descriptor, tier.policy.max_document_size)
        if any(name in names for name, _ in needed):
            yield keys.image_name(key)


@dataclass(frozen=True, slots=True)
class _Unasked:
    """The source that a plan ends in. It is never opened."""

    place: Place

    @property
    def name(self) -> str:
        return self.place.where

    def open(self, start: int, end: int | None = None) -> Reader:  # noqa: ARG002  # as of any source
        raise NotFoundError(f"{self.name} is not asked, from byte {start} on")


def _sources(reference: Reference, settings: Callable[[], RegistrySettings]) -> tuple[Place, ...]:
    """The mirrors of the reference's registry, then the registry."""
    repository = reference.repository
    mirrors = [
        Place("mirror", mirror, f"{mirror}/{repository}")
        for mirror in settings().mirrors_of(reference.registry)
    ]
    return (*mirrors, Place("registry", reference.registry, reference.name))
