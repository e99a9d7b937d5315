"""What only some backends can do is guarded as the rest is, and a guard can do what its backend can."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.calling import Caller
from servers.misbehaving import BadBackend, Options, ThrottledError, install

from layercache.backend import Leftover, RewindError, SinkBase, capabilities
from layercache.backend.capabilities import Finding
from layercache.errors import BackendError, NotFoundError
from layercache.tiers.guarded import guarded
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROTOCOLS = [
    each
    for each in vars(capabilities).values()
    if "_methods" in getattr(each, "__dict__", {})
    and each.__module__ == capabilities.__name__
    # what a spool, a sink and a reader can do
    and each
    not in (capabilities.Spliced, capabilities.Stamped, capabilities.Counting, capabilities.CopyingReader)
]


class Able(MemoryBackend):
    """All that a backend may be able to do, and fails in each where it is told to."""

    fails: tuple[str, ...] = ()

    def _check(self, call: str) -> None:
        if call in self.fails:
            raise ThrottledError(call)

    def spool(self) -> Any:
        self._check("spool")
        outer, spool = self, super().spool()

        class Spool:
            def write(self, data: Any, /) -> None:
                outer._check("spool.write")
                spool.write(data)

            def readinto_at(self, offset: int, buffer: Any, /) -> int:
                outer._check("spool.readinto_at")
                more = "spool claims more" in outer.fails
                return spool.readinto_at(offset, buffer) + 10_000 * more

            def publish(self, key: str) -> None:
                outer._check("spool.publish")
                if "spool publishes nothing" not in outer.fails:
                    spool.publish(key)

            def close(self) -> None:
                spool.close()
                outer._check("spool.close")

        return Spool()

    def create(self, key: str) -> Any:
        return self.create_expendable(key)

    def create_expendable(self, key: str) -> Any:
        self._check("create_expendable")
        return MemoryBackend.create(MemoryBackend("shared"), key)

    def create_sized(self, key: str, size: int) -> Any:
        self._check("create_sized")
        outer, sink = self, MemoryBackend.create(MemoryBackend("shared"), key)

        class Sink(SinkBase):
            def write(self, data: Any, /) -> None:
                outer._rewind("sized.write")
                sink.write(data)

            def commit(self) -> None:
                outer._rewind("sized.commit")
                sink.commit()

            def abort(self) -> None:
                sink.abort()

        return Sink()

    def _rewind(self, call: str) -> None:
        self._check(call)
        for fail in self.fails:
            if fail.startswith(f"{call} back to "):
                raise RewindError(json.loads(fail.rpartition(" ")[2]))

    def read_small(self, prefix: str) -> Iterator[Any]:
        yield prefix + "a", b"1"
        self._check("read_small")
        yield (prefix + "b", "text") if "no bytes" in self.fails else (prefix + "b", b"2")

    def path(self, key: str) -> Any:
        self._check("path")
        return None if "no path" in self.fails else f"/x/{key}"

    def move(self, key: str, to: str) -> None:
        self._check("move")

    def touch(self, key: str) -> None:
        self._check("touch")

    @contextmanager
    def lock(self, name: str, *, timeout: float | None = None, lasting: bool = True) -> Iterator[Any]:
        self._check("lock")
        outer = self

        class Lock:
            def note(self) -> Any:
                outer._check("note")
                return "text" if "no note" in outer.fails else b"note"

            def leave_note(self, note: bytes) -> None:
                outer._check("leave_note")

        try:
            yield None if timeout == 0 else Lock()
        finally:
            self._check("unlock")

    def create_new(self, key: str, data: bytes) -> bool:
        self._check("create_new")
        return True

    def honours_conditions(self) -> bool:
        self._check("honours_conditions")
        return True

    def read_versioned(self, key: str) -> Any:
        self._check("read_versioned")
        return (b"x" * 100_000, "1") if "no version" in self.fails else (b"old", "1")

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        self._check("write_if")
        return version == "1"

    def signed_url(self, key: str, seconds: int) -> Any:
        self._check("signed_url")
        return b"https://store" if "no url" in self.fails else f"https://store/{key}?for={seconds}"

    def remove_leftovers(self, older_than: float) -> int:
        self._check("remove_leftovers")
        return 3

    def leftovers(self) -> Iterator[Any]:
        yield Leftover(1.0, 2)
        self._check("leftovers")
        if "no leftover" in self.fails:
            yield "left"

    def diagnose(self) -> Iterator[Any]:
        yield Finding("memory", "enough of it")
        self._check("diagnose")
        if "no finding" in self.fails:
            yield "all is well"


@pytest.mark.parametrize("fails", [(), ("was_changed",)])
def test_a_spool_that_is_stamped_stays_so(fails: tuple[str, ...]) -> None:
    class Stamping(Able):
        def spool(self) -> Any:
            def was_changed() -> bool:
                self._check("was_changed")
                return True

            spool = super().spool()
            spool.was_changed = was_changed
            return spool

    assert not isinstance(able().spool(), capabilities.Stamped)
    backend = Stamping()
    backend.fails = fails
    spool = guarded(backend).spool()  # type: ignore[attr-defined]  # a part of this guard alone
    assert isinstance(spool, capabilities.Stamped)
    if not fails:
        assert spool.was_changed() is True
        return
    with pytest.raises(BackendError, match="ThrottledError: was_changed"):
        spool.was_changed()


def able(*fails: str) -> Any:
    backend = Able()
    backend.fails = fails
    return guarded(backend)


def locked(backend: Any, *, note: bool = True) -> bytes:
    with backend.lock("x") as lock:
        lock.leave_note(b"x")
        return bytes(lock.note()) if note else b""


def spooled(backend: Any) -> bytes:
    spool, buffer = backend.spool(), bytearray(10)
    try:
        spool.write(b"bytes")
        count = spool.readinto_at(0, buffer)
        spool.publish("blobs/sha256/x")
    finally:
        spool.close()
    return bytes(buffer[:count])


def sized(backend: Any) -> None:
    with backend.create_sized("a/b", 4) as sink:
        sink.write(b"four")
        sink.commit()


USES: dict[str, Callable[[Any], object]] = {
    "spool": spooled,
    "spool.write": spooled,
    "spool.readinto_at": spooled,
    "spool claims more": spooled,
    "spool.publish": spooled,
    "spool publishes nothing": spooled,
    "create_expendable": lambda backend: backend.create_expendable("a/b"),
    "create_sized": lambda backend: backend.create_sized("a/b", 4),
    "sized.write": sized,
    "sized.commit": sized,
    "sized.write back to -1": sized,
    "sized.write back to 5": sized,
    "sized.commit back to 5": sized,
    "sized.commit back to null": sized,
    "read_small": lambda backend: list(backend.read_small("a/")),
    "no bytes": lambda backend: list(backend.read_small("a/")),
    "path": lambda backend: backend.path("a/b"),
    "no path": lambda backend: backend.path("a/b"),
    "move": lambda backend: backend.move("a/b", "c/d"),
    "touch": lambda backend: backend.touch("a/b"),
    "lock": locked,
    "note": locked,
    "no note": locked,
    "leave_note": locked,
    "unlock": locked,
    "create_new": lambda backend: backend.create_new("a/b", b""),
    "honours_conditions": lambda backend: backend.honours_conditions(),
    "read_versioned": lambda backend: backend.read_versioned("a/b"),
    "no version": lambda backend: backend.read_versioned("a/b"),
    "write_if": lambda backend: backend.write_if("a/b", b"", None),
    "signed_url": lambda backend: backend.signed_url("a/b", 60),
    "no url": lambda backend: backend.signed_url("a/b", 60),
    "remove_leftovers": lambda backend: backend.remove_leftovers(1.0),
    "leftovers": lambda backend: list(backend.leftovers()),
    "no leftover": lambda backend: list(backend.leftovers()),
    "diagnose": lambda backend: list(backend.diagnose()),
    "no finding": lambda backend: list(backend.diagnose()),
}


@pytest.mark.parametrize("fault", USES)
def test_each_capability_is_guarded(fault: str) -> None:
    USES[fault](able())
    with pytest.raises(BackendError, match="memory://"):
        USES[fault](able(fault))


@pytest.mark.parametrize("fault", ["write back to 0", "write back to 4", "commit back to 4"])
def test_a_request_to_go_back_reaches_the_writer(fault: str) -> None:
    with pytest.raises(RewindError) as raised:
        sized(able(f"sized.{fault}"))
    assert raised.value.offset == int(fault[-1])


def test_what_can_be_done_by_a_capability_is_done() -> None:
    backend = able("spool.close")
    assert spooled(backend) == b"bytes"
    assert backend.stat("blobs/sha256/x").size == 5
    assert list(backend.read_small("a/")) == [("a/a", b"1"), ("a/b", b"2")]
    assert (backend.path("a/b"), backend.create_new("a/b", b""), backend.remove_leftovers(1.0)) == (
        "/x/a/b",
        True,
        3,
    )
    assert (backend.honours_conditions(), backend.read_versioned("a/b")) == (True, (b"old", "1"))
    assert (backend.write_if("a/b", b"", "1"), backend.write_if("a/b", b"", "2")) == (True, False)
    assert locked(backend) == b"note"
    with backend.lock("x", timeout=0) as lock:
        assert lock is None


@pytest.mark.parametrize("fails", [(), ("unlock",)])
def test_what_is_raised_under_a_lock_passes_as_it_is(fails: tuple[str, ...]) -> None:
    for error in (ZeroDivisionError("mine"), NotFoundError("mine"), KeyboardInterrupt("mine")):
        with pytest.raises(type(error), match="mine"), able(*fails).lock("x"):
            raise error


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: str(each.__name__))
def test_a_guard_can_do_what_its_backend_can_and_no_more(protocol: type) -> None:
    class One(BadBackend):
        pass

    for name in vars(protocol):
        if not name.startswith("_"):
            setattr(One, name, lambda *_: None)
    assert isinstance(guarded(Able()), protocol)
    guard = guarded(One("/nowhere", Options()))
    assert [each for each in PROTOCOLS if isinstance(guard, each)] == [protocol]


def test_backends_without_an_sdk_under_them_need_no_guard(tmp_path: Path) -> None:
    for backend in (LocalBackend(str(tmp_path)), MemoryBackend()):
        assert guarded(backend) is backend
    guard = guarded(Able())
    assert guarded(guard) is guard


def test_what_a_backend_finds_wrong_with_its_store_is_shown_by_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BadBackend, "diagnose", findings, raising=False)
    install(tmp_path / "site", "bad = servers.misbehaving:from_url")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    shown = Caller(f"bad://{tmp_path}/store")("doctor").stdout
    assert "  ok       examined       2 checks by the backend" in shown
    assert "  ok       persistence    append-only file\n" in shown
    assert "  warning  eviction       allkeys-lru\n" in shown
    assert "set maxmemory-policy" in shown

    checks = Caller(f"bad://{tmp_path}/store?fault=diagnose").json("doctor", code=4)["subjects"][0]["checks"]
    results = {check["check"]: (check["result"], check["detail"]) for check in checks}
    assert results["persistence"] == ("ok", "append-only file")
    assert results["examined"][0] == "failed"
    assert "ThrottledError: slow down (in layercache-bad 1.2.3)" in results["examined"][1]


def findings(backend: BadBackend) -> Iterator[Finding]:
    yield Finding("persistence", "append-only file")
    backend.go_wrong("diagnose", "")
    yield Finding("eviction", "allkeys-lru", "warning", "set maxmemory-policy to noeviction")
