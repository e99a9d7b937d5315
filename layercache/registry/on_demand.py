"""The registry client of a cache, made when the first registry is asked: most commands ask none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from layercache.events import Event
from layercache.oci.forms import COMPRESSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.errors import LayercacheError
    from layercache.events import Observers
    from layercache.registry.client import RegistryClient
    from layercache.registry.settings import RegistrySettings


class ClientOnDemand:
    """Makes one client, and reports as events which mirrors fail and answer again. Thread-safe.

    ``settings`` is called when the client is made.
    """

    def __init__(self, settings: Callable[[], RegistrySettings] | None, observers: Observers) -> None:
        self._settings = settings
        self._observers = observers
        # Guards making the client: of several first requests one makes it, the others wait for that.
        self._lock = threading.Lock()
        self._client: RegistryClient | None = None
        # Names that were reported as failed and not as recovered. Each change is one step; of two threads
        # that report the same name at once, each may take it for new.
        self._lost: set[str] = set()

    def get(self) -> RegistryClient:
        from layercache.registry.client import RegistryClient

        with self._lock:
            if self._client is None:
                self._client = RegistryClient(
                    self.settings(), passed_over=self._report, recovered=self._report_recovery
                )
            return self._client

    def settings(self) -> RegistrySettings:
        """How registries are reached. No client is made for it."""
        from layercache.registry.settings import RegistrySettings

        return self._settings() if self._settings else RegistrySettings()

    def close(self) -> None:
        """Close the client; the next `get` makes another one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _report(self, place: str, error: LayercacheError) -> None:
        repeated = place in self._lost
        self._lost.add(place)
        self._observers.emit(Event("failed", None, COMPRESSED, place, note=error.message, repeated=repeated))

    def _report_recovery(self, place: str) -> None:
        self._lost.discard(place)
        self._observers.emit(Event("recovered", None, COMPRESSED, place))
