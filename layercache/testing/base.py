"""What the parts of the contract share: hooks for a subclass, objects, threads, forked children."""

from __future__ import annotations

import os
import select
import signal
import warnings
from array import array
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import ReadableBuffer

    from layercache.backend import Backend

_T = TypeVar("_T")

KEY = "contract/blobs/sha256/" + "0123456789abcdef" * 4
TEXT = b"The quick brown fox jumps over the lazy dog. " * 100

PATIENCE = 60.0
"""Seconds after which a child or a thread that says nothing is taken to hang."""

_FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

few_examples = settings(
    max_examples=25,
    deadline=None,
    database=None,
    # One store for all examples is what is wanted here, and so is a method that many classes inherit.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)


def keys() -> st.SearchStrategy[str]:
    """Object names of the whole grammar of `layercache.backend.check_key`, most of them short."""
    component = st.builds(
        str.__add__, st.sampled_from(_FIRST), st.text(_FIRST + ".+:@=-", max_size=20)
    ) | st.text(_FIRST, min_size=200, max_size=255)
    return st.lists(component, min_size=1, max_size=3).map("/".join)


class Hooks:
    """What a subclass says of its backend: the fixture ``backend``, all else is optional."""

    shared_between_processes = False
    """Whether a forked child that writes to the backend writes to the same store."""

    big = (17 << 20) + 13
    """Bytes of an object that is written in more than one part, if the store has such things."""

    many = 1100
    """More objects than one page of a listing has."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """An empty store for each test, closed afterwards."""
        raise NotImplementedError("a subclass of BackendContract gives the fixture 'backend'")

    def reopen(self, backend: Backend) -> Backend:  # noqa: ARG002  # for those who override it
        """A second backend on the same store that shares nothing else with the first."""
        pytest.skip("reopen() is not given: the store is not shared between instances")


def put(backend: Backend, key: str, data: ReadableBuffer) -> None:
    with backend.create(key) as sink:
        sink.write(data)
        sink.commit()


def get(backend: Backend, key: str, start: int = 0, end: int | None = None) -> bytes:
    with backend.open(key, start, end) as reader:
        return reader.read()


def assert_absent(backend: Backend, key: str) -> None:
    """No way leads to the key."""
    with pytest.raises(NotFoundError):
        backend.open(key)
    with pytest.raises(NotFoundError):
        backend.stat(key)
    assert key not in [entry.key for entry in backend.scan()]


@lru_cache(maxsize=4)
def pattern(size: int) -> bytes:
    """Bytes in which a part that is misplaced, lost or doubled shows; the same at each call."""
    return array("I", range(size // 4 + 1)).tobytes()[:size]


def in_threads(work: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Do the work for each item, eight at a time; raises what any of them raises."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, items))


def in_forked_child(work: Callable[[], object]) -> str:
    """What the work returns in a forked child, as a string; or the name of what it raises; or "killed"."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads. Just these must work: callers have threads, and fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        answer = "?"
        try:
            answer = str(work())
        except AssertionError as error:
            answer = f"AssertionError: {error}"
        except BaseException as error:
            answer = type(error).__name__
        finally:
            os.write(writing, answer.encode()[:4096])
            os._exit(0)  # not a step further: the rest of the test run is the parent's
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
            pytest.fail(f"a forked child hangs: nothing came back in {PATIENCE:.0f} s")
        answer = os.read(reading, 4096).decode()
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else answer
