"""Blobs over HTTP: several workers, slow clients, clients that hang up, wrong bytes of the upstream."""

from __future__ import annotations

import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise
from servers.lying import LyingRegistry, wrong_bytes
from servers.mirror import Mirror

from layercache.serve.ranges import RANGES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers.images import Layer

BIG = 12 << 20
LAYERS = [make_layer({"noise": noise(size, size)}, "none") for size in (BIG, BIG + 1, BIG + 2, 1 << 20)]
MANY, SLOW, LEFT, WRONG = LAYERS
PATIENCE = 30.0
WORKERS = 2


@pytest.fixture(scope="module")
def upstream() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        running.add_image("1", make_image(LAYERS))
        yield running


@pytest.fixture(scope="module")
def mirror(upstream: LyingRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A mirror of two workers on one disk, which know the image's manifest."""
    config = f'default_upstream = "{upstream.host}"\nworkers = {WORKERS}'
    with Mirror(tmp_path_factory.mktemp("mirror"), config=config) as running:
        for _ in range(4):
            running.get("/v2/app/manifests/1")
        yield running


def path_of(layer: Layer) -> str:
    return f"/v2/app/blobs/{layer.digest}"


def fetches(upstream: LyingRegistry, layer: Layer) -> int:
    return len(upstream.asked(f"GET {path_of(layer)}"))


def workers(mirror: Mirror) -> list[Path]:
    """The worker processes, in /proc."""
    children = Path(f"/proc/{mirror.pid}/task/{mirror.pid}/children").read_text()
    return [Path("/proc") / pid for pid in children.split()]


def memory(mirror: Mirror) -> int:
    """Bytes that the workers have of their own."""
    lines = [line for each in workers(mirror) for line in (each / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def open_files(mirror: Mirror) -> int:
    return sum(len(list((each / "fd").iterdir())) for each in workers(mirror))


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def begin(mirror: Mirror, layer: Layer) -> socket.socket:
    """A client that has read the first bytes of a response, and takes its time."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", mirror.port))
    client.sendall(f"GET {path_of(layer)} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n".encode())
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


def test_many_clients_of_several_workers_cost_one_fetch(mirror: Mirror, upstream: LyingRegistry) -> None:
    assert len(workers(mirror)) == WORKERS
    with ThreadPoolExecutor(12) as clients:
        found = list(clients.map(lambda _: mirror.get(path_of(MANY)).body == MANY.blob, range(12)))
    assert all(found)
    assert fetches(upstream, MANY) == 1


def test_slow_clients_take_no_memory_and_keep_nobody_waiting(mirror: Mirror, upstream: LyingRegistry) -> None:
    before = memory(mirror)
    slow = [begin(mirror, SLOW) for _ in range(16)]
    try:
        assert mirror.get(path_of(SLOW)).body == SLOW.blob
        grown = memory(mirror) - before
        assert grown < len(SLOW.blob) * len(slow) // 3, "whole blobs wait in memory"
    finally:
        for client in slow:
            client.close()
    assert fetches(upstream, SLOW) == 1


def test_a_client_that_hangs_up_leaves_the_blob_and_no_open_file(
    mirror: Mirror, upstream: LyingRegistry
) -> None:
    before = open_files(mirror)
    for _ in range(8):
        begin(mirror, LEFT).close()
    stored = mirror.folder / "cache" / "blobs" / "sha256" / LEFT.digest.hex
    until(stored.exists, "the blob is not stored")
    until(lambda: open_files(mirror) <= before + 2, "files are still open")
    assert mirror.get(path_of(LEFT)).headers["x-layercache"] == "hit"
    assert fetches(upstream, LEFT) == 1


def test_a_body_that_turns_out_wrong_is_cut_short(mirror: Mirror, upstream: LyingRegistry) -> None:
    upstream.on(path_of(WRONG), wrong_bytes)
    with pytest.raises(http.client.IncompleteRead) as cut:
        mirror.get(path_of(WRONG))
    assert len(cut.value.partial) < len(WRONG.blob)
    assert mirror.get(path_of(WRONG)).body == WRONG.blob


def test_as_many_ranges_as_there_may_be_fit_into_the_headers(mirror: Mirror) -> None:
    wanted = ",".join(f"{9_000_000 + at * 2000}-{9_000_000 + at * 2000 + 99}" for at in range(RANGES_MAX))
    found = mirror.get(path_of(MANY), {"Range": f"bytes={wanted}"})
    assert (found.status, found.headers["content-length"]) == (206, str(len(found.body)))
    assert mirror.get(path_of(MANY), {"Range": "bytes=-5"}).body == MANY.blob[-5:]
