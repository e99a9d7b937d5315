"""What the application adds to a request: as few threads and calls as can be."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from servers.asking import Fields
from servers.images import make_image, make_layer, noise
from servers.received import open_service, receive

import layercache
from layercache.serve import pipes
from layercache.serve.application import Application
from layercache.serve.observed import Observed
from layercache.serve.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    import pytest
    from servers.lying import LyingRegistry

    from layercache.serve.messages import Headers

PACKAGE = os.path.dirname(layercache.__file__)

QUICK_CALLS = 29
"""Python functions that are called for a manifest in memory, at most."""

MANIFEST = "/v2/app/manifests/1"
LAYER = make_layer({"noise": noise(300_000)})


@dataclass
class Scope:
    """A request, as the server below hands it over."""

    path: str
    method: str = "GET"
    query_string: str = ""
    headers: Fields = field(default_factory=Fields)
    client: str = "127.0.0.1:1"
    scheme: str = "http"


class Protocol:
    """The server below: it reads the file that it is asked to send, in a thread. ``begun_by``: a thread."""

    def __init__(self) -> None:
        self.body = b""
        self.begun_by = ""
        self._reading: threading.Thread | None = None

    def response_bytes(self, _status: int, _headers: Headers, body: bytes) -> None:
        self.body = body

    def response_file(self, _status: int, _headers: Headers, file: str) -> None:
        self.begun_by = threading.current_thread().name
        self._reading = threading.Thread(target=self._read, args=(file,))
        self._reading.start()

    def join(self) -> None:
        assert self._reading is not None, "a file was sent"
        self._reading.join(20)

    def _read(self, file: str) -> None:
        with open(file, "rb") as pipe:
            self.body = pipe.read()


def test_a_cold_blob_is_waited_for_and_sent_by_one_thread(
    lying: LyingRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of threads before the first byte is one that the client waits for."""
    lying.add_image("1", make_image([LAYER]))
    fed_by: list[str] = []
    feed = pipes.Pipe.feed

    def noted(*arguments: Any, **options: Any) -> int:
        fed_by.append(threading.current_thread().name)
        return feed(*arguments, **options)

    monkeypatch.setattr(pipes.Pipe, "feed", noted)
    service = open_service(f"file://{tmp_path}/cache", upstream=lying.host)
    protocol = Protocol()

    async def ask() -> None:
        running = Application(service, str(tmp_path))
        scope = Scope(f"/v2/app/blobs/{LAYER.digest}")
        await running(cast("Any", scope), cast("Any", protocol))
        running.__rsgi_del__(asyncio.get_running_loop())  # closes the service

    receive(service, MANIFEST)
    asyncio.run(ask())
    protocol.join()
    assert protocol.body == LAYER.blob
    assert [protocol.begun_by] == fed_by
    assert protocol.begun_by.startswith("stream")


def test_a_manifest_in_memory_costs_few_calls(lying: LyingRegistry, tmp_path: Path) -> None:
    image = make_image([LAYER])
    lying.add_image("1", image)
    service = open_service(f"file://{tmp_path}/cache", upstream=lying.host)
    tally = Tally(lambda: service.cache.counters)
    protocol = Protocol()
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and PACKAGE in frame.f_code.co_filename:
            called.append(frame.f_code.co_name)

    async def ask() -> None:
        observed = Observed(Application(service, str(tmp_path)), tally, "off")
        for measured in (False, True):
            sys.setprofile(note if measured else None)
            await observed(cast("Any", Scope(MANIFEST)), cast("Any", protocol))
            sys.setprofile(None)
        observed.__rsgi_del__(asyncio.get_running_loop())  # closes the service

    receive(service, MANIFEST)
    asyncio.run(ask())
    assert protocol.body == image.manifest
    assert called[0] == "__call__", "it was measured"
    assert len(called) <= QUICK_CALLS, called
