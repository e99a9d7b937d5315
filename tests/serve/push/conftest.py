"""Fixtures of the tests of pushes: writable mirrors in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.pushing import Pusher

import layercache
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.pushing import Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start writable mirrors over one cache; keywords are settings, ``tiers`` are URLs."""
    running: list[Service] = []

    def begin(*tiers: str, **settings: object) -> Pusher:
        opened = layercache.open(list(tiers) or f"file://{tmp_path}/cache")
        set_up = ServeSettings(**{"writable": True, "hosted": ("*",), **settings})  # type: ignore[arg-type]
        running.append(Service(opened, set_up))
        return Pusher(running[-1])

    yield begin
    for service in running:
        service.close()


@pytest.fixture
def pusher(start: Start) -> Pusher:
    """A writable mirror over an empty cache, all of whose repositories are hosted."""
    return start()
