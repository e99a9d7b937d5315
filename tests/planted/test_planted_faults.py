"""The contract is proved by what it catches."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from planted.server import ObjectServer
from planted.store import Store

from layercache.testing import BackendContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend


class TestUnharmed(BackendContract):
    """The backend in which faults are planted keeps every promise without them."""

    shared_between_processes = True
    many = 60
    timeout = 0.5
    lease = 1.0
    speaks_http = True

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with ObjectServer() as running:
            self.server = "127.0.0.1", running.server_port
            with closing(self.through(*self.server)) as backend:
                yield backend

    def reopen(self, backend: Backend) -> Backend:
        assert isinstance(backend, Store)
        return Store(backend.host, backend.port)

    def through(self, host: str, port: int) -> Backend:
        return Store(host, port, self.timeout)


class TestUnharmedOverTCP(TestUnharmed):
    """As if the server did not speak HTTP."""

    speaks_http = False
