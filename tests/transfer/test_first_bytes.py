"""Nobody waits longer than necessary for the first bytes of a transfer that threads drive."""

from __future__ import annotations

import threading
from contextlib import closing

from fixtures.transfers import CountedSource, NotedStage, opened
from servers.images import noise

from layercache.tiers.opening import open_tier
from layercache.transfer.growing import HELD_BACK
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

FIRST = 32 << 10
DATA = noise(3 * HELD_BACK)


class SlowSource(CountedSource):
    """Gives a few bytes, and the rest when it is let go. Notes the threads that read it."""

    def __init__(self) -> None:
        super().__init__(DATA)
        self.go = threading.Event()
        self.readers: list[str] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.readers.append(threading.current_thread().name)
        if not self.given:
            return super().read(FIRST)
        assert self.go.wait(20)
        return super().read(size)


def test_the_first_bytes_pass_through_one_thread_and_the_rest_through_two() -> None:
    with closing(open_tier("memory://", nearest=True)) as tier:
        source = SlowSource()
        blob = Transfer(source, TierSpool(tier), NotedStage(), size=len(DATA))
        with opened(blob) as follower:
            assert blob.start(threads=2)
            assert follower.read(HELD_BACK) == DATA[:FIRST], "what has come is given before there is more"
            source.go.set()
            while follower.read(HELD_BACK):
                pass
        first, *others = source.readers
        assert first == "layercache writes", "no other thread was waited for"
        assert set(others) == {"layercache reads"}
