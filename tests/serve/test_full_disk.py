"""A full disk costs clients time, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from servers.asking import Fields
from servers.images import make_image, make_layer, noise
from servers.received import mirror_of, receive

from layercache.errors import BackendError
from layercache.serve.application import Application
from layercache.serve.blob_bodies import Stretch
from layercache.serve.pipes import Pipe, Pipes
from layercache_backends.local.spool import LocalSpool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.lying import LyingRegistry

    from layercache.serve.service import Service

IMAGE = make_image([make_layer({"noise": noise(2 << 20)})])
(LAYER,) = IMAGE.layers


@pytest.fixture
def service(lying: LyingRegistry, tmp_path: Path) -> Iterator[Service]:
    """A mirror with an empty cache, which knows the image's manifest."""
    with mirror_of(lying, IMAGE, tmp_path / "cache") as running:
        yield running


@pytest.fixture(params=[0, 1 << 20])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes are left on the disk."""
    left, write = request.param, LocalSpool.write

    def writing(self: LocalSpool, data: Any, /) -> None:
        nonlocal left
        left -= len(memoryview(data).cast("B"))
        if left < 0:
            raise BackendError(f"the store is full: {os.strerror(errno.ENOSPC)}")
        write(self, data)

    monkeypatch.setattr(LocalSpool, "write", writing)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("form", ["blob", "tar"])
def test_clients_get_all_bytes_and_nothing_is_stored(service: Service, tmp_path: Path, form: str) -> None:
    name, data = (LAYER.digest, LAYER.blob) if form == "blob" else (LAYER.diff_id, LAYER.tar)
    for _ in range(2):
        found = receive(service, f"/v2/app/blobs/{name}")
        assert (found.status, found.body == data) == (200, True)
    service.cache.flush()
    for hex in (LAYER.digest.hex, LAYER.diff_id.hex):
        assert not (tmp_path / "cache" / "blobs" / "sha256" / hex).exists()


def test_a_body_for_which_no_pipe_can_be_made_is_closed(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, answered = [], []
    close = Stretch.close

    def noted(self: Stretch) -> None:
        close(self)
        closed.append(self)

    def full(_: Pipes) -> Pipe:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def ask() -> None:
        running = Application(service, str(tmp_path))
        path = f"/v2/app/blobs/{LAYER.digest}"
        scope = SimpleNamespace(
            path=path, method="GET", query_string="", headers=Fields(), client="127.0.0.1:1", scheme="http"
        )
        protocol = SimpleNamespace(response_bytes=lambda status, *_: answered.append(status))
        await running(cast("Any", scope), cast("Any", protocol))
        running.__rsgi_del__(asyncio.get_running_loop())

    monkeypatch.setattr(Stretch, "close", noted)
    monkeypatch.setattr(Pipes, "open", full)
    asyncio.run(ask())
    assert answered == [500]
    assert len(closed) == 1
