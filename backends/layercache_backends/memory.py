"""Memory: ``memory://name`` is one store for the whole process, ``memory://`` a new one each time.

For tests, and as a tier that lives as long as the process.
"""

from __future__ import annotations

import io
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.backend import (
    SMALL_OBJECT,
    Entry,
    PerProcess,
    SinkBase,
    check_prefix,
    check_range,
    check_usable,
    not_small,
    version_of,
)
from layercache.errors import BackendError, ConfigError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend import BackendURL


class Objects(dict[str, tuple[bytes, float]]):
    """Key to bytes and time of publication (seconds since the epoch).

    The lock is held while an object is published or deleted, so that a conditional write compares and
    publishes in one step. It is one of this process: a forked child could find its parent's held. Readers
    need none, because each of them is one operation on the dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = PerProcess(threading.Lock)

    def publish(self, key: str, data: bytes) -> None:
        with self.lock.get():
            self[key] = (data, time.time())

    def change(self, key: str, data: bytes, version: str | None) -> bool:
        """As `Conditional.write_if`."""
        with self.lock.get():
            old = self.get(key)
            if version != (None if old is None else version_of(old[0])):
                return False
            if data or old is None:
                self[key] = (data, time.time())
            else:
                del self[key]
            return True


_NAMED: dict[str, Objects] = {}


@dataclass(frozen=True, slots=True)
class Options:
    """There are none."""


def from_url(url: BackendURL) -> MemoryBackend:
    """The backend of ``memory://name``. A named store lasts as long as the process."""
    if url.path:
        raise ConfigError(
            f"{url}: memory:// has no folders, found the path {url.path!r}",
            hint="expected memory://name, or memory:// for a new store",
        )
    url.options(Options)
    return MemoryBackend(url.netloc)


class MemoryBackend:
    """Objects in a dict, shared by all backends of the same name; a new dict without a name."""

    def __init__(self, name: str = "") -> None:
        self.url = f"memory://{name}"
        self._objects = _NAMED.setdefault(name, Objects()) if name else Objects()

    def __repr__(self) -> str:
        return f"MemoryBackend({self.url!r}, {len(self._objects)} objects)"

    def open(self, key: str, start: int = 0, end: int | None = None) -> MemoryReader:
        check_range(start, end)
        data, _ = self._get(key)
        return MemoryReader(data if start == 0 and end is None else data[start:end])

    def create(self, key: str) -> MemorySink:
        return MemorySink(self.spool(), key)

    def spool(self) -> MemorySpool:
        return MemorySpool(self.url, self._objects)

    def stat(self, key: str) -> Entry:
        data, modified = self._get(key)
        return Entry(key, len(data), modified)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`: the objects at the time of the call."""
        check_prefix(prefix)
        objects = self._objects.copy()
        return (
            Entry(key, len(data), modified)
            for key, (data, modified) in objects.items()
            if key.startswith(prefix)
        )

    def delete(self, key: str) -> None:
        with self._objects.lock.get():
            self._objects.pop(key, None)

    def create_new(self, key: str, data: bytes) -> bool:
        return self._objects.change(key, data, None)

    def honours_conditions(self) -> bool:
        """As `Conditional.honours_conditions`: always."""
        return True

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        data, _ = self._get(key)
        if len(data) > SMALL_OBJECT:
            raise not_small(f"{self.url}: reading {key}")
        return data, version_of(data)

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        return self._objects.change(key, data, version)

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _get(self, key: str) -> tuple[bytes, float]:
        try:
            return self._objects[key]
        except KeyError:
            raise NotFoundError(f"{key} does not exist", looked_in=(self.url,)) from None


class MemoryReader(io.BytesIO):
    """An object's bytes, or a range of them; seekable. Keeps them if the object is replaced or deleted."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = len(data)


class MemorySpool:
    """Unfinished bytes. Belongs to the process that created it: a forked child can only ``close`` it."""

    def __init__(self, url: str, objects: Objects) -> None:
        self._url = url
        self._objects = objects
        self._owner = os.getpid()
        self._data: bytearray | None = bytearray()
        self._ended = False

    def write(self, data: ReadableBuffer, /) -> None:
        self._usable().extend(memoryview(data).cast("B"))

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        """As `Spool.readinto_at`; works after ``publish``, until ``close``."""
        if self._data is None:
            raise BackendError(f"{self._url}: this spool is closed")
        with memoryview(buffer) as view, view.cast("B") as octets:
            # A copy, as a view of a growing bytearray would stop it from growing.
            part = self._data[offset : offset + len(octets)]
            octets[: len(part)] = part
        return len(part)

    def publish(self, key: str) -> None:
        self._objects.publish(key, bytes(self._usable()))
        self._ended = True

    def close(self) -> None:
        self._data = None
        self._ended = True

    def _usable(self) -> bytearray:
        check_usable(self._url, self._owner, ended=self._ended)
        assert self._data is not None, "only an ended write has none"
        return self._data


class MemorySink(SinkBase):
    """A spool whose key is known from the start."""

    def __init__(self, spool: MemorySpool, key: str) -> None:
        self._spool = spool
        self._key = key

    def write(self, data: ReadableBuffer, /) -> None:
        self._spool.write(data)

    def commit(self) -> None:
        self._spool.publish(self._key)
        self._spool.close()

    def abort(self) -> None:
        self._spool.close()
