"""How a registry tier reaches its repository: opened when it is first asked, shared by the tier's stores."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import BackendError, SourceError
from layercache.registry.repository import Repository
from layercache.tiers.registry.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Opened:
    client: RegistryClient
    repository: Repository
    records: Records


class Connection:
    """One repository, and the records in it. ``new_client`` is called when the registry is first asked.

    ``mount_from``: another repository of the registry that may have the blobs that come next.
    """

    def __init__(self, name: str, reference: Reference, new_client: Callable[[], RegistryClient]) -> None:
        self.name = name
        self.reference = reference
        self.mount_from = ""
        self._new_client = new_client
        self._opened: _Opened | None = None
        # Held while the client is made: of several first requests one makes it, the others wait for that.
        self._opening = threading.Lock()

    @property
    def client(self) -> RegistryClient:
        return self._open().client

    @property
    def repository(self) -> Repository:
        return self._open().repository

    @property
    def records(self) -> Records:
        return self._open().records

    @contextmanager
    def failing_as_backend(self) -> Iterator[None]:
        """Inside, an error of the registry client is a `BackendError` of the tier."""
        try:
            yield
        except SourceError as error:
            raise BackendError(
                f"{self.name}: {error.message}", looked_in=error.looked_in, hint=error.hint
            ) from error

    def each(self, items: Iterator[_T]) -> Iterator[_T]:
        """The items of a listing, whose requests fail as a backend does."""
        while True:
            with self.failing_as_backend():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def close(self) -> None:
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.records.close()
            opened.client.close()

    def _open(self) -> _Opened:
        with self._opening:
            if self._opened is None:
                client, reference = self._new_client(), self.reference
                repository = Repository(client, reference.registry, reference.repository)
                self._opened = _Opened(client, repository, Records(repository))
            return self._opened
