"""A layer of 100 KB has many chunks here, and a pass is driven in each of the two ways."""

from __future__ import annotations

import pytest
from fixtures.chunks import small_chunks

from layercache.resolver.fetch import Fetcher

__all__ = ["driven", "small_chunks"]


@pytest.fixture(params=["one thread", "three threads"])
def driven(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass is driven by its readers, or by separate threads."""
    monkeypatch.setattr(Fetcher, "idle", lambda *_: request.param == "three threads")
