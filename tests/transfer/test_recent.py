"""What one reader brings and reads next stays in memory in between, as far as that is little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.transfers import CountedSource, NotedStage, opened
from servers.images import noise

from layercache.streams import readers
from layercache.tiers.opening import open_tier
from layercache.transfer import growing, producer
from layercache.transfer import pace as pacing
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

CHUNK = 1 << 10
AHEAD = 8 * CHUNK
DATA = noise(200 * CHUNK + 77)


class CountedSpool(TierSpool):
    """A spool that counts how often it is read back."""

    reads = 0

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        self.reads += 1
        return super().readinto_at(offset, buffer)


@pytest.fixture
def spool(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountedSpool]:
    for module, name in ((readers, "CHUNK"), (producer, "CHUNK"), (growing, "HELD_BACK")):
        monkeypatch.setattr(module, name, CHUNK)
    monkeypatch.setattr(pacing, "AHEAD", AHEAD)
    tier = open_tier("memory://", nearest=True)
    yield CountedSpool(tier)
    tier.close()


def test_what_a_reader_brings_is_not_read_back(spool: CountedSpool) -> None:
    blob = Transfer(CountedSource(DATA), spool, NotedStage())
    with opened(blob) as follower:
        follower.set_pace(holds=False)
        seen = b""
        while piece := follower.read(CHUNK):
            seen += piece
            assert blob.recent_at(0) is None, "what was read is not kept"
        assert seen == DATA
    assert spool.reads <= 2


@pytest.mark.timeout(20)
def test_a_reader_that_pauses_holds_nobody_up_and_keeps_little_in_memory(spool: CountedSpool) -> None:
    blob = Transfer(CountedSource(DATA), spool, NotedStage())
    with opened(blob) as pausing, opened(blob) as other:
        pausing.set_pace(holds=False)
        assert blob.start(threads=1)
        assert other.read() == DATA
        assert blob.recent_at(len(DATA) - AHEAD - 3 * CHUNK) is None
        assert pausing.read() == DATA
