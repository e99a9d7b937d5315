"""Azure's blobs, by the adapter for obspec's protocols, against Azurite."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.azurite import ENVIRONMENT, Azurite

import layercache
from layercache.backend import Backend, open_backend
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache.testing import KEY, BackendContract, get, put
from layercache_backends.obspec import ObspecBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def url_of(server: Azurite, container: str, prefix: str = "a/prefix") -> str:
    return f"az://{container}/{prefix}?endpoint_url={server.url}"


@pytest.mark.slow
class TestAzure(BackendContract):
    survives_fork = False
    timeout = 1.0
    slack = 30.0
    speaks_http = True
    memory = 96 << 20  # two parts in flight, in memory that obstore gives back late

    @pytest.fixture
    def backend(self, azurite: Azurite) -> Iterator[Backend]:
        self.used = url_of(azurite, azurite.container())
        self.server = ("127.0.0.1", azurite.port)
        self.server_address = f"127.0.0.1:{azurite.port}"
        with closing(open_backend(self.used)) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(self.used)

    def through(self, host: str, port: int) -> Backend:
        there = self.used.replace(self.server_address, f"{host}:{port}")
        return open_backend(f"{there}&timeout={self.timeout}")


@pytest.mark.slow
class TestObspec(BackendContract):
    """The adapter on a store that is no service's: obstore's own in memory."""

    survives_fork = False

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        from obstore.store import MemoryStore

        with closing(ObspecBackend("obspec://memory", MemoryStore, prefix="below")) as backend:
            yield backend


def test_layers_are_kept_and_found_by_both_names(azurite: Azurite, tmp_path: Path) -> None:
    url = url_of(azurite, azurite.container(), "")
    (tmp_path / "tar").write_bytes(bytes(1024))
    with layercache.open(url) as cache:
        layer = cache.put(tmp_path / "tar")
    with layercache.open(url) as cache, cache.get(layer.diff_id).uncompressed() as tar:
        assert tar.read() == bytes(1024)


def test_a_container_that_is_not_there_is_no_absence(azurite: Azurite) -> None:
    with closing(open_backend(url_of(azurite, "nowhere"))) as backend:
        with pytest.raises(BackendError, match=r"az://nowhere/a/prefix: .*404"):
            backend.open(KEY)
        with pytest.raises(BackendError, match=r"az://nowhere/a/prefix: .*404"):
            backend.stat(KEY)


def test_both_schemes_name_one_place(azurite: Azurite) -> None:
    used = url_of(azurite, azurite.container())
    with closing(open_backend(used)) as one, closing(open_backend(used.replace("az:", "azure:"))) as other:
        put(one, KEY, b"kept")
        assert get(other, KEY) == b"kept"
        other.delete(KEY)
        with pytest.raises(NotFoundError):
            one.stat(KEY)


def test_a_url_without_a_container_says_what_one_looks_like() -> None:
    with pytest.raises(ConfigError, match="expected az://container/prefix"):
        open_backend("az:///prefix")
