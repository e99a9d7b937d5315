"""The core's chunks, small: so a layer of 100 KB has many, and the tests are quick."""

from __future__ import annotations

import pytest

from layercache import inflate, pipeline, streams

CHUNK = 8 << 10


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (pipeline, "CHUNK"),
        (pipeline, "HOLD"),
        (streams, "CHUNK"),
        (inflate, "CHUNK"),
        (inflate, "INFLATE_INPUT"),
    ):
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, CHUNK)
