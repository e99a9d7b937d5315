"""The tier on a backend, on the stores in the box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tiers.contract import TierContract

from layercache.backend import open_backend
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from layercache.backend import Backend
    from layercache.tiers.tier import Tier


class BackendTierContract(TierContract):
    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def tier(self, backend: Backend) -> Iterator[Tier]:
        tier = BackendTier(backend, Policy())
        yield tier
        tier.close()

    @pytest.fixture
    def read_only(self, backend: Backend) -> Tier:
        return BackendTier(backend, replace(Policy(), readonly=True))

    @pytest.fixture
    def reopen(self, backend: Backend) -> Callable[[], Tier]:
        return lambda: BackendTier(backend, Policy())


class TestOnLocal(BackendTierContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return open_backend(f"file://{tmp_path}/store")


class TestOnMemory(BackendTierContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return open_backend("memory://")
