"""The local backend: the contract on both ways to publish; reading leaves nothing; what it loads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import a_backend, run_python

from layercache.backend import Backend, open_backend
from layercache.errors import BackendError
from layercache.testing import KEY, BackendContract, assert_absent
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestLocal(BackendContract):
    shared_between_processes = True
    leaves_leftovers = False  # files without a name go with their process

    @pytest.fixture
    def backend(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Backend]:
        backend = open_backend(f"file://{tmp_path}/cache")
        yield backend
        backend.close()
        # An unfinished write has no name. What replaces an object has one for a moment; a kill leaves it.
        left = len([*tmp_path.glob("cache/tmp/*")])
        assert left <= (1 if "killed" in request.node.name else 0)

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(backend.url)


@pytest.mark.slow
class TestWithoutUnnamedFiles(BackendContract):
    """As on macOS, NFS, or without /proc."""

    shared_between_processes = True

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return self.without(a_backend(tmp_path / "cache"))

    def reopen(self, backend: Backend) -> Backend:
        assert isinstance(backend, LocalBackend)
        return self.without(LocalBackend(backend.root))

    def without(self, backend: LocalBackend) -> LocalBackend:
        backend.unnamed_files = False
        return backend


# Reading leaves nothing


def test_a_cache_that_is_only_looked_at_leaves_no_folder(tmp_path: Path) -> None:
    backend = a_backend(tmp_path / "no" / "cache")
    assert_absent(backend, KEY)
    assert list(backend.scan("blobs/")) == []
    backend.delete(KEY)
    backend.close()
    assert os.listdir(tmp_path) == []


def test_a_root_that_is_a_file_has_no_objects_and_takes_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = a_backend(tmp_path / "file")
    assert_absent(backend, KEY)
    with pytest.raises(BackendError, match=r"file: writing contract/"):
        backend.create(KEY)


def test_a_root_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"writing contract/.*No such file or directory"):
        a_backend(Path("/proc/no/cache")).create(KEY)


# Imports


def test_importing_the_backend_loads_nothing_heavy() -> None:
    heavy = ["dataclasses", "ctypes", "pathlib", "tempfile", "hashlib"]
    program = f"import sys; import layercache_backends.local; print([n for n in {heavy} if n in sys.modules])"
    assert run_python(program) == "[]\n"
