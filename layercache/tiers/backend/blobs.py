"""Blobs in a backend: one object each, within the tier's limits."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from layercache.backend import RewindError, write_whole
from layercache.backend.capabilities import (
    Counting,
    Exclusive,
    LocalPath,
    Lockable,
    Movable,
    SizedWrites,
    Spooler,
    Touchable,
)
from layercache.errors import BackendError, NotFoundError
from layercache.streams.readers import CHUNK
from layercache.tiers import keys
from layercache.tiers.backend.derived import delete_derived
from layercache.tiers.stores import BlobStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from layercache.backend import Backend, Entry, Reader, Sink
    from layercache.backend.capabilities import Lock, Spool
    from layercache.oci.digest import Hash
    from layercache.tiers.backend.use import Use
    from layercache.tiers.policy import Policy
    from layercache.tiers.quota import Quota

SMALL = 1 << 20
"""Bytes of a blob that is sent without asking for it first: asking would take longer than sending."""

TOUCHED_FOR = 60.0
"""Seconds in which a blob's time is not refreshed again, however often it is used."""


REWINDS = 100
"""How often a store may ask for bytes of one blob again."""


class BackendBlobs(BlobStore):
    """``room`` is reserved for a blob before it is published. ``use``: of a remote store, else None."""

    def __init__(self, backend: Backend, policy: Policy, room: Quota, use: Use | None) -> None:
        self._backend = backend
        self._room = room
        self._use = use
        # Asked once: isinstance() of a protocol costs microseconds each time.
        self._spooler = backend if isinstance(backend, Spooler) else None
        self._creates = (
            backend if isinstance(backend, Exclusive) and use is not None and room.is_free else None
        )
        self._sized = backend if isinstance(backend, SizedWrites) else None
        self._lockable = backend if isinstance(backend, Lockable) and not policy.readonly else None
        at_once = use is None and not policy.readonly and isinstance(backend, Touchable)
        self._touchable = backend if at_once and isinstance(backend, Touchable) else None

    def open(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        reader = self._backend.open(keys.blob(name), start, end)
        modified = getattr(reader, "modified", None)
        if self._use is not None:
            self._use.note(name, modified)
        # A time of the future counts as now, and is written down as that: else it would be new for years.
        if self._touchable and modified is not None and abs(time.time() - modified) > TOUCHED_FOR:
            with suppress(BackendError):  # another user's file, say, can still be read
                self._touchable.touch(keys.blob(name))
        return reader

    def inspect(self, name: Hash) -> Reader:
        return self._backend.open(keys.blob(name))

    def stat(self, name: Hash) -> Entry:
        return self._backend.stat(keys.blob(name))

    def path(self, name: Hash) -> str | None:
        return self._backend.path(keys.blob(name)) if isinstance(self._backend, LocalPath) else None

    def lock(self, name: Hash, *, timeout: float) -> AbstractContextManager[Lock | None]:
        if self._lockable is None:
            return nullcontext()
        return self._lockable.lock(f"layer-{name.algorithm}-{name.hex}", timeout=timeout, lasting=False)

    def spool(self) -> Spool | None:
        return self._spooler.spool() if self._spooler else None

    def fits(self, size: int) -> bool:
        return self._room.fits(size)

    def sparing(self, names: Collection[Hash]) -> AbstractContextManager[None]:
        return self._room.sparing(names)

    def put(self, name: Hash, data: bytes) -> None:
        if self._creates is not None and len(data) <= SMALL:
            self._create(self._creates, name, data)
        elif self.fits(len(data)) and not self.has(name):
            with self._room.reserve(len(data)):
                write_whole(self._backend.create(keys.blob(name)), data)

    def create(self, name: Hash, reader: Reader, size: int) -> bool | None:
        if self._creates is None or size > SMALL:
            return None
        return self._create(self._creates, name, b"".join(iter(lambda: reader.read(SMALL), b"")))

    def _create(self, backend: Exclusive, name: Hash, data: bytes) -> bool:
        if backend.create_new(keys.blob(name), data):
            return True
        with suppress(NotFoundError):
            if self.size(name) == len(data):
                return False
        # Some stores publish what they have of a write that breaks off. The right bytes replace it.
        write_whole(self._backend.create(keys.blob(name)), data)
        return True

    def publish(self, name: Hash, spool: Spool, size: int) -> None:
        with self._room.reserve(size):
            spool.publish(keys.blob(name))

    def copy(
        self,
        name: Hash,
        reader: Reader,
        *,
        again: Callable[[], Reader] | None = None,
        follow: Callable[[Counting], object] = lambda _: None,
    ) -> None:
        key = keys.blob(name)
        if again is None or reader.size is None or self._sized is None:
            sink, again = self._backend.create(key), None
        else:
            sink = self._sized.create_sized(key, reader.size)
        with sink:
            if isinstance(sink, Counting):
                follow(sink)
            start, rewinds = self._send(sink, reader, 0), 0
            while start is not None:
                if again is None or rewinds == REWINDS:
                    raise BackendError(
                        f"{self._backend.url}: writing {key}: its bytes were lost again and again"
                    )
                with again() as reopened:
                    start = self._send(sink, reopened, start)
                rewinds += 1

    def _send(self, sink: Sink, reader: Reader, start: int) -> int | None:
        """Write a blob's bytes from ``start`` on, all of which are read, and publish it.

        Returns where the store has asked to go back to, else None.
        """
        buffer, size = memoryview(bytearray(CHUNK)), 0
        try:
            while count := reader.readinto(buffer):
                size += count
                if size > start:
                    sink.write(buffer[max(0, count - (size - start)) : count])
            with self._room.reserve(size):
                sink.commit()
        except RewindError as error:
            return error.offset
        return None

    def delete(self, name: Hash) -> None:
        delete_derived(self._backend, name)
        self._backend.delete(keys.blob(name))

    def put_aside(self, name: Hash) -> None:
        if isinstance(self._backend, Movable):
            delete_derived(self._backend, name)  # it was computed from wrong bytes
            with suppress(NotFoundError):
                self._backend.move(keys.blob(name), keys.quarantine(keys.blob(name)))
        else:
            self.delete(name)

    def scan(self) -> Iterator[tuple[Hash, Entry]]:
        for entry in self._backend.scan(keys.BLOBS):
            if (name := keys.blob_name(entry.key)) is not None:
                yield name, entry
