"""The records of a repository: read, changed, listed.

A record is read, changed and written, and the last writer wins. What one loses to another is an association,
which costs work when it is next needed, or the hold on a blob, which a garbage collection may then take. So a
record is read right before it is written, with one exception: that there is none need not be asked twice for
one blob, which takes as long as sending it.
"""

from __future__ import annotations

import io
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import PerProcess
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import OCI_MANIFEST
from layercache.oci.digest import Digest, Hash
from layercache.registry.encoding import TooBigError
from layercache.registry.status_errors import MissingPartError
from layercache.tiers.concurrently import FanOut
from layercache.tiers.record import Record
from layercache.tiers.registry.record import EMPTY, EMPTY_DATA, NameRecord, is_name_tag, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.registry.repository import Repository
    from layercache.tiers.association import Association

_T = TypeVar("_T")

RECORD_MAX = 128 << 10
"""Bytes of a record at most: as many facts as are looked at have half of that. A bigger one is ignored."""

PAGE = 64
"""Records that a listing asks for at a time."""

LOCKS = 16

FRESH = 10.0
"""Seconds for which it is remembered, for the next change, that a name had no record, or what was written."""

REMEMBERED = 256
"""Names and facts that are remembered at most: some for each blob that is on its way."""

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
        # What `look` and `hold` have just seen of a name. An entry is added and taken under the lock of its
        # name: so what was seen before a change by this process is forgotten with it. One that is dropped
        # because there are many costs a request.
        self._recent: dict[Hash, tuple[float, NameRecord | None]] = {}
        # Facts that will be recorded. Each step on it is one of the dictionary's own.
        self._expected: dict[Hash, Association] = {}

    def close(self) -> None:
        self._together.close()

    def read(self, name: Hash) -> NameRecord:
        try:
            data, _ = self._repository.manifest(tag_of(name), RECORD_MAX)
            found = NameRecord.decode(data, tag_of(name))
        except (NotFoundError, FormatError, TooBigError):
            return NameRecord(Record(name))
        return found if found.name == name else NameRecord(Record(name))

    def look(self, name: Hash) -> NameRecord:
        """As `read`, before a change of this name that comes soon."""
        with self._lock(name):
            found = self.read(name)
            self._remember(found)
        return found

    def expect(self, fact: Association) -> None:
        """Remember a fact until the blob comes: it is written into the record that holds the blob."""
        _bounded(self._expected)[Hash(fact.digest)] = fact

    def hold(self, name: Hash, size: int) -> None:
        """Have the record hold the blob of this name, which has just come. An expected fact goes along."""
        fact = self._expected.pop(name, None)

        def holding(old: NameRecord) -> NameRecord:
            record = old.record if fact is None else old.record.with_fact(fact)
            return NameRecord(record, size, time.time())

        with self._lock(name):
            self._remember(self._change(name, holding, self._remembered(name)))

    def add(self, name: Hash, fact: Association) -> None:
        """Write a fact into a name's record, which is not read if the fact was just written with the blob."""
        with self._lock(name):
            self._change(name, partial(_with_fact, fact=fact), self._remembered(name))

    def change(self, name: Hash, change: Callable[[NameRecord], NameRecord]) -> None:
        """Read, change and write a name's record; where it says nothing any more, remove it."""
        with self._lock(name):
            self._recent.pop(name, None)
            self._change(name, change)

    def _lock(self, name: Hash) -> threading.Lock:
        return self._locks.get()[int(name.hex[-2:], 16) % LOCKS]

    def _change(
        self, name: Hash, change: Callable[[NameRecord], NameRecord], recent: NameRecord | None = None
    ) -> NameRecord:
        """The record as it is now. ``recent``: as it just was, if that is known."""
        is_enough = recent is not None and (recent.is_empty or change(recent) == recent)
        old = recent if recent is not None and is_enough else self.read(name)
        if (new := change(old)) != old:
            self._write(new)
        return new

    def _write(self, new: NameRecord) -> None:
        tag = tag_of(new.name)
        if new.is_empty:
            self.delete(tag)
            return
        try:
            self.put(tag, new.encode())
        except MissingPartError:
            # The blob is gone, by a garbage collection, say. What is known about it is still true.
            self.put(tag, replace(new, size=None, published=0.0).encode())

    def _remember(self, found: NameRecord) -> None:
        _bounded(self._recent)[found.name] = time.monotonic(), found

    def _remembered(self, name: Hash) -> NameRecord | None:
        """What was just read or written here, once."""
        when, found = self._recent.pop(name, (0.0, None))
        return found if time.monotonic() < when + FRESH else None

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


def _with_fact(old: NameRecord, fact: Association) -> NameRecord:
    return replace(old, record=old.record.with_fact(fact))


def _bounded(remembered: dict[Hash, _T]) -> dict[Hash, _T]:
    """The dictionary, with room for another entry: the oldest go."""
    while len(remembered) >= REMEMBERED:
        try:
            remembered.pop(next(iter(remembered)), None)
        except (StopIteration, RuntimeError):  # another thread was here
            break
    return remembered


def _new_locks() -> list[threading.Lock]:
    return [threading.Lock() for _ in range(LOCKS)]
