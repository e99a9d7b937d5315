"""The tests that every backend must pass, for authors of backends. Needs pytest and hypothesis.

Subclass `BackendContract` in a test module and add a fixture::

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self) -> Iterator[Backend]:
            with closing(MyBackend(...)) as backend:
                yield backend

``pytest.register_assert_rewrite("layercache.testing")`` in your conftest.py shows more in failures.
"""

from __future__ import annotations

from layercache.testing.base import KEY, assert_absent, get, keys, put
from layercache.testing.capabilities import CapabilityPromises
from layercache.testing.children import in_forked_child
from layercache.testing.conditions import ConditionPromises
from layercache.testing.failing import FailurePromises
from layercache.testing.killing import KillPromises
from layercache.testing.listing import ListingPromises
from layercache.testing.locking import LockingPromises
from layercache.testing.memory import MemoryPromises
from layercache.testing.proxy import Fault, FaultProxy
from layercache.testing.reading import ReadingPromises
from layercache.testing.sharing import SharingPromises
from layercache.testing.tcp_proxy import TCPProxy
from layercache.testing.writing import WritingPromises

__all__ = [
    "KEY",
    "BackendContract",
    "Fault",
    "FaultProxy",
    "TCPProxy",
    "assert_absent",
    "get",
    "in_forked_child",
    "keys",
    "put",
]


# pytest runs the tests of the last base first, so the simplest promises are last: breaking one of them breaks
# others too, and with -x the first failure names the simplest.
class BackendContract(
    MemoryPromises,
    FailurePromises,
    KillPromises,
    LockingPromises,
    ConditionPromises,
    CapabilityPromises,
    SharingPromises,
    ListingPromises,
    WritingPromises,
    ReadingPromises,
):
    """The promises of a backend, one test each. `Hooks` lists what a subclass may define."""
