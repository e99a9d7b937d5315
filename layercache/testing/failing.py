"""The promises when the server behind a store fails: `BackendError` in time, or the right bytes.

Never a missing object, never a short end, never an error of the SDK. For subclasses that define
`Hooks.through`.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from layercache.backend.capabilities import (
    Conditional,
    Exclusive,
    Leftovers,
    Lockable,
    SmallObjects,
    Touchable,
)
from layercache.errors import BackendError, NotFoundError
from layercache.testing.base import KEY, Hooks, check_bytes, expect, get, pattern, put
from layercache.testing.proxy import Fault, FaultProxy
from layercache.testing.tcp_proxy import TCPProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from layercache.backend import Backend

ENOUGH = 10.0
"""Seconds in which a server on a busy machine answers."""

DATA = pattern(700_000)
FOLDER = "contract/failing"

FAILURES = {
    "silent": Fault(stall=0),
    "reset": Fault(reset=True),
    "answer lost": Fault(deaf=True),
}
OTHERS_ANSWERS = {
    "a bare 404": Fault(status=404),
    "a page": Fault(status=404, body=b"<html><h1>404 Not Found</h1></html>"),
    "other JSON": Fault(status=404, body=b'{"error": "no route"}'),
    "forbidden": Fault(status=403, body=b"<html>forbidden</html>"),
}


class FailurePromises(Hooks):
    def test_a_backend_behind_a_proxy_is_on_the_same_store(self, backend: Backend) -> None:
        with self._behind_proxy(patient=True) as (proxy, far):
            with expect(
                NotFoundError, "through(): only the store may report a missing object, also through a proxy"
            ):
                far.open(KEY)
            put(backend, KEY, DATA)
            assert get(far, KEY) == DATA, "through() must return a backend on the fixture's store"
            assert proxy.connections > 0, "through() must use the given address"

    def test_a_server_that_refuses_is_a_backend_error_in_time(self, backend: Backend) -> None:
        put(backend, KEY, DATA)
        with self._behind_proxy() as (proxy, far), proxy.refusing():
            self._all_fail(far, "nothing listens on the server's port")

    @pytest.mark.parametrize("how", FAILURES)
    def test_a_server_that_fails_is_a_backend_error_in_time(self, backend: Backend, how: str) -> None:
        put(backend, KEY, DATA)
        with self._behind_proxy() as (proxy, far):
            proxy.always = FAILURES[how]
            self._all_fail(far, f"the server is {how}")

    def test_an_answer_that_makes_no_sense_is_a_backend_error(self, backend: Backend) -> None:
        put(backend, KEY, DATA)
        with self._behind_proxy(TCPProxy) as (proxy, far):
            proxy.always = Fault(status=1, body=b"* nonsense *\r\n\r\n")
            self._all_fail(far, "the server sends nonsense")

    def test_an_answer_of_somebody_else_is_not_absence(self, backend: Backend) -> None:
        if self.server and not self.speaks_http:
            pytest.skip("the server does not speak HTTP")
        put(backend, KEY, DATA)
        for what, fault in OTHERS_ANSWERS.items():
            with self._behind_proxy() as (proxy, far):
                proxy.always = fault
                self._all_fail(far, f"a proxy answers {what} instead of the store")

    def test_a_backend_works_again_when_its_server_does(self, backend: Backend) -> None:
        put(backend, KEY, DATA)
        with self._behind_proxy(patient=True) as (proxy, far):
            check_bytes(get(far, KEY), DATA, "reading through a proxy that changes nothing")
            with proxy.refusing():
                proxy.drop()
                with suppress(BackendError):
                    far.stat(KEY)
            check_bytes(get(far, KEY), DATA, "reading when the server is back")
            put(far, f"{KEY}-other", DATA)
            check_bytes(get(backend, f"{KEY}-other"), DATA, "writing when the server is back")

    @pytest.mark.parametrize("how", ["cut", "stalled"])
    @pytest.mark.parametrize(("start", "end"), [(0, None), (1000, 600_000)], ids=["whole", "range"])
    def test_a_reader_gives_all_bytes_or_raises(
        self, backend: Backend, how: str, start: int, end: int | None
    ) -> None:
        put(backend, KEY, DATA)
        with self._behind_proxy() as (proxy, far):
            proxy.always = Fault(cut_answer=200_000) if how == "cut" else Fault(stall=200_000)
            found = self._in_time({"reading": lambda: _read(far, start, end)})["reading"]
            if not isinstance(found, BackendError):
                assert isinstance(found, bytes), f"a response that is {how} returned {found!r}"
                advice = (
                    "a reader returns size bytes or raises: compare the number of bytes with size at the end"
                )
                check_bytes(found, DATA[start:end], f"a response that is {how}", advice)

    def test_a_listing_that_breaks_is_not_its_end(self, backend: Backend) -> None:
        wanted = {f"{FOLDER}/{number}-{'x' * 80}": b"small" * 20 for number in range(40)}
        for key, data in wanted.items():
            put(backend, key, data)
        with self._behind_proxy() as (proxy, far):
            proxy.always = Fault(cut_answer=2000)
            calls: dict[str, Callable[[], object]] = {
                "scan()": lambda: {entry.key for entry in far.scan(f"{FOLDER}/")}
            }
            if isinstance(far, SmallObjects):
                small = far
                calls["read_small()"] = lambda: dict(small.read_small(f"{FOLDER}/"))
            for call, found in self._in_time(calls).items():
                if not isinstance(found, BackendError):
                    whole = wanted if call == "read_small()" else set(wanted)
                    assert found == whole, f"{call} of a truncated response returned a part and no error"

    def test_a_write_that_breaks_publishes_all_or_nothing(self, backend: Backend) -> None:
        self._break_writes(backend, DATA)

    def test_a_big_write_that_breaks_publishes_all_or_nothing(self, backend: Backend) -> None:
        self._break_writes(backend, pattern(self.big))

    def test_a_conditional_write_whose_response_is_lost_was_done(self, backend: Backend) -> None:
        if not isinstance(backend, Conditional) or not backend.honours_conditions():
            pytest.skip("this backend is not Conditional, or its store ignores conditions")
        with self._behind_proxy(patient=True) as (proxy, far):
            assert isinstance(far, Conditional)
            put(far, f"{KEY}-other", b"")  # connected, so that the next request is the write
            version = None
            for data in (b"first", b"second", b""):
                proxy.on("", Fault(deaf=True, after=0 if self.speaks_http else 1))
                with suppress(BackendError):
                    assert far.write_if(KEY, data, version), (
                        "write_if() has sent a write again whose response was lost, and was refused by its"
                        " own first attempt\n  look at    retries: compare what is there with what was sent"
                    )
                proxy.forgive()
                if data:
                    found, version = backend.read_versioned(KEY)
                    assert found == data

    def _break_writes(self, backend: Backend, data: bytes) -> None:
        faults = {
            "cut": Fault(cut_request=100_000),
            "stalled": Fault(stall=0, after=100_000),
            "answer lost": Fault(deaf=True, after=0 if self.speaks_http else len(data)),
        }
        with self._behind_proxy() as (proxy, far):
            for number, (how, fault) in enumerate(faults.items()):
                for often in ("always", "once"):
                    key = f"{FOLDER}/{number}-{often}"
                    if often == "always":
                        proxy.always = fault
                    else:
                        proxy.on("", fault)
                    found = self._in_time({"writing": partial(put, far, key, data)})["writing"]
                    proxy.always = Fault()
                    self.check_written(backend, key, data, found, f"a write that is {how} {often}")

    def check_written(self, backend: Backend, key: str, data: bytes, found: object, what: str) -> None:
        """Fail unless what is published fits what a write that broke gave: None, or what it raised."""
        assert found is None or isinstance(found, BackendError), (
            f"{what} returned {found!r}\n  look at    create(), write() and commit(): translate SDK errors"
        )
        try:
            kept = get(backend, key)
        except NotFoundError:
            assert found is not None, f"{what}: commit() returned, and nothing is published"
            if key not in [entry.key for entry in backend.scan()]:
                return
            try:  # a service may finish a request whose client has gone
                kept = get(backend, key)
            except NotFoundError:
                pytest.fail(f"{what}: scan() lists what is not there")
        check_bytes(kept, data, what, "publish in one step, when all bytes are there")

    def _all_fail(self, far: Backend, why: str) -> None:
        """Fail unless every call raises a `BackendError` with its cause, in time."""
        for call, found in self._in_time(_calls(far)).items():
            where = f"{call} where {why}"
            if isinstance(found, NotFoundError):
                pytest.fail(f"{where}: only the store can report a missing object: {found!r}")
            if not isinstance(found, Exception):
                pytest.fail(f"{where}: expected BackendError, found {str(found)[:100]!r}")
            if not isinstance(found, BackendError):
                pytest.fail(
                    f"{where}: expected BackendError, found {found!r}\n"
                    "  look at    the errors of the SDK: translate them around every call"
                )
            assert found.__cause__, f"{where}: raise BackendError(...) from error, so that its cause is kept"

    def _in_time(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, object]:
        """Make all calls in parallel; return their results or errors. Fail if one takes too long."""
        found: dict[str, object] = {}

        def make(name: str, call: Callable[[], object]) -> None:
            try:
                found[name] = call()
            except Exception as error:
                found[name] = error

        # Daemons: one that hangs must not keep the test run from ending.
        threads = [threading.Thread(target=make, args=item, daemon=True) for item in calls.items()]
        limit = time.monotonic() + self.timeout + self.slack
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        late = [name for name in calls if name not in found]
        if late:
            pytest.fail(
                f"{', '.join(late)}: still waiting after {self.timeout + self.slack:g} s\n"
                f"  look at    the timeout of every socket, and who retries: timeout ({self.timeout:g} s)"
                " limits all attempts together, including those of the SDK"
            )
        return found

    @contextmanager
    def _behind_proxy(
        self, kind: type[FaultProxy] | None = None, *, patient: bool = False
    ) -> Iterator[tuple[FaultProxy, Backend]]:
        """A proxy, and a backend that reaches the server through it; ``patient`` if it should answer."""
        if self.server is None:
            pytest.skip("through() and server are not defined: the store has no server")
        host, port = self.server
        if patient:
            self.timeout = max(self.timeout, ENOUGH)
        kind = kind or (FaultProxy if self.speaks_http else TCPProxy)
        with ExitStack() as later, kind(port, host) as proxy:
            far = self.through("127.0.0.1", proxy.port)
            later.callback(far.close)  # after the proxy has let go what hangs
            yield proxy, far


def _read(backend: Backend, start: int, end: int | None) -> bytes:
    with backend.open(KEY, start, end) as reader:
        buffer = bytearray(100_000)
        found = bytearray()
        while count := reader.readinto(buffer):
            found += buffer[:count]
    return bytes(found)


def _calls(backend: Backend) -> dict[str, Callable[[], object]]:
    """Return every method that contacts the server, by name."""
    calls: dict[str, Callable[[], object]] = {
        "open()": lambda: get(backend, KEY),
        "open() of a range": lambda: get(backend, KEY, 5, 100),
        "stat()": lambda: backend.stat(KEY),
        "scan()": lambda: list(backend.scan()),
        "delete()": lambda: backend.delete(f"{KEY}-other"),
        "create(), write() and commit()": lambda: put(backend, f"{KEY}-new", DATA),
    }
    if isinstance(backend, SmallObjects):
        calls["read_small()"] = lambda: list(backend.read_small(f"{FOLDER}/"))
    if isinstance(backend, Touchable):
        calls["touch()"] = lambda: backend.touch(KEY)
    if isinstance(backend, Exclusive):
        calls["create_new()"] = lambda: backend.create_new(f"{KEY}-exclusive", b"small")
    if isinstance(backend, Conditional):
        calls["honours_conditions()"] = backend.honours_conditions
        calls["read_versioned()"] = lambda: backend.read_versioned(KEY)
        calls["write_if()"] = lambda: backend.write_if(f"{KEY}-exclusive", b"small", "1")
    if isinstance(backend, Leftovers):
        calls["remove_leftovers()"] = lambda: backend.remove_leftovers(3600)
    if isinstance(backend, Lockable):
        calls["lock()"] = lambda: _lock(backend)
    return calls


def _lock(backend: Lockable) -> object:
    with backend.lock("name", timeout=0) as held:
        return held
