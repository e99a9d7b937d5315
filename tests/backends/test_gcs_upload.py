"""Resumable uploads to Google Cloud Storage, against sessions that behave as the service documents them."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.gcs_sessions import QUANTUM, SessionServer
from servers.google import Google
from servers.strict_store import StrictStore, bearer_is

from layercache.backend import Backend, open_backend
from layercache.errors import BackendError
from layercache.testing import KEY, Fault, FaultProxy, put
from layercache.testing.base import pattern
from layercache_backends.gcs import backend as gcs
from layercache_backends.objects.backend import ObjectBackend
from layercache_backends.objects.service import Payload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache_backends.objects.service import Service

PART = 8 << 20
DATA = pattern(2 * PART + 1000)


@pytest.fixture(autouse=True)
def smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gcs.CHUNK == 32 << 20
    monkeypatch.setattr(gcs, "CHUNK", PART)


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
    url = f"gs://bucket?endpoint_url={proxy.url}&token=anon&timeout=60"
    with closing(open_backend(url)) as backend:
        yield backend


def test_a_big_object_is_one_session_whose_last_part_publishes(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    with backend.create(KEY) as sink:
        sink.write(DATA)
        assert server.objects == {}
        sink.commit()
    assert server.objects == {KEY: DATA}
    assert (proxy.asked("POST"), proxy.asked("PUT"), proxy.asked("DELETE")) == (1, 3, 0)


@pytest.mark.parametrize("keeps", [[QUANTUM], [PART - QUANTUM, None, None, 100], [None, QUANTUM, QUANTUM]])
def test_what_the_service_did_not_keep_of_a_part_is_sent_again(
    backend: Backend, server: SessionServer, proxy: FaultProxy, keeps: list[int | None]
) -> None:
    server.keeps.extend(keeps)
    put(backend, KEY, DATA)
    assert server.objects == {KEY: DATA}
    less = sum(keep is not None for keep in keeps)
    assert proxy.asked("PUT") == 3 + less
    assert proxy.to_server < len(DATA) + 2 * PART


@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.parametrize(
    "fault",
    [Fault(deaf=True), Fault(cut_request=900), Fault(status=503), Fault(reset=True)],
    ids=["the answer is lost", "the request is cut", "503", "reset"],
)
def test_after_a_break_the_service_is_asked_what_it_has(
    backend: Backend, server: SessionServer, proxy: FaultProxy, fault: Fault, part: int
) -> None:
    proxy.on("PUT", *[Fault()] * (part - 1), fault)
    put(backend, KEY, DATA)
    assert server.objects == {KEY: DATA}
    assert server.states == ["finished"]
    if fault.deaf:
        resource = proxy.to_server - len(DATA)
        assert 0 < resource < 300, "nothing was sent twice"


def test_a_service_that_keeps_nothing_is_given_up_and_told_so(
    server: SessionServer, proxy: FaultProxy
) -> None:
    server.keeps.extend([0] * 1000)
    with closing(open_backend(f"gs://b?endpoint_url={proxy.url}&token=anon&timeout=0.5")) as backend:
        with pytest.raises(BackendError, match=r"did not accept any|no response"):
            put(backend, KEY, DATA)
        assert server.states == ["cancelled"]
    assert server.objects == {}


def test_a_session_that_lost_what_it_had_ends_the_write(backend: Backend, server: SessionServer) -> None:
    with backend.create(KEY) as sink:
        sink.write(DATA[: PART + 1])
        sink.write(DATA[PART + 1 : 2 * PART + 1])  # the first part has arrived when this returns
        del server.sessions[0].kept[QUANTUM:]
        with pytest.raises(BackendError):
            sink.commit()
    assert server.objects == {}


def test_a_session_that_is_gone_is_no_missing_object(backend: Backend, proxy: FaultProxy) -> None:
    proxy.on("PUT", Fault(), Fault(status=404, body=b"No such object: a/b"))
    with pytest.raises(BackendError, match="the upload session no longer exists"):
        put(backend, KEY, DATA)


def test_an_abort_ends_the_session_and_only_once(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    with backend.create(KEY) as sink:
        sink.write(DATA)
    assert server.states == ["cancelled"]
    assert proxy.asked("DELETE") == 1
    assert server.objects == {}


def test_an_abort_is_told_again_where_the_answer_was_lost(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    proxy.on("DELETE", Fault(reset=True), Fault(deaf=True), Fault(status=503))
    with backend.create(KEY) as sink:
        sink.write(DATA)
    assert server.states == ["cancelled"]
    assert proxy.asked("DELETE") == 4


def test_a_write_that_the_service_refuses_in_the_middle_leaves_nothing(
    backend: Backend, server: SessionServer, proxy: FaultProxy
) -> None:
    proxy.on("PUT", Fault(), Fault(status=403))
    with pytest.raises(BackendError, match="403"):
        put(backend, KEY, DATA)
    assert server.states == ["cancelled"]
    assert server.objects == {}


def test_an_upload_outlives_its_token(server: SessionServer, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    with Google() as google, StrictStore(f"http://127.0.0.1:{server.port}") as strict:
        account.write_text(json.dumps(google.account()))
        strict.demands = [bearer_is(lambda: google.token)]
        url = f"gs://bucket?endpoint_url={strict.url}&token={account}&timeout=60"
        with closing(open_backend(url)) as backend, backend.create(KEY) as sink:
            sink.write(DATA[: PART + 1])
            google.token = "another"
            sink.write(DATA[PART + 1 :])
            google.token = "a third"
            sink.commit()
    assert server.objects == {KEY: DATA}
    assert 1 <= len(strict.refused) <= 2


def test_a_session_at_another_host_is_shown_no_credentials(server: SessionServer, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    server.host = f"localhost:{server.port}"
    with Google() as google:
        account.write_text(json.dumps(google.account()))
        url = f"gs://bucket?endpoint_url=http://127.0.0.1:{server.port}&token={account}&timeout=60"
        with closing(open_backend(url)) as backend:
            put(backend, KEY, DATA)
    assert server.objects == {KEY: DATA}
    assert server.shown == [("POST", True), *[("PUT", False)] * 3]


def test_a_small_object_on_a_slow_line_reports_progress_as_it_is_sent(server: SessionServer) -> None:
    """Else the time without progress would be over before it is sent."""
    reports = 0

    def progress() -> None:
        nonlocal reports
        reports += 1

    async def send(service: Service) -> None:
        data = Payload(DATA[:PART])
        data.progress = progress
        await service.put(KEY, data)

    url = f"gs://bucket?endpoint_url=http://127.0.0.1:{server.port}&token=anon"
    with closing(open_backend(url)) as backend:
        assert isinstance(backend, ObjectBackend)
        backend.call("sending", send)
    assert server.objects == {KEY: DATA[:PART]}
    assert reports > 10
