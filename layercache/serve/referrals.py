"""Which blobs a repository has: what it may be asked for.

A blob that is cached may come from a repository that the client may not read. So it is served only through a
repository that has it: since a manifest of it refers to it, or since its upstream says so.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import IntegrityError, LayercacheError, NotFoundError
from layercache.oci.descriptor import (
    DOCUMENT_MAX,
    Descriptor,
    Index,
    Manifest,
    claimed_diff_ids,
    decode,
    image_config,
    is_foreign,
)
from layercache.oci.digest import Digest
from layercache.registry.repository import Repository
from layercache.serve.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.oci.digest import Hash
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.questions import Questions
    from layercache.serve.settings import ServeSettings

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

REPOSITORIES_MAX = 10_000
BLOBS_MAX = 50_000
"""Names that are remembered of one repository at most: those that were referred to last."""
CONFIGS_MAX = 200
"""Manifests of one repository whose configs are read for a diff ID at most: those that were seen last."""
MISSING_MAX = 50_000
LISTING_AGE = 10.0
"""Seconds for which the cached images of a repository are not listed again."""


class Referrals:
    """Remembers, by repository, the documents that went through here, and what they refer to. Thread-safe.

    What is not remembered, after a restart or since another mirror has served it, is learned again from the
    cached images of the repository.
    """

    def __init__(self, cache: Cache, questions: Questions, settings: ServeSettings) -> None:
        self._cache = cache
        self._images = cache.registry_images()
        self._questions = questions
        self._missing_age = settings.missing_age
        self._missing: Remembered[bool] = Remembered(MISSING_MAX)
        # Guards the order of the repositories, the least recently used of which is forgotten.
        self._lock = threading.Lock()
        self._repositories: OrderedDict[str, _Contents] = OrderedDict()

    def note(self, reference: Reference, data: bytes) -> None:
        """Remember what a document of the reference's repository refers to, and the document itself."""
        self._contents(reference).add(data, reference.digest)

    def known(self, reference: Reference, name: Hash) -> Descriptor | None:
        """The descriptor of a blob of the reference's repository, as far as the cache knows it, else None.

        ``name``: its digest, or the diff ID of a layer.
        """
        contents = self._contents(reference)
        return contents.get(name) or contents.learn(name, partial(self._learn, reference, contents))

    def lists(self, reference: Reference, digest: Hash) -> bool:
        """Whether an index of the reference's repository lists a document.

        That does not show that the repository has it: not every registry checks that.
        """
        contents = self._contents(reference)
        contents.learn(digest, partial(self._learn, reference, contents))
        return contents.lists(digest)

    def find(
        self, reference: Reference, name: Hash, client: RegistryClient | None = None
    ) -> Descriptor | None:
        """As `known`, but the upstream is asked for what the cache does not know; by ``client``, if given.

        Raises `SourceError` if it does not answer.
        """
        looked = time.monotonic()
        if (found := self.known(reference, name)) is not None:
            return found
        key = (reference.name, name, client)
        if self._missing.get(key):
            return None
        found = self._questions.ask(
            ("blob", reference.name, name),
            reference.registry,
            partial(self._ask, reference, name, client),
            looked=looked,
            whose=client,
        )
        if found is None:
            self._missing.put(key, True, self._missing_age)
        return found

    def _contents(self, reference: Reference) -> _Contents:
        with self._lock:
            contents = self._repositories.setdefault(reference.name, _Contents())
            self._repositories.move_to_end(reference.name)
            while len(self._repositories) > REPOSITORIES_MAX:
                self._repositories.popitem(last=False)
            return contents

    def _learn(self, reference: Reference, contents: _Contents, name: Hash) -> bool:
        """Read the cached images of a repository until one has the name; whether there are more to read."""
        for key, data in self._images.recorded(reference, contents.read):
            contents.add(data)
            contents.read.add(key)
            if contents.get(name) is not None:
                return True
        for manifest in contents.undescribed():
            config = self._images.cached_document(manifest.config.digest)
            if config is not None:
                contents.describe(manifest, config)
        return False

    def _ask(self, reference: Reference, name: Hash, client: RegistryClient | None) -> Descriptor | None:
        """Ask the upstream for the blob, and for the configs that may have it: it knows no diff IDs."""
        asking = (client or self._images.client()).without_retries()
        digest = Digest(name)
        with suppress(NotFoundError):
            size = Repository(asking, reference.registry, reference.repository).blob_size(digest)
            blob = Descriptor(digest=digest, size=size)
            self._contents(reference).put(blob)
            return blob
        contents = self._contents(reference)
        contents.expire()  # another worker may have served the image, a moment ago
        if (found := self.known(reference, name)) is not None:
            return found
        for manifest in contents.undescribed():
            config = manifest.config
            layer = self._cache.layer(
                config.digest, size=config.size, repository=reference.name, client=client
            )
            with suppress(NotFoundError, IntegrityError), layer.compressed() as reader:
                contents.describe(manifest, reader.read())  # as many bytes as are stated
            if (described := contents.get(name)) is not None:
                return described
        return None


class _Contents:
    """What is known of one repository. Thread-safe."""

    def __init__(self) -> None:
        # Guards the dictionaries, which requests change as they read them (least recently referred to first).
        self._lock = threading.Lock()
        self._blobs: OrderedDict[Hash, Descriptor] = OrderedDict()
        self._listed: OrderedDict[Hash, Descriptor] = OrderedDict()  # by indexes
        self._undescribed: OrderedDict[Digest, Manifest] = OrderedDict()
        # Held while the cached images are read, so that one thread does that for all that wait for it.
        self._learning = threading.Lock()
        self._learned_until = 0.0
        self.read: set[str] = set()

    def get(self, name: Hash) -> Descriptor | None:
        return self._blobs.get(name)

    def lists(self, digest: Hash) -> bool:
        """Whether an index of the repository lists a document."""
        return digest in self._listed

    def put(self, *descriptors: Descriptor) -> None:
        with self._lock:
            for descriptor in descriptors:
                _put(self._blobs, descriptor.digest, descriptor, BLOBS_MAX)

    def add(self, data: bytes, digest: Digest | None = None) -> None:
        """Add a document and what it refers to; what is neither a manifest nor an index refers to nothing."""
        document = Descriptor(digest=digest or Digest.of(data), size=len(data))
        self.put(document)
        with suppress(IntegrityError), self._lock:
            for entry in decode(data, Index, "the index").manifests:
                _put(self._listed, entry.digest, entry, BLOBS_MAX)
        with suppress(IntegrityError):
            manifest = decode(data, Manifest, "the manifest")
            # Registries take a manifest whatever foreign layers it names: those need not be there.
            self.put(
                *(each for each in (manifest.config, *manifest.layers) if not is_foreign(each.media_type))
            )
            if manifest.config.size <= DOCUMENT_MAX:
                with self._lock:
                    _put(self._undescribed, document.digest, manifest, CONFIGS_MAX)

    def undescribed(self) -> list[Manifest]:
        """The manifests whose layers have no diff IDs yet, since their configs were not read."""
        with self._lock:
            return list(self._undescribed.values())

    def describe(self, manifest: Manifest, config: bytes) -> None:
        """Add the diff IDs that a config states: claims, which are checked before a tar is served."""
        with suppress(IntegrityError):
            described = image_config(manifest.media_type, manifest.config, config)
            diff_ids = claimed_diff_ids(manifest, described)
            with self._lock:
                for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
                    if diff_id is not None and layer.digest in self._blobs:
                        _put(self._blobs, diff_id, layer, BLOBS_MAX)
        with self._lock:
            for digest, each in list(self._undescribed.items()):
                if each is manifest:
                    del self._undescribed[digest]

    def expire(self) -> None:
        """Let the cached images be listed again, however little time has passed."""
        self._learned_until = 0.0

    def learn(self, name: Hash, read: Callable[[Hash], bool]) -> Descriptor | None:
        """Learn from cached images, unless that was done just now; the name, if it is known then."""
        if time.monotonic() < self._learned_until:
            return None
        with self._learning:
            if self.get(name) is None and time.monotonic() >= self._learned_until:
                with suppress(LayercacheError):  # a tier that fails knows nothing
                    if not read(name):
                        self._learned_until = time.monotonic() + LISTING_AGE
        return self.get(name)


def _put(entries: OrderedDict[KeyT, ValueT], key: KeyT, value: ValueT, most: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    while len(entries) > most:
        entries.popitem(last=False)
