"""Caches on backends that are watched or that fail: real ones, wrapped."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from layercache.cache import Cache
from layercache.errors import BackendError
from layercache.oci.digest import Hash
from layercache.tiers import keys
from layercache.tiers.association import Association
from layercache.tiers.backend_tier import BackendTier
from layercache.tiers.guard import Guard
from layercache.tiers.policy import Policy
from layercache.tiers.tier import Tier
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from _typeshed import ReadableBuffer

    from layercache.backend import Backend, Entry, Reader, Sink
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.policy import Keep

Action = Literal["open", "read", "create", "write", "commit", "stat", "scan", "delete"]


@dataclass
class Store:
    """A backend around another: it writes down what was asked of it, and fails where it is told to.

    It can neither spool nor write expendable objects, so that the core's own ways are gone.
    """

    inner: Backend
    url: str = "store://"
    fails: Callable[[Action, str], bool] = lambda _action, _key: False
    asked: list[tuple[Action, str]] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    """Blobs at which the guard is about to look, once each: that is not a question of the core's."""

    def did(self, *actions: Action, below: str = "") -> list[str]:
        """The keys below a folder of which one of these was asked, in order."""
        return [key for action, key in self.asked if action in actions and key.startswith(below)]

    def check(self, action: Action, key: str) -> None:
        self.asked.append((action, key))
        if self.fails(action, key):
            raise BackendError(f"{self.url}: {action} {key}: this store fails on purpose")

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        self.check("open", key)
        return _StoreReader(self, key, self.inner.open(key, start, end))

    def create(self, key: str) -> Sink:
        self.check("create", key)
        return _StoreSink(self, key, self.inner.create(key))

    def stat(self, key: str) -> Entry:
        if key in self.published:
            self.published.discard(key)
        else:
            self.check("stat", key)
        return self.inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        self.check("scan", prefix)
        return self.inner.scan(prefix)

    def delete(self, key: str) -> None:
        self.check("delete", key)
        self.inner.delete(key)

    def close(self) -> None:
        self.inner.close()


class _StoreReader:
    def __init__(self, store: Store, key: str, reader: Reader) -> None:
        self._store = store
        self._key = key
        self._reader = reader

    @property
    def size(self) -> int | None:
        return self._reader.size

    def readinto(self, buffer: ReadableBuffer, /) -> int:
        self._store.check("read", self._key)
        return self._reader.readinto(buffer)

    def read(self, size: int = -1, /) -> bytes:
        self._store.check("read", self._key)
        return self._reader.read(size)

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


class _StoreSink:
    def __init__(self, store: Store, key: str, sink: Sink) -> None:
        self._store = store
        self._key = key
        self._sink = sink

    def write(self, data: ReadableBuffer, /) -> None:
        self._store.check("write", self._key)
        self._sink.write(data)

    def commit(self) -> None:
        self._store.check("commit", self._key)
        self._sink.commit()
        if self._key.startswith(keys.BLOBS):
            self._store.published.add(self._key)

    def abort(self) -> None:
        self._sink.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.abort()


def near(backend: Backend | None = None, keep: Keep = "both", *, readonly: bool = False) -> BackendTier:
    """The nearest tier, trusted; by default in memory of its own."""
    return BackendTier(backend or MemoryBackend(), Policy(keep=keep, readonly=readonly, trusted=True))


def far(backend: Backend | None = None, keep: Keep = "both", *, readonly: bool = False) -> BackendTier:
    """A tier that others can write to."""
    return BackendTier(backend or MemoryBackend(), Policy(keep=keep, readonly=readonly, trusted=False))


def refuses_writes(action: Action, key: str) -> bool:
    """For `Store.fails`: a store that can only be read."""
    return action in ("create", "write", "commit", "delete")


def backend_of(tier: Tier | Backend) -> Backend:
    if isinstance(tier, Tier):
        assert isinstance(tier, BackendTier)
        return tier.backend
    return tier


def store_of(tier: Tier) -> Store:
    """The store behind a tier's guard."""
    guard = backend_of(tier)
    assert isinstance(guard, Guard)
    store = guard._backend
    assert isinstance(store, Store)
    return store


def content(tier: Tier | Backend) -> dict[str, bytes]:
    """Every object of a store, by key."""
    backend = backend_of(tier)
    found = {}
    for entry in list(backend.scan()):
        with backend.open(entry.key) as reader:
            found[entry.key] = reader.read()
    return found


def blobs(tier: Tier | Backend) -> set[Hash]:
    """The blobs that are there."""
    return {name for key in content(tier) if (name := keys.blob_name(key))}


def write(tier: Tier | Backend, key: str, data: bytes) -> None:
    """Put an object there behind the cache's back."""
    backend = backend_of(tier)
    with backend.create(key) as sink:
        sink.write(data)
        sink.commit()


def write_blob(tier: Tier | Backend, name: Hash, data: bytes) -> None:
    write(tier, keys.blob(name), data)


def evict(tier: Tier | Backend, name: Hash) -> None:
    """Remove a blob behind the cache's back; facts stay, as with other tools' clean-up."""
    backend = backend_of(tier)
    backend.delete(keys.blob(name))


def fact(
    digest: Digest,
    diff_id: DiffID,
    size: int,
    *,
    computed: bool = True,
    tar_size: int | None = None,
    media_type: str = "application/octet-stream",
) -> Association:
    return Association(digest, diff_id, size, media_type, tar_size, computed)


def assert_sound(tier: Tier | Backend) -> None:
    """Whatever stands in a store under a blob's name has that hash, and whatever is called a fact is one."""
    for key, data in content(tier).items():
        if name := keys.blob_name(key):
            assert Hash.of(data, name.algorithm) == name, f"{key} holds other bytes"
        elif key.startswith(keys.QUARANTINE):
            continue
        elif key.startswith(keys.ASSOCIATIONS):
            Association.decode(data, computed=keys.COMPUTED in key)
        else:
            assert key.startswith(keys.IMAGES) or key in (keys.OCI_LAYOUT, keys.INDEX), key


class Fetch:
    """A program's own registry client: blobs by digest, and a count of what was asked for.

    ``break_after``: bytes after which the connection breaks.
    """

    def __init__(self, *parts: bytes) -> None:
        self.blobs: dict[str, bytes] = {Hash.of(part): part for part in parts}
        self.asked: list[str] = []
        self.opened: list[FetchedStream] = []
        self.break_after: int | None = None
        self._lock = threading.Lock()

    def __call__(self, digest: Digest) -> FetchedStream:
        with self._lock:
            self.asked.append(str(digest))
        if digest not in self.blobs:
            raise ConnectionRefusedError(f"no {digest} here")
        stream = FetchedStream(self.blobs[digest], self.break_after)
        self.opened.append(stream)
        return stream


class FetchedStream(io.BytesIO):
    """A stream that can break: a read that would go past ``break_after`` stops there, the next one fails."""

    def __init__(self, data: bytes, break_after: int | None = None) -> None:
        super().__init__(data)
        self._break_after = break_after
        self.was_closed = threading.Event()

    def close(self) -> None:
        super().close()
        self.was_closed.set()

    def read(self, size: int | None = -1, /) -> bytes:
        if self._break_after is None:
            return super().read(size)
        left = self._break_after - self.tell()
        if left <= 0:
            raise ConnectionResetError("the connection broke")
        return super().read(left if size is None or size < 0 else min(size, left))


def open_cache(*tiers: Tier, verify_always: bool = False, offline: bool = False) -> Cache:
    return Cache(tiers or (near(),), verify_always=verify_always, offline=offline)
