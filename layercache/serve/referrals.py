"""Which manifests and blobs the documents of a repository refer to: what a repository may be asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import FormatError
from layercache.oci.descriptor import Descriptor, Index, Manifest, decode
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from layercache.oci.digest import Hash
    from layercache.oci.reference import Reference

REPOSITORIES_MAX = 10_000
BLOBS_MAX = 50_000
"""Blobs that are remembered of one repository at most: those that were referred to last."""


class Referrals:
    """Remembers, by repository, the documents that went through here, and their entries. Thread-safe."""

    def __init__(self) -> None:
        # Guards the dictionaries, which requests change as they read them (least recently used last).
        self._lock = threading.Lock()
        self._blobs: OrderedDict[str, OrderedDict[Hash, Descriptor]] = OrderedDict()

    def note(self, reference: Reference, data: bytes) -> None:
        """Remember what a document of the reference's repository refers to, and the document itself."""
        document = Descriptor(digest=reference.digest or Digest.of(data), size=len(data))
        found = [document, *_referred(data)]
        with self._lock:
            blobs = self._blobs.setdefault(reference.name, OrderedDict())
            self._blobs.move_to_end(reference.name)
            for descriptor in found:
                blobs[descriptor.digest] = descriptor
                blobs.move_to_end(descriptor.digest)
            while len(blobs) > BLOBS_MAX:
                blobs.popitem(last=False)
            while len(self._blobs) > REPOSITORIES_MAX:
                self._blobs.popitem(last=False)

    def find(self, reference: Reference, name: Hash) -> Descriptor | None:
        """The descriptor under which the repository refers to a blob; None if none is remembered.

        ``name`` may be a diff ID: then the descriptor is that of the blob in which it is said to be.
        """
        with self._lock:
            return self._blobs.get(reference.name, OrderedDict()).get(name)


def _referred(data: bytes) -> list[Descriptor]:
    """The entries of a manifest or an index; none of what is neither."""
    with suppress(FormatError):
        manifest = decode(data, Manifest, "the manifest")
        return [manifest.config, *manifest.layers]
    with suppress(FormatError):
        return decode(data, Index, "the index").manifests
    return []
