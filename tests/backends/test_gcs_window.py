"""What is held of an object on its way to Google Cloud Storage, and what of it counts as progress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from layercache.backend import RewindError
from layercache.testing.base import pattern
from layercache_backends.gcs import window
from layercache_backends.gcs.window import Window
from layercache_backends.objects.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = pattern(8000)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("HELD", 4000), ("AHEAD", 2000), ("BLOCK", 1000), ("SMALL", 500)):
        monkeypatch.setattr(window, name, size)


class Counting(Deadline):
    def __init__(self) -> None:
        super().__init__(60)
        self.reports = 0

    def progress(self) -> None:
        self.reports += 1


def now(work: Callable[[], object]) -> None:
    work()


async def send(held: Window, start: int, patience: Deadline, pieces: int) -> bytes:
    """So many pieces of a request's body; asking for the next one reports the last one as sent."""
    body = held.body(start, patience)
    assert body is not None
    found = b"".join([bytes(await anext(body)) for _ in range(pieces)])
    held.piece(body, start + len(found))
    return found


def test_bytes_that_are_sent_again_are_progress_only_beyond_what_the_session_has_got_since() -> None:
    async def run() -> None:
        held, patience = Window(len(DATA), now), Counting()
        held.write(memoryview(DATA[:2000]))
        assert await send(held, 0, patience, 2) == DATA[:2000]
        assert patience.reports == 2
        assert await send(held, 0, patience, 2) == DATA[:2000]
        assert patience.reports == 2, "the session has got nothing"
        assert await send(held, 500, patience, 2) == DATA[500:2000]
        assert patience.reports == 2 + 3, "it has got 500 bytes, and the rest had been lost"
        assert await send(held, 500, patience, 2) == DATA[500:2000]
        assert patience.reports == 5
        held.begin()
        assert await send(held, 0, patience, 2) == DATA[:2000]
        assert patience.reports == 7, "another session"

    asyncio.run(run())


def test_no_more_is_held_than_can_be_sent_again_and_the_rest_is_asked_for() -> None:
    async def run() -> None:
        held, patience = Window(len(DATA), now), Counting()
        for start in range(0, len(DATA), 500):
            for part in range(start, start + 500, 100):
                held.write(memoryview(DATA[part : part + 100]))
            assert DATA[start:].startswith(await send(held, start, patience, 1))
            assert sum(map(len, held._blocks)) <= 4000
        first = held._first
        assert first == len(DATA) - 4000
        body = held.body(first, patience)
        assert body is not None
        assert await anext(body) == DATA[first : first + 500]
        held.body(first - 1, patience)
        with pytest.raises(RewindError) as raised:
            held.write(memoryview(DATA[-600:]))
        assert raised.value.offset == held.written == first - 1
        with pytest.raises(ConnectionError):
            await anext(body)  # the request of before
        held.write(memoryview(DATA[first - 1 :][:600]))
        assert await send(held, first - 1, patience, 1) == DATA[first - 1 :][:600]

    asyncio.run(run())
