"""The suite that every backend must pass, for whoever writes one. Wants pytest and hypothesis.

Subclass `BackendContract` in a test module and give it a fixture::

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self) -> Iterator[Backend]:
            with closing(MyBackend(...)) as backend:
                yield backend

``pytest.register_assert_rewrite("layercache.testing")`` in your conftest.py makes failures say more.
"""

from __future__ import annotations

from layercache.testing.base import KEY, assert_absent, get, in_forked_child, keys, put
from layercache.testing.capabilities import CapabilityPromises
from layercache.testing.listing import ListingPromises
from layercache.testing.reading import ReadingPromises
from layercache.testing.sharing import SharingPromises
from layercache.testing.writing import WritingPromises

__all__ = ["KEY", "BackendContract", "assert_absent", "get", "in_forked_child", "keys", "put"]


class BackendContract(ReadingPromises, WritingPromises, ListingPromises, SharingPromises, CapabilityPromises):
    """What a backend promises, each promise one test. `Hooks` lists what a subclass gives."""
