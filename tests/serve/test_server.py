"""The processes of the mirror: they share a socket, replace each other, and end when they should."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from fixtures.leases import until
from servers.images import make_image, make_layer, noise
from servers.lying import LyingRegistry
from servers.mirror import Mirror

from layercache.serve.page.page import EVENTS_FOR

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = make_image([make_layer({"noise": noise(16 << 20)}, "none")])
(LAYER,) = IMAGE.layers
PATH = f"/v2/app/blobs/{LAYER.digest}"
"""More bytes than the buffers of a connection hold."""

CONFIG = """
workers = 2
access_log = "json"
max_header_size = "8KiB"
header_timeout = 3
stall_timeout = 3
stop_timeout = 20
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[LyingRegistry]:
    with LyingRegistry() as registry:
        registry.add_image("1", IMAGE)
        yield registry


@pytest.fixture(scope="module")
def shared(upstream: LyingRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A mirror with two workers, which have the image."""
    config = f'default_upstream = "{upstream.host}"\n{CONFIG}'
    with Mirror(tmp_path_factory.mktemp("mirror"), config=config) as running:
        fill(running)
        yield running


def fill(mirror: Mirror) -> None:
    """Fetch the layer, until it is sent as a file."""
    cache = ""
    while cache != "hit":
        with downloading(mirror) as response:
            cache = response.headers["x-layercache"]
            assert response.read() == LAYER.blob[1000:]


def connect(mirror: Mirror) -> socket.socket:
    return socket.create_connection(("127.0.0.1", mirror.port), timeout=60)


@contextmanager
def downloading(mirror: Mirror) -> Iterator[http.client.HTTPResponse]:
    """Ask for the big layer, and take its first bytes."""
    with closing(http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=60)) as connection:
        connection.request("GET", "/v2/app/manifests/1")  # of the worker that is to send the layer
        assert connection.getresponse().read() == IMAGE.manifest
        connection.request("GET", PATH)
        response = connection.getresponse()
        assert response.read(1000) == LAYER.blob[:1000]
        yield response


def metric(mirror: Mirror, name: str, **labels: str) -> float:
    """The sum of all samples that have these labels."""
    total = 0.0
    for line in mirror.get("/metrics").body.decode().splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            found = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels.items() <= found.items():
                total += float(line.rpartition(" ")[2])
    return total


def test_workers_use_uvloop_if_it_is_installed(shared: Mirror) -> None:
    pytest.importorskip("uvloop", reason="needs uvloop, not installed here")
    for worker in shared.workers():
        assert "uvloop" in Path(f"/proc/{worker}/maps").read_text()


def test_killed_workers_are_replaced_and_what_all_have_counted_is_kept(shared: Mirror) -> None:
    def answered() -> float:
        return metric(shared, "layercache_http_requests_total", route="health", method="GET", code="200")

    before = answered()
    for _ in range(30):
        shared.get("/healthz")
    until(lambda: answered() == before + 30)
    killed = shared.workers()
    for each in killed:
        os.kill(each, signal.SIGKILL)
    until(lambda: not set(killed) & set(shared.workers()))
    for _ in range(30):
        assert shared.get("/healthz").status == 200, "a connection waits for the next worker"
    until(lambda: len(set(shared.workers()) - set(killed)) == 2)
    until(lambda: answered() == before + 60)
    assert shared.log.count("a worker is started in place of one that has ended (exit code -9)") >= 2


def test_metrics_have_the_bytes_of_each_tier_and_upstream(shared: Mirror, upstream: LyingRegistry) -> None:
    until(lambda: metric(shared, "layercache_fetched_bytes_total", place=upstream.host) >= len(LAYER.blob))
    assert metric(shared, "layercache_fetched_total", kind="registry", place=upstream.host) >= 1
    assert metric(shared, "layercache_http_request_duration_seconds_count", route="blob", cache="miss") >= 1
    assert metric(shared, "layercache_http_requests_in_flight") >= 1
    shown = shared.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert shown.headers["content-type"].startswith("application/openmetrics-text")
    assert shown.body.endswith(b"# EOF\n")


def test_each_request_is_a_line_of_the_log(shared: Mirror) -> None:
    shared.request(
        "GET", "/healthz?a=1%0A", {"User-Agent": 'cl"ient\tx', "Authorization": "Basic bWU6c2VjcmV0"}
    )

    def lines() -> list[dict[str, object]]:
        whole = shared.log.rpartition("\n")[0]  # the last line may be on its way
        found = [json.loads(line) for line in whole.splitlines() if line.startswith('{"time"')]
        return [line for line in found if line.get("agent") == 'cl"ient\tx']

    until(lines)
    (line,) = lines()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert float(str(line.pop("seconds"))) < 60
    assert line == {
        "client": "127.0.0.1",
        "user": "me",
        "method": "GET",
        "path": "/healthz?a=1%0A",
        "status": 200,
        "bytes": 16,
        "cache": None,
        "agent": 'cl"ient\tx',
    }
    assert "secret" not in shared.log


def test_health_and_readiness_are_answered(shared: Mirror) -> None:
    assert shared.get("/healthz").body == shared.get("/readyz").body == b'{"status":"ok"}\n'
    assert shared.head("/healthz").status == 200


def test_clients_that_send_no_more_are_disconnected(shared: Mirror) -> None:
    sent = {
        "nothing": b"",
        "a part of the line": b"GET /v2/ HT",
        "a part of a header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: ",
        "no second request": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    with ExitStack() as clients:
        waiting = [clients.enter_context(connect(shared)) for _ in sent]
        for client, data in zip(waiting, sent.values(), strict=True):
            client.sendall(data)
        for client in waiting:
            while client.recv(10_000):
                pass


@pytest.mark.parametrize("headers", [{"A": "a" * 10_000}, {f"A{n}": "" for n in range(200)}])
def test_headers_beyond_the_limit_are_refused(shared: Mirror, headers: dict[str, str]) -> None:
    assert shared.get("/healthz", headers).status == 431
    assert shared.get("/healthz", {"A": "a" * 6000}).status == 200


def test_a_client_that_takes_nothing_is_disconnected(shared: Mirror) -> None:
    def open_layers() -> int:
        found = 0
        for link in [link for pid in shared.workers() for link in os.scandir(f"/proc/{pid}/fd")]:
            with suppress(FileNotFoundError):  # it was closed just now
                found += os.readlink(link.path).endswith(LAYER.digest.hex)
        return found

    with downloading(shared) as response:
        until(lambda: open_layers() == 0)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            response.read()


def test_a_reload_reads_the_configuration_again_and_refuses_no_connection(shared: Mirror) -> None:
    before, config = shared.workers(), (shared.folder / "config.toml").read_text()
    assert shared.process
    shared.write_config("workers = 0")
    shared.process.send_signal(signal.SIGHUP)
    until(lambda: "the former one stays" in shared.log)
    assert "expected an integer, at least 1" in shared.log
    assert shared.workers() == before
    larger = config.partition("[serve]\n")[2].replace("8KiB", "32KiB").replace("workers = 2", "workers = 1")
    shared.write_config(larger)
    shared.process.send_signal(signal.SIGHUP)
    while not (new := set(shared.workers()) - set(before)) or len(shared.workers()) > 1:
        with suppress(ConnectionError):  # accepted by an old worker just before its end
            assert shared.get("/healthz").status == 200
    assert len(new) == 1
    assert shared.get("/healthz", {"A": "a" * 20_000}).status == 200


def test_what_has_begun_is_sent_to_its_end(upstream: LyingRegistry, tmp_path: Path) -> None:
    with Mirror(tmp_path, config=f'default_upstream = "{upstream.host}"') as mirror, ExitStack() as clients:
        assert mirror.process
        (old,) = mirror.workers()
        begun = [clients.enter_context(downloading(mirror))]  # while it is fetched
        fill(mirror)
        begun.append(clients.enter_context(downloading(mirror)))  # as a file
        assert [each.headers["x-layercache"] for each in begun] == ["miss", "hit"]
        mirror.process.send_signal(signal.SIGHUP)
        until(lambda: "the configuration was read again" in mirror.log)

        def begin_another() -> bool:
            with suppress(ConnectionError):  # by the old worker, between the two requests
                begun.append(clients.enter_context(downloading(mirror)))
            return len(begun) == 3

        until(begin_another)
        mirror.process.terminate()
        until(lambda: not _listens(mirror))
        assert old in mirror.workers(), "it still sends"
        for each in begun:
            assert each.read() == LAYER.blob[1000:]
        assert mirror.process.wait(60) == 0


def test_a_client_that_does_not_end_cannot_keep_the_mirror_from_ending_nor_can_a_crash_loop(
    upstream: LyingRegistry, tmp_path: Path
) -> None:
    config = f'default_upstream = "{upstream.host}"\nstop_timeout = 1'
    with Mirror(tmp_path, config=config) as mirror, downloading(mirror) as response:
        assert mirror.process
        mirror.process.terminate()
        assert mirror.process.wait(60) == 0
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            response.read()
        mirror.start()
        (first,) = mirror.workers()
        os.kill(first, signal.SIGKILL)
        until(lambda: mirror.workers() not in ([], [first]))
        os.kill(mirror.workers()[0], signal.SIGKILL)
        assert mirror.process.wait(60) == 4
        assert "because its workers end unexpectedly" in mirror.log


def test_a_page_that_is_open_does_not_keep_the_mirror_from_ending(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    mirror.start()
    with closing(http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=60)) as connection:
        connection.request("GET", "/ui/events")
        response = connection.getresponse()
        assert response.readline()
        assert mirror.process
        mirror.process.terminate()
        assert mirror.process.wait(EVENTS_FOR - 5) == 0


def test_ctrl_c_ends_it_without_an_error_and_connections_beyond_the_limit_wait(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, config="max_connections = 2")
    mirror.start()
    clients = [connect(mirror) for _ in range(3)]
    for client in clients:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answered = [client for client in clients if _has_answer(client, 1 if client is clients[2] else 60)]
    assert answered == clients[:2]
    clients[0].close()
    assert _has_answer(clients[2], 60)
    assert mirror.process
    for pid in [mirror.process.pid, *mirror.workers()]:  # as a terminal does
        os.kill(pid, signal.SIGINT)
    assert mirror.process.wait(60) == 0
    assert "warning" not in mirror.log
    assert "error" not in mirror.log
    for client in clients:
        client.close()


def _listens(mirror: Mirror) -> bool:
    try:
        connect(mirror).close()
    except ConnectionError:
        return False
    return True


def _has_answer(client: socket.socket, seconds: float) -> bool:
    client.settimeout(seconds)
    try:
        return client.recv(1000).startswith(b"HTTP/1.1 200")
    except TimeoutError:
        return False


def test_a_worker_that_ends_during_a_reload_is_not_replaced_once_more() -> None:
    """The worker in its place, which nobody would end any more, and of two places there may be one left."""
    pytest.importorskip("granian", reason="needs granian, not installed here")
    from layercache.serve.server import Server

    started: list[int] = []

    class Reloaded(Server):
        def __init__(self) -> None:
            self.wrks = [cast("Any", SimpleNamespace(is_alive=lambda: True))]

        def _spawn_worker(self, idx: int, *_: Any) -> Any:
            started.append(idx)

    server = Reloaded()
    (worker,) = server.wrks
    server._respawn_workers([0, 1], None, None)
    assert started == []
    assert server.wrks == [worker]


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    mirror.start()
    (worker,) = mirror.workers()
    assert mirror.process
    mirror.process.kill()
    until(lambda: not os.path.exists(f"/proc/{worker}"))
    mirror.process.wait()
