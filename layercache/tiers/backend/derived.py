"""Derived objects in a backend: a folder for each blob, an object for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.tiers import keys
from layercache.tiers.stores import DerivedStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.backend import Backend, Entry, Reader
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Policy
    from layercache.tiers.quota import Quota


class BackendDerived(DerivedStore):
    """``room`` is reserved for an object before it is published, as for a blob."""

    def __init__(self, backend: Backend, policy: Policy, room: Quota) -> None:
        self._backend = backend
        self._policy = policy
        self._room = room

    def open(self, kind: str, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        return self._backend.open(keys.derived(kind, name), start, end)

    def put(self, kind: str, name: Hash, chunks: Iterable[bytes]) -> None:
        if self._policy.readonly:
            return
        size = 0
        with self._backend.create(keys.derived(kind, name)) as sink:
            for chunk in chunks:
                sink.write(chunk)
                size += len(chunk)
            if self._room.fits(size):
                with self._room.reserve(size):
                    sink.commit()

    def delete(self, name: Hash) -> None:
        delete_derived(self._backend, name)

    def scan(self) -> Iterator[tuple[str, Hash, Entry]]:
        for entry in self._backend.scan(keys.DERIVED):
            if (found := keys.derived_name(entry.key)) is not None:
                yield *found, entry


def delete_derived(backend: Backend, name: Hash) -> None:
    """Remove all that was derived from a blob."""
    for entry in list(backend.scan(keys.derived_of(name))):
        backend.delete(entry.key)
