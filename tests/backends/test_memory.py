"""The memory backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from layercache.backend import Backend, open_backend
from layercache.errors import ConfigError
from layercache.testing import KEY, BackendContract, assert_absent, get, put

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestAnonymous(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        backend = open_backend("memory://")
        yield backend
        backend.close()


class TestNamed(BackendContract):
    @pytest.fixture
    def backend(self, request: pytest.FixtureRequest) -> Iterator[Backend]:
        backend = open_backend(f"memory://{hash(request.node.nodeid)}")
        yield backend
        backend.close()

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(backend.url)


def test_two_urls_of_one_name_are_one_store_for_as_long_as_the_process_lives() -> None:
    first = open_backend("memory://one-store")
    put(first, KEY, b"kept")
    first.close()
    del first
    assert get(open_backend("memory://one-store"), KEY) == b"kept"
    assert_absent(open_backend("memory://another"), KEY)


def test_each_store_without_a_name_is_a_fresh_one() -> None:
    first = open_backend("memory://")
    put(first, KEY, b"mine")
    assert_absent(open_backend("memory://"), KEY)


@pytest.mark.parametrize("url", ["memory:///", "memory:///path", "memory://name/path", "memory://name/"])
def test_a_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"has no folders(.|\n)*expected memory://name"):
        open_backend(url)


def test_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown option size(.|\n)*options of memory://: none"):
        open_backend("memory://name?size=5")


def test_a_prefix_that_is_no_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="not a folder"):
        open_backend("memory://").scan("blobs")
