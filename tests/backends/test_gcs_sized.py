"""Objects of known size go to Google Cloud Storage as one request, which goes on where the session is."""

from __future__ import annotations

import gc
import json
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from servers.cutting import CuttingProxy
from servers.gcs_sessions import QUANTUM, SessionServer
from servers.google import Google

from layercache.backend import Backend, RewindError, open_backend
from layercache.backend.capabilities import SizedWrites
from layercache.errors import BackendError
from layercache.testing import KEY, Fault, FaultProxy
from layercache.testing.base import pattern
from layercache.testing.children import in_forked_child
from layercache_backends.gcs import window
from layercache_backends.gcs.sized_sink import SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.backend import Sink

MIB = 1 << 20
DATA = pattern(9 * MIB + 300_000)
PIECE = 300_000
HEADS = 2000
"""More than the bytes of a request besides its body."""


@pytest.fixture
def server() -> Iterator[SessionServer]:
    with SessionServer() as running:
        yield running


@pytest.fixture
def proxy(server: SessionServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as running:
        yield running


@pytest.fixture
def backend(proxy: FaultProxy) -> Iterator[Backend]:
    with opened(proxy.url) as backend:
        yield backend


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("HELD", 2 * MIB), ("AHEAD", MIB // 2), ("BLOCK", MIB // 4), ("SMALL", MIB // 8)):
        monkeypatch.setattr(window, name, size)


@contextmanager
def opened(endpoint: str, timeout: float = 60, token: str = "anon") -> Iterator[Backend]:
    with closing(
        open_backend(f"gs://bucket?endpoint_url={endpoint}&token={token}&timeout={timeout}")
    ) as backend:
        yield backend


def sized(backend: Backend, size: int = len(DATA)) -> Sink:
    assert isinstance(backend, SizedWrites)
    return backend.create_sized(KEY, size)


def write(
    backend: Backend, data: bytes = DATA, *, size: int | None = None, piece: int = PIECE, pause: float = 0
) -> list[int]:
    """Write an object, and go back where that is asked; return to where. ``pause``: seconds after a piece."""
    offset, rewinds = 0, []
    with sized(backend, len(data) if size is None else size) as sink:
        while True:
            try:
                for start in range(offset, len(data), piece):
                    sink.write(memoryview(data)[start : start + piece])
                    time.sleep(pause)
                sink.commit()
            except RewindError as error:
                offset = error.offset
                rewinds.append(offset)
            else:
                return rewinds


def wait_until(server: SessionServer, arrived: int) -> None:
    deadline = time.monotonic() + 60
    while server.arrived < arrived:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_object_of_known_size_is_one_request_that_publishes_with_its_last_byte(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    resource = 300
    with sized(backend) as sink:
        sink.write(DATA)
        wait_until(server, len(DATA) - 1)
        assert (server.arrived, server.objects) == (len(DATA) - 1, {})
        sink.commit()
    assert server.objects == {KEY: DATA}
    assert (proxy.asked("POST"), proxy.asked("PUT"), len(proxy.requests)) == (1, 1, 2)
    assert len(DATA) < proxy.to_server < len(DATA) + resource


def test_a_small_object_of_known_size_is_one_request_without_a_session(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    assert write(backend, DATA[: 8 * MIB]) == []
    assert server.objects == {KEY: DATA[: 8 * MIB]}
    assert (proxy.asked("POST"), len(proxy.requests)) == (1, 1)


@pytest.mark.parametrize(
    "cuts",
    [
        [700],
        [1200],
        [MIB, 2 * MIB, 2 * MIB + 1],
        list(range(300_000, 9_900_000, 1_600_007)),
        [len(DATA) - 1, len(DATA) + 600],
    ],
    ids=["before the body", "in its first bytes", "soon again", "again and again", "at the end"],
)
@pytest.mark.parametrize("piece", [PIECE, 3 * MIB])
def test_an_upload_that_is_cut_goes_on_at_the_byte_that_the_session_has(
    server: SessionServer, cuts: list[int], piece: int
) -> None:
    with CuttingProxy(server.port, *cuts) as proxy, opened(f"http://{proxy.host}") as backend:
        assert write(backend, piece=piece) == []
        assert proxy.cuts == []
        # Of each cut request the session lacks less than a quantum, and what was in the proxy's hands.
        assert proxy.passed < len(DATA) + len(cuts) * (QUANTUM + HEADS + 4096) + 2 * HEADS
    assert server.objects == {KEY: DATA}
    assert server.states[-1] == "finished"


@pytest.mark.parametrize(
    "fault",
    [Fault(deaf=True), Fault(cut_request=900), Fault(status=503), Fault(reset=True), Fault(status=308)],
    ids=["the answer is lost", "the request is cut", "503", "reset", "308 without a Range"],
)
def test_after_a_break_the_session_is_asked_what_it_has(
    backend: Backend, server: SessionServer, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.on("PUT", fault)
    write(backend)
    assert server.objects == {KEY: DATA}
    assert server.states == ["finished"]
    if fault.deaf:
        assert proxy.to_server < len(DATA) + HEADS, "nothing was sent twice"


@pytest.mark.parametrize(
    ("keeps", "back"),
    [
        ([QUANTUM], [QUANTUM]),
        ([MIB, 0, MIB, None], [MIB, MIB, 2 * MIB]),
        ([0], [0]),
        ([9 * MIB, 0, 0, 999], []),
    ],
)
@pytest.mark.usefixtures("small_window")
def test_what_the_session_did_not_keep_and_memory_does_not_hold_is_asked_of_the_writer(
    backend: Backend, server: SessionServer, keeps: list[int | None], back: list[int]
) -> None:
    server.keeps.extend(keeps)
    assert write(backend) == back
    assert server.objects == {KEY: DATA}
    assert server.states == ["finished"]


@pytest.mark.usefixtures("small_window")
def test_the_last_byte_waits_for_another_commit_after_a_rewind(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    server.keeps.append(QUANTUM)
    with sized(backend) as sink:
        sink.write(DATA)
        with pytest.raises(RewindError) as raised:
            sink.commit()
        assert raised.value.offset == QUANTUM
        arrived = server.arrived
        sink.write(DATA[QUANTUM : -MIB // 8])
        sink.write(DATA[-MIB // 8 :])
        before = arrived + len(DATA) - QUANTUM - 1
        wait_until(server, before)
        assert (server.arrived, server.objects) == (before, {})
        sink.commit()
    assert server.objects == {KEY: DATA}


@pytest.mark.parametrize("gone", [404, 410])
@pytest.mark.usefixtures("small_window")
def test_a_session_that_has_expired_begins_again(backend: Backend, server: SessionServer, gone: int) -> None:
    server.gone = gone
    server.lasting.append(6 * MIB)
    assert write(backend) == [0]
    assert server.objects == {KEY: DATA}
    assert server.states == ["gone", "finished"]


@pytest.mark.usefixtures("small_window")
def test_sessions_that_always_disappear_are_given_up(backend: Backend, server: SessionServer) -> None:
    server.lasting.extend([MIB] * 10)
    with pytest.raises(BackendError, match="the upload session no longer exists"):
        write(backend)
    assert server.states == ["gone"] * SESSIONS
    assert server.objects == {}


def test_a_session_that_keeps_nothing_is_given_up_in_time(server: SessionServer) -> None:
    server.keeps.extend([0] * 1000)
    began = time.monotonic()
    with (
        opened(f"http://127.0.0.1:{server.port}", timeout=3) as backend,
        pytest.raises(BackendError, match=r"did not accept any|no response"),
    ):
        write(backend)
    assert time.monotonic() - began < 60
    assert server.objects == {}
    assert server.states == ["cancelled"]


def test_a_service_that_stops_reading_is_given_up_in_time(server: SessionServer, proxy: FaultProxy) -> None:
    proxy.on("PUT", Fault(stall=0), Fault(stall=0))
    with (
        opened(proxy.url, timeout=0.5) as backend,
        pytest.raises(BackendError, match=r"no response for 0\.5 s"),
    ):
        write(backend)
    assert server.objects == {}


def test_a_slow_writer_is_waited_for(server: SessionServer) -> None:
    with opened(f"http://127.0.0.1:{server.port}", timeout=1) as backend:
        write(backend, piece=5 * MIB, pause=1.5)
    assert server.objects == {KEY: DATA}


@pytest.mark.parametrize("kept", [len(DATA) - 1, 1 << 40])
def test_a_session_that_claims_more_than_it_was_sent_is_not_believed(
    server: SessionServer, proxy: FaultProxy, kept: int
) -> None:
    claim = Fault(status=308, headers={"Range": f"bytes=0-{kept - 1}"})
    proxy.on("PUT", Fault(cut_request=900), *[claim] * 1000)
    with (
        opened(proxy.url, timeout=5) as backend,
        pytest.raises(BackendError, match="the upload is at byte"),
    ):
        write(backend)
    assert server.objects == {}


def test_a_service_that_publishes_before_the_end_is_an_error(backend: Backend, proxy: FaultProxy) -> None:
    early = Fault(status=200, body=json.dumps({"name": KEY, "size": str(len(DATA))}).encode())
    proxy.on("PUT", early)
    with pytest.raises(BackendError, match="before its end"):
        write(backend, pause=0.02)


@pytest.mark.parametrize("status", [403, 400])
def test_a_refusal_in_the_middle_leaves_nothing(
    backend: Backend, server: SessionServer, proxy: FaultProxy, status: int
) -> None:
    proxy.on("PUT", Fault(cut_request=3 * MIB), Fault(status=status))
    with pytest.raises(BackendError, match=str(status)):
        write(backend)
    assert server.objects == {}
    assert server.states == ["cancelled"]


def test_an_abort_in_the_middle_ends_the_session(backend: Backend, server: SessionServer) -> None:
    with sized(backend) as sink:
        sink.write(DATA[: 5 * MIB])
        wait_until(server, MIB)
    assert server.states == ["cancelled"]
    sink.abort()
    with pytest.raises(BackendError, match="already closed"):
        sink.write(b"more")
    assert server.objects == {}


def test_an_abort_before_anything_was_written_asks_for_nothing(backend: Backend, proxy: FaultProxy) -> None:
    with sized(backend):
        pass
    assert proxy.requests == []


def test_a_forgotten_sink_ends_its_session(backend: Backend, server: SessionServer) -> None:
    sink = sized(backend)
    sink.write(DATA[: 5 * MIB])
    wait_until(server, MIB)
    del sink
    gc.collect()
    deadline = time.monotonic() + 60
    while server.states != ["cancelled"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("less", [1, MIB, len(DATA)])
def test_fewer_bytes_than_stated_are_not_published(
    backend: Backend, server: SessionServer, less: int
) -> None:
    with pytest.raises(BackendError, match="less than the"):
        write(backend, DATA[: len(DATA) - less], size=len(DATA))
    assert server.objects == {}
    assert set(server.states) <= {"cancelled"}


def test_more_bytes_than_stated_are_not_published(backend: Backend, server: SessionServer) -> None:
    for size in (len(DATA) - 1, 100):
        with pytest.raises(BackendError):
            write(backend, size=size)
    assert server.objects == {}


def test_a_write_while_the_backend_is_closed_fails(proxy: FaultProxy, server: SessionServer) -> None:
    with opened(proxy.url) as backend:
        sink = sized(backend)
        sink.write(DATA[:MIB])
    with pytest.raises(BackendError):
        sink.write(DATA[MIB:])
    sink.abort()
    assert server.objects == {}


def test_a_forked_child_cannot_write_on(backend: Backend, server: SessionServer) -> None:
    with sized(backend) as sink:
        sink.write(DATA[: 5 * MIB])
        assert in_forked_child(lambda: sink.write(DATA)) == "BackendError"
        assert in_forked_child(sink.commit) == "BackendError"
        assert in_forked_child(sink.abort) == "None"
        sink.write(DATA[5 * MIB :])
        sink.commit()
    assert server.objects == {KEY: DATA}


def test_an_upload_outlives_its_tokens(server: SessionServer, tmp_path: Path) -> None:
    """Each break is followed by a request with the token of before, which is renewed."""
    account = tmp_path / "account.json"
    with Google() as google, CuttingProxy(server.port, 5 * MIB // 2, 11 * MIB // 2, 17 * MIB // 2) as proxy:
        account.write_text(json.dumps(google.account()))
        server.token = lambda: google.token
        with opened(f"http://{proxy.host}", token=str(account)) as backend, sized(backend) as sink:
            for number, start in enumerate(range(0, len(DATA), MIB)):
                sink.write(DATA[start : start + MIB])
                wait_until(server, start)
                if number in (1, 4, 7):  # well before the next break
                    google.token = f"token {number}"
            sink.commit()
    assert server.objects == {KEY: DATA}
    assert server.refused == 3


@pytest.mark.usefixtures("small_window")
def test_memory_is_bounded_while_the_service_does_not_read(proxy: FaultProxy) -> None:
    proxy.on("PUT", Fault(stall=0))
    most = 4 * MIB + 20 * MIB  # blocks, and what connections buffer
    data = bytes(64 * MIB)
    with opened(proxy.url, timeout=60) as backend:
        sink = sized(backend, len(data))
        writer = threading.Thread(target=_write_on, args=(sink, data), daemon=True)
        writer.start()
        time.sleep(1)
        assert sink.sent < most  # type: ignore[attr-defined]  # it counts
    writer.join(60)
    assert not writer.is_alive()


def _write_on(sink: Sink, data: bytes) -> None:
    with pytest.raises(BackendError):
        sink.write(data)
