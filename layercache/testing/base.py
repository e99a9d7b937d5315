"""Shared parts of the contract: hooks for subclasses, objects, advice, threads."""

from __future__ import annotations

from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import ReadableBuffer

    from layercache.backend import Backend

_T = TypeVar("_T")

KEY = "contract/blobs/sha256/" + "0123456789abcdef" * 4
TEXT = b"The quick brown fox jumps over the lazy dog. " * 100

_FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

few_examples = settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # each example takes some requests, so shrinking would take minutes
    # Intended here: one store for all examples, and a method that many classes inherit.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)


def keys() -> st.SearchStrategy[str]:
    """Generate all kinds of names that `layercache.backend.check_key` accepts, most of them short."""
    component = st.builds(
        str.__add__, st.sampled_from(_FIRST), st.text(_FIRST + ".+:@=-", max_size=20)
    ) | st.text(_FIRST, min_size=200, max_size=255)
    return st.lists(component, min_size=1, max_size=3).map("/".join)


class Hooks:
    """What a subclass defines: the fixture ``backend``; everything else is optional."""

    shared_between_processes = False
    """Whether a forked child that writes to the backend writes to the same store."""

    survives_fork = True
    """Whether a forked child can use the backend. Set it to False if the SDK cannot, because its threads stay
    with the parent: then the child must get a `BackendError`, and must not hang."""

    big = (17 << 20) + 13
    """Bytes of an object that is written in more than one part, if the store has parts."""

    many = 1100
    """More objects than one page of a listing has."""

    heavy = 96 << 20
    """Bytes of the object for measuring memory; 0: not measured."""

    memory = 48 << 20
    """Bytes of memory that reading or writing an object may take, whatever its size."""

    kills = 20
    """How many writers are killed at a random moment of their commit."""

    timeout = 10.0
    """Seconds of silence after which a call of the backend of `through` fails, including its own retries and
    those of its SDK. Keep it short: the tests wait for it."""

    slack = 5.0
    """Seconds that a busy machine may add to `timeout`."""

    lease = 10.0
    """Seconds after which the lock of a killed process is free, for one that is `Lockable`."""

    leaves_leftovers = True
    """Whether a killed write leaves something for ``remove_leftovers``, if the backend has `Leftovers`."""

    writers = 8
    """Processes, and twice as many threads, that change one object at once, for one that is `Conditional`."""

    server: tuple[str, int] | None = None
    """Host and port of the server behind the fixture's store. Set it in the class or in the fixture."""

    speaks_http = False
    """Whether that server uses plain HTTP/1.1, so that single requests can be disturbed."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """An empty store for each test, closed afterwards."""
        raise NotImplementedError("a subclass of BackendContract must define the fixture 'backend'")

    def reopen(self, backend: Backend) -> Backend:  # noqa: ARG002  # for those who override it
        """A second backend on the same store that shares nothing else with the first."""
        pytest.skip("reopen() is not defined: the store is not shared between instances")

    def through(self, host: str, port: int) -> Backend:  # noqa: ARG002  # for those who override it
        """A backend on the fixture's store whose server is reached at this address, with ``self.timeout``."""
        pytest.skip("through() and server are not defined: the store has no server")

    def wants_shared_store(self) -> None:
        if not self.shared_between_processes:
            pytest.skip("the store is not shared between processes")


@contextmanager
def expect(kind: type[BaseException], advice: str) -> Iterator[None]:
    """As `pytest.raises`, with advice for the author if there is another error, or none."""
    try:
        yield
    except kind:
        return
    except Exception as error:
        pytest.fail(f"expected {kind.__name__}, found {type(error).__name__}: {error}\n  look at    {advice}")
    pytest.fail(f"expected {kind.__name__}, found no error\n  look at    {advice}")


def put(backend: Backend, key: str, data: ReadableBuffer) -> None:
    with backend.create(key) as sink:
        sink.write(data)
        sink.commit()


def get(backend: Backend, key: str, start: int = 0, end: int | None = None) -> bytes:
    with backend.open(key, start, end) as reader:
        return reader.read()


def check_bytes(found: bytes, wanted: bytes, what: str, advice: str = "") -> None:
    """Fail unless they are equal; shows where they differ instead of megabytes."""
    if found == wanted:
        return
    pairs = enumerate(zip(found, wanted, strict=False))
    first = next((at for at, (one, other) in pairs if one != other), min(len(found), len(wanted)))
    where = f"found {len(found)} bytes, expected {len(wanted)}; they differ from byte {first} on"
    pytest.fail(f"{what}: {where}" + (f"\n  look at    {advice}" if advice else ""))


def assert_absent(backend: Backend, key: str) -> None:
    """Fail unless the key is missing for every method."""
    with expect(
        NotFoundError, f"open() of {key}, which does not exist: it must raise now, not at the first read"
    ):
        backend.open(key)
    with expect(NotFoundError, f"stat() of {key}, which does not exist"):
        backend.stat(key)
    assert key not in [entry.key for entry in backend.scan()], (
        "scan() lists what open() and stat() do not find"
    )


@lru_cache(maxsize=4)
def pattern(size: int) -> bytes:
    """Return bytes that reveal misplaced, lost or repeated parts; the same for each call."""
    return array("I", range(size // 4 + 1)).tobytes()[:size]


def in_threads(work: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Call the work for each item, eight in parallel; raise the first error."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, items))
