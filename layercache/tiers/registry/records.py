"""The records of a repository: read, changed, listed.

A record is read, changed and written, and the last writer wins. What one loses to another is an association,
which costs work when it is next needed, or the hold on a blob, which a garbage collection may then take.
"""

from __future__ import annotations

import io
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from layercache.backend import PerProcess
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import OCI_MANIFEST
from layercache.oci.digest import Digest
from layercache.registry.encoding import TooBigError
from layercache.registry.status_errors import MissingPartError
from layercache.tiers.concurrently import FanOut
from layercache.tiers.record import Record
from layercache.tiers.registry.record import EMPTY, EMPTY_DATA, NameRecord, is_name_tag, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.oci.digest import Hash
    from layercache.registry.repository import Repository

RECORD_MAX = 128 << 10
"""Bytes of a record at most: as many facts as are looked at have half of that. A bigger one is ignored."""

PAGE = 64
"""Records that a listing asks for at a time."""

LOCKS = 16

MISSING_WAITS = (0.05, 0.2)
"""Seconds before a record is sent again whose blobs the registry said it lacks.

While somebody else brings in a blob that is there already, docker-registry does not see it for a moment: it
writes the file that links it in place.
"""


class Records:
    """The artefacts of one repository. Thread-safe. Raises what `Repository` does."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._together = FanOut()
        # One of them is held while a record is read, changed and written, so that of two changes by this
        # process none is lost. Names share them: more names than locks may wait for each other.
        self._locks = PerProcess(_new_locks)
        self._holds_empty = False
        self._bringing_empty = threading.Lock()

    def close(self) -> None:
        self._together.close()

    def read(self, name: Hash) -> NameRecord:
        try:
            data, _ = self._repository.manifest(tag_of(name), RECORD_MAX)
            found = NameRecord.decode(data, tag_of(name))
        except (NotFoundError, FormatError, TooBigError):
            return NameRecord(Record(name))
        return found if found.name == name else NameRecord(Record(name))

    def change(self, name: Hash, change: Callable[[NameRecord], NameRecord]) -> None:
        """Read, change and write a name's record; where it says nothing any more, remove it."""
        with self._locks.get()[int(name.hex[-2:], 16) % LOCKS]:
            old = self.read(name)
            new = change(old)
            if new == old:
                return
            if new.size is None and not new.record:
                self.delete(tag_of(name))
                return
            try:
                self.put(tag_of(name), new.encode())
            except MissingPartError:
                # The blob is gone, by a garbage collection, say. What is known about it is still true.
                self.put(tag_of(name), replace(new, size=None, published=0.0).encode())

    def put(self, tag: str, data: bytes) -> None:
        """Raises `MissingPartError` where the repository lacks a blob that the record names."""
        for wait in MISSING_WAITS:
            self._bring_empty()
            with suppress(MissingPartError):
                self._repository.put_manifest(tag, data, OCI_MANIFEST)
                return
            self._holds_empty = False  # a garbage collection may have taken it
            time.sleep(wait)
        self._bring_empty()
        self._repository.put_manifest(tag, data, OCI_MANIFEST)

    def _bring_empty(self) -> None:
        with self._bringing_empty:
            if not self._holds_empty:
                if not self._repository.has_blob(EMPTY.digest):
                    self._repository.push(EMPTY.digest, io.BytesIO(EMPTY_DATA))
                self._holds_empty = True

    def delete(self, tag: str) -> None:
        """Remove a record. By its digest, since that is all that registries allow: it has this one tag."""
        try:
            data, _ = self._repository.manifest(tag)
        except NotFoundError:
            return
        self._repository.delete_manifest(Digest.of(data))

    def all_names(self) -> Iterator[NameRecord]:
        for tag, data in self.listed(is_name_tag):
            with suppress(FormatError):
                yield NameRecord.decode(data, tag)

    def listed(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """The manifests of all tags of a kind, a few at a time."""
        tags = [tag for tag in self._repository.tags() if wanted(tag)]
        for start in range(0, len(tags), PAGE):
            page = tags[start : start + PAGE]
            found = self._together(*(partial(self._manifest, tag) for tag in page))
            yield from ((tag, data) for tag, data in zip(page, found, strict=True) if data is not None)

    def _manifest(self, tag: str) -> bytes | None:
        try:
            return self._repository.manifest(tag, RECORD_MAX)[0]
        except (NotFoundError, TooBigError):
            return None  # removed since it was listed; or no record


def _new_locks() -> list[threading.Lock]:
    return [threading.Lock() for _ in range(LOCKS)]
