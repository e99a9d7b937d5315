"""What was computed from blobs: found in trusted tiers, made once, and kept.

Anybody who can write to a tier could put another index there, and an index decides which bytes are
returned. So only what a trusted tier has counts; from any other it is neither read nor copied.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import BackendError, FormatError, NotFoundError
from layercache.events import Event, Observers
from layercache.oci.digest import Hash
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.streams.readers import read_bounded, read_full
from layercache.tiers import keys
from layercache.transfer.layer_lock import LayerLock, LayerLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier

STORED_MAX = 256 << 20
"""Bytes of a derived object at most."""

_BEGINNING = 128
"""Bytes of an object that tell it from others: they have its hash."""

_T = TypeVar("_T")


class Derived:
    """Finds, makes and keeps derived objects. Thread-safe.

    ``_lock`` guards the locks of what is being made, one for each name, and how many threads use each. It
    is held for a moment only. A lock of a name is held while the object is made, and the lock on the disk
    is taken inside it.
    """

    def __init__(self, tiers: Sequence[Tier], keeper: TierWriter, observers: Observers) -> None:
        self._tiers = tiers
        self._keeper = keeper
        self._observers = observers
        self._leads = LayerLocks()
        self._making: dict[Hash, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()
        self._is_hint_given = False

    def hint(self, name: Hash, note: str) -> None:
        """Report once that indexes cannot be made here."""
        if not self._is_hint_given:
            self._is_hint_given = True  # two threads at once report it twice: no harm
            self._observers.emit(Event("unindexed", name, COMPRESSED, "", note=note))

    def find(
        self,
        kind: str,
        identity: LayerIdentity,
        decode: Callable[[bytes], _T | None],
        *,
        again: bool = False,
    ) -> _T | None:
        """Return the first object of this kind that a trusted tier has of a layer, or None, decoded.

        ``decode`` returns None for an object about another layer, and raises `FormatError` for a broken
        one: it is reported and removed. ``again``: it was not there before; who has made it since on this
        machine has kept it near, so no far tier is asked. What a far tier has is kept in the nearest one.
        """
        trusted = [tier for tier in self._tiers if tier.policy.trusted]
        near = [tier for tier in trusted if not tier.remote]
        for tier in (near or trusted) if again else trusted:
            for name in _names(tier, identity):
                data = self._read(tier, kind, name)
                if data is None:
                    continue
                try:
                    value = decode(data)
                except FormatError as error:
                    self._drop(tier, kind, name, error)
                    continue
                if value is not None:
                    if tier.remote:
                        self._keep_near(kind, identity, data, nearer_than=tier)
                    return value
        return None

    def keep(self, kind: str, identity: LayerIdentity, data: bytes) -> None:
        """Keep an object that was made here: in the nearest tier, and in the background in all far ones."""
        self._keep_near(kind, identity, data)
        for tier in self._keeper.writable():
            if tier.remote:
                name = next(iter(_names(tier, identity)), None)
                if name is not None:
                    self._send(tier, kind, name, data, about=identity.digest or name)

    def drop(self, kind: str, identity: LayerIdentity, why: FormatError) -> None:
        """Remove objects that turned out to be wrong, in trusted tiers."""
        for tier in self._tiers:
            if tier.policy.trusted:
                for name in _names(tier, identity):
                    if self._read(tier, kind, name) is not None:
                        self._drop(tier, kind, name, why)

    @contextmanager
    def making(self, kind: str, name: Hash) -> Iterator[LayerLock | None]:
        """Keep others from making the same, in this process and on this disk. They should look again.

        It only saves work, as `layercache.transfer.layer_lock` explains. Call ``beat`` as the work gets on.
        """
        key = Hash.of(f"{kind} {name}".encode())
        with self._lock:
            lock, users = self._making.get(key, (threading.Lock(), 0))
            self._making[key] = lock, users + 1
        try:
            with lock:
                tier = next((tier for tier in self._keeper.writable() if not tier.remote), None)
                lead = self._leads.take(tier, key) if tier else None
                try:
                    yield lead
                finally:
                    if lead:
                        lead.end()
        finally:
            with self._lock:
                lock, users = self._making.pop(key)
                if users > 1:
                    self._making[key] = lock, users - 1

    def _read(self, tier: Tier, kind: str, name: Hash) -> bytes | None:
        try:
            with tier.derived.open(kind, name) as reader:
                return read_bounded(reader, STORED_MAX, f"{kind} of {name}")
        except NotFoundError:
            return None
        except FormatError as error:
            self._drop(tier, kind, name, error)
        except BackendError as error:
            tier.mark_failed(error)
        return None

    def _drop(self, tier: Tier, kind: str, name: Hash, why: FormatError) -> None:
        note = f"its {kind} was removed, and is made again when it is needed: {why.message}"
        self._observers.emit(Event("failed", name, COMPRESSED, tier.name, note=note))
        if not tier.policy.readonly:
            tier.derived.delete(name)

    def _keep_near(
        self, kind: str, identity: LayerIdentity, data: bytes, nearer_than: Tier | None = None
    ) -> None:
        for tier in self._tiers:
            if tier is nearer_than or tier.remote:
                return
            if tier.policy.readonly or tier.write_failure is not None:
                continue
            # It goes with a blob, so it is kept under the name of one that is there.
            names = _names(tier, identity)
            name = next((name for name in names if tier.blobs.has(name)), names[0] if names else None)
            if name is not None:
                tier.derived.put(kind, name, [data])
                self._keeper.changed()
                return

    def _send(self, tier: Tier, kind: str, name: Hash, data: bytes, *, about: Hash) -> None:
        def put() -> None:
            try:
                with tier.derived.open(kind, name, 0, _BEGINNING) as reader:
                    there = read_full(reader, _BEGINNING)
            except NotFoundError:
                there = b""
            if not data.startswith(there or b"-"):
                tier.derived.put(kind, name, [data])

        self._keeper.far.soon(tier, keys.derived(kind, name), put, about, size=len(data))


def _names(tier: Tier, identity: LayerIdentity) -> list[Hash]:
    """Under which blobs a tier may have what is derived from a layer, the likely one first."""
    digests: list[Hash] = [*identity.digests()]
    diff_id: list[Hash] = [identity.diff_id] if identity.diff_id else []
    if not tier.remote:
        return digests + diff_id
    return digests[:1] if tier.policy.keep != UNCOMPRESSED else diff_id
