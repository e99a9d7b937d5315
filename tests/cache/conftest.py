"""The core's chunks, small: so a layer of 100 KB has many, and the tests are quick."""

from __future__ import annotations

import pytest

from layercache.streams import inflate, readers
from layercache.transfer import transfer

CHUNK = 8 << 10


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (transfer, "CHUNK"),
        (transfer, "HELD_BACK"),
        (readers, "CHUNK"),
        (inflate, "CHUNK"),
        (inflate, "INFLATE_INPUT"),
    ):
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, CHUNK)
