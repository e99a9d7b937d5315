"""A transfer keeps the pace of the one that is made of it, and holds up nobody without need."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.transfers import CountedSource, NotedStage, opened
from servers.images import noise

from layercache.oci.digest import Digest
from layercache.streams import readers
from layercache.tiers.opening import open_tier
from layercache.transfer import growing, producer
from layercache.transfer import pace as pacing
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 10
AHEAD = 8 * CHUNK
IN_FLIGHT = 2
ALLOWED = AHEAD + (IN_FLIGHT + 3) * CHUNK
DATA = noise(200 * CHUNK + 77)


@pytest.fixture
def raw() -> CountedSource:
    return CountedSource(DATA)


@pytest.fixture
def stage() -> NotedStage:
    return NotedStage()


@pytest.fixture
def transfer(raw: CountedSource, stage: NotedStage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transfer]:
    for module, name in ((readers, "CHUNK"), (producer, "CHUNK"), (growing, "HELD_BACK")):
        monkeypatch.setattr(module, name, CHUNK)
    monkeypatch.setattr(pacing, "AHEAD", AHEAD)
    monkeypatch.setattr(producer, "IN_FLIGHT", IN_FLIGHT)
    tier = open_tier("memory://", nearest=True)
    transfer = Transfer(raw, TierSpool(tier), stage)
    yield transfer
    thread = transfer.cancel()
    if thread is not None:
        thread.join()
    tier.close()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    """How many drive the transfer."""
    number: int = request.param
    return number


@pytest.mark.parametrize("size", [100, CHUNK, 3 * CHUNK])
def test_it_is_never_far_ahead_of_the_one_that_sets_the_pace(
    transfer: Transfer, threads: int, raw: CountedSource, stage: NotedStage, size: int
) -> None:
    with opened(transfer) as pace:
        pace.set_pace()
        assert transfer.start(threads=threads)
        seen = bytearray()
        while part := pace.read(size):
            seen += part
            assert raw.given <= pace.tell() + ALLOWED
        assert seen == DATA
    assert stage.published == [Digest.of(DATA)]


def test_when_the_one_that_sets_the_pace_leaves_the_others_get_all(transfer: Transfer, threads: int) -> None:
    with opened(transfer) as other:
        with opened(transfer) as pace:
            pace.set_pace()
            transfer.start(threads=threads)
            assert pace.read(10) == DATA[:10]
        assert other.read() == DATA


def test_who_waits_for_a_transfer_that_is_held_back_is_told_that_it_was_given_up(
    transfer: Transfer, threads: int
) -> None:
    errors: list[Exception] = []
    with opened(transfer) as pace, opened(transfer) as other:
        pace.set_pace()
        transfer.start(threads=threads)

        def run() -> None:
            try:
                other.run()
            except Exception as error:
                errors.append(error)

        waiting = threading.Thread(target=run)
        waiting.start()
        transfer.cancel()
        waiting.join()
    assert [str(error) for error in errors] == ["the transfer was given up before its end"]


def test_who_waits_for_the_end_sets_the_pace_no_more(
    transfer: Transfer, threads: int, stage: NotedStage
) -> None:
    with opened(transfer) as pace:
        pace.set_pace()
        transfer.start(threads=threads)
        assert pace.seek(-5, 2) == len(DATA) - 5
        assert pace.read() == DATA[-5:]
    assert stage.published == [Digest.of(DATA)]


def test_what_breaks_off_is_told_after_what_came_before(
    transfer: Transfer, threads: int, raw: CountedSource
) -> None:
    raw.failing_at = 50 * CHUNK
    with opened(transfer) as pace:
        pace.set_pace()
        transfer.start(threads=threads)
        assert pace.read(10) == DATA[:10]
        with pytest.raises(OSError, match="broken off"):
            pace.read(-1)


def test_bytes_that_went_out_of_memory_are_read_back(transfer: Transfer, threads: int) -> None:
    with opened(transfer) as pace:
        pace.set_pace()
        transfer.start(threads=threads)
        pace.seek(150 * CHUNK)
        assert pace.read(CHUNK) == DATA[150 * CHUNK :][:CHUNK]
        pace.seek(3)
        assert pace.read(-1) == DATA[3:]
