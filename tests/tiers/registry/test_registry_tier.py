"""The tier in a registry: the promises of every tier, on a real one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from servers.registry import Registry
from tiers.contract import TierContract

from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.tiers.tier import Tier

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for all; each test has a repository of its own."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def url(server: Registry) -> str:
    return f"oci://{server.host}/team/cache{next(_numbers)}"


class TestInRegistry(TierContract):
    @pytest.fixture
    def tier(self, url: str) -> Iterator[Tier]:
        tier = open_tier(url, nearest=False)
        yield tier
        tier.close()

    @pytest.fixture
    def read_only(self, url: str) -> Iterator[Tier]:
        tier = open_tier(f"{url}?readonly=true", nearest=False)
        yield tier
        tier.close()

    @pytest.fixture
    def reopen(self, url: str) -> Iterator[Callable[[], Tier]]:
        opened = []

        def reopen() -> Tier:
            opened.append(open_tier(url, nearest=False))
            return opened[-1]

        yield reopen
        for tier in opened:
            tier.close()
