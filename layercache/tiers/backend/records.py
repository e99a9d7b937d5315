"""Records in a backend: one small object a name."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT, PerProcess, write_whole
from layercache.backend.capabilities import Conditional, Expendable, SmallObjects
from layercache.errors import BackendError, FormatError, InvalidNameError, NotFoundError
from layercache.oci.descriptor import decode
from layercache.oci.digest import Hash
from layercache.streams.readers import read_bounded
from layercache.tiers import keys
from layercache.tiers.concurrently import FanOut
from layercache.tiers.facts import RecordStore
from layercache.tiers.record import Document, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Backend, Entry

PAGE = 64
"""Records that a listing of a store without `SmallObjects` asks for at a time."""

ATTEMPTS = 100
"""How often a record is read, changed and written until no other writer was faster."""

LONGEST_PAUSE = 2.0
"""Seconds, at most, between two such attempts: Google takes about one write a second of one object."""

LOCKS = 16


class BackendRecords(RecordStore):
    """``remote``: a request travels, so a new record is written without a look at what is there."""

    def __init__(self, backend: Backend, *, remote: bool) -> None:
        self._backend = backend
        self._remote = remote
        # Asked once: isinstance() of a protocol costs microseconds each time.
        self._small = backend if isinstance(backend, SmallObjects) else None
        self._conditional = backend if isinstance(backend, Conditional) else None
        # A file that is read whole, for the comparison of versions, needs no reader and no buffer.
        self._whole = None if remote else self._conditional
        self._create = backend.create_expendable if isinstance(backend, Expendable) else backend.create
        self._reads = FanOut()
        # Where the store has no conditions, one of them is held while a record is read, changed and written:
        # of two changes by this process none is lost. Names share them, so that there are few.
        self._locks = PerProcess(_new_locks)

    def read(self, name: Hash) -> Record:
        key = keys.record(name)
        try:
            return Record.decode(self._whole.read_versioned(key)[0] if self._whole else self._read(key), name)
        except (NotFoundError, FormatError):
            return Record(name)

    def change(self, name: Hash, change: Callable[[Record], Record]) -> None:
        if self._conditional is None or not self._conditional.honours_conditions():
            with self._locks.get()[int(name.hex[-2:], 16) % LOCKS]:
                self._overwrite(name, change)
            return
        for attempt in range(ATTEMPTS):
            blindly = not attempt  # most records that change are new
            old, version = (Record(name), None) if blindly else self._versioned(self._conditional, name)
            new = change(old)
            if new == old:
                if blindly and version is None:
                    continue  # there may be one that says what is to be forgotten
                return
            if self._conditional.write_if(keys.record(name), new.encode() if new else b"", version):
                return
            if attempt > 1:
                import random  # loads hashes: most changes succeed at once

                time.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.01 * 1.5**attempt)))  # noqa: S311  # no secret
        raise BackendError(
            f"{self._backend.url}: {keys.record(name)}: other writers were faster {ATTEMPTS} times"
        )

    def of_digests(self) -> Iterator[Record]:
        if self._small is None:
            yield from super().of_digests()
            return
        for key, data in self._small.read_small(keys.RECORDS):
            if (record := _decoded(key, data)) is not None:
                yield record

    def written(self) -> Iterator[tuple[Record, float]]:
        listing = self._backend.scan(keys.RECORDS)
        while page := list(islice(listing, PAGE)):
            questions = [partial(self._read_listed, entry) for entry in page]
            found = self._reads(*questions) if self._remote else [ask() for ask in questions]
            yield from ((record, entry.modified) for entry, record in zip(page, found, strict=True) if record)

    def names(self) -> Iterator[Hash]:
        for entry in self._backend.scan(keys.RECORDS):
            if entry.size and (name := keys.record_name(entry.key)) is not None:
                yield name

    def close(self) -> None:
        self._reads.close()

    def _read(self, key: str) -> bytes:
        with self._backend.open(key) as reader:
            return read_bounded(reader, SMALL_OBJECT, key)

    def _versioned(self, store: Conditional, name: Hash) -> tuple[Record, str | None]:
        try:
            data, version = store.read_versioned(keys.record(name))
        except NotFoundError:
            return Record(name), None
        except FormatError:  # it is far too big
            self._backend.delete(keys.record(name))
            return Record(name), None
        with suppress(FormatError):
            return Record.decode(data, name), version
        return Record(name), version

    def _overwrite(self, name: Hash, change: Callable[[Record], Record]) -> None:
        """The last writer wins. What another one loses by that is learned again."""
        old = self.read(name)
        new = change(old)
        if new == old:
            return
        if new:
            write_whole(self._create(keys.record(name)), new.encode())
        else:
            self._backend.delete(keys.record(name))

    def _read_listed(self, entry: Entry) -> Record | None:
        name = keys.record_name(entry.key)
        return self.read(name) if name is not None and entry.size else None


def _decoded(key: str, data: bytes) -> Record | None:
    """None for a record of a diff ID alone, for what is torn, and for one under another name than its own,
    which would answer for another layer.
    """
    try:
        document = decode(data, Document, "a record")
        if document.is_about_digest() and keys.record(name := Hash(document.name)) == key:
            return Record.of(document, name)
    except (FormatError, InvalidNameError):
        pass
    return None


def _new_locks() -> list[threading.Lock]:
    return [threading.Lock() for _ in range(LOCKS)]
