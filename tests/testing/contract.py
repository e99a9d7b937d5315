"""The contract on `testing.store`, which `test_planted_faults` runs: unharmed, and with each fault."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from testing.server import ObjectServer
from testing.store import Store

from layercache.testing import BackendContract
from layercache.testing.base import Hooks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend


class OnServer(Hooks):
    shared_between_processes = True
    many = 60
    timeout = 0.5
    lease = 1.0
    speaks_http = True

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with ObjectServer() as running:
            self.server = "127.0.0.1", running.server_port
            with closing(Store(*self.server)) as backend:
                yield backend

    def reopen(self, backend: Backend) -> Backend:
        assert isinstance(backend, Store)
        return Store(backend.host, backend.port)

    def through(self, host: str, port: int) -> Backend:
        return Store(host, port, self.timeout)


class TestHarmed(OnServer, BackendContract):
    """Small and in a hurry, as nothing here is meant to pass."""

    slack = 1.0
    big = (4 << 20) + 3
    heavy = 48 << 20
    memory = 24 << 20
