"""What the repositories hold: their manifests, and what those refer to. Read from the tiers, remembered."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from layercache.errors import FormatError, InvalidNameError, NotFoundError
from layercache.images.hosted import HOSTED
from layercache.oci.digest import Digest
from layercache.serve.push import pushed
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.images.hosted import HostedImages
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Hash
    from layercache.serve.push.pushed import Pushed

FOUND_AGE = 60.0
"""Seconds for which what a list led to is found without a new one, unless something was changed here."""

RECENT = 2.0
"""Seconds for which a list is recent."""

REPOSITORIES_MAX = 1000


class _Repository:
    """What is remembered of one: manifests by digest, and when they were listed (monotonic seconds)."""

    def __init__(self) -> None:
        self.manifests: dict[Digest, Pushed] = {}
        self.blobs: dict[Hash, Descriptor] = {}
        self.listed = -FOUND_AGE


class Contents:
    """The manifests of hosted repositories. Thread-safe.

    A manifest never changes, so each is read once. Which ones there are is listed each time, since other
    workers and machines push, too; only what a recent list led to is found by that.
    """

    def __init__(self, images: HostedImages) -> None:
        self._images = images
        # Guards the dictionary; what is in it is replaced, never changed. Listing is done without it: two
        # threads may list the same repository, and find the same.
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Repository] = OrderedDict()
        self._changes = 0  # guarded, too: a list that was begun before a change is not used again

    def manifests(self, repository: str) -> Iterable[Pushed]:
        """Every manifest and index that a repository has now. Raises `BackendError`."""
        return self._list(repository).manifests.values()

    def blob(self, repository: str, name: Hash, *, recent: bool = False) -> Descriptor | None:
        """The descriptor by which a manifest of the repository refers to a blob. Raises `BackendError`.

        ``recent``: that none did in a recent list will do, too.
        """
        with self._lock:
            known = self._known.get(repository)
        age = time.monotonic() - known.listed if known else FOUND_AGE
        if known and ((age < FOUND_AGE and name in known.blobs) or (age < RECENT and recent)):
            return known.blobs.get(name)
        return self._list(repository).blobs.get(name)

    def note_change(self, repository: str) -> None:
        """Something was pushed to a repository, or removed: list it again."""
        with self._lock:
            self._changes += 1
            if known := self._known.get(repository):
                known.listed = -FOUND_AGE

    def _list(self, repository: str) -> _Repository:
        now = time.monotonic()
        with self._lock:
            known, changes = self._known.get(repository) or _Repository(), self._changes
        fresh = _Repository()
        fresh.listed = now
        folder = keys.image_digest(HOSTED, repository, Digest.of(b"")).rpartition("/")[0]
        for key in self._images.within(f"{folder}/"):
            if manifest := self._read(known, key):
                fresh.manifests[manifest.image.digest] = manifest
                fresh.blobs.update((blob.digest, blob) for blob in manifest.blobs)
        with self._lock:
            if changes != self._changes:
                fresh.listed = -FOUND_AGE
            self._known[repository] = fresh
            self._known.move_to_end(repository)
            while len(self._known) > REPOSITORIES_MAX:
                self._known.popitem(last=False)
        return fresh

    def _read(self, known: _Repository, key: str) -> Pushed | None:
        """A manifest; None for one that was removed, and for what is none."""
        try:
            digest = Digest(keys.digest_in(key))
            if digest in known.manifests:
                return known.manifests[digest]
            image = self._images.get(key)
            return pushed.read(self._images.document(digest), digest, image.media_type)
        except (NotFoundError, FormatError, InvalidNameError):
            return None
