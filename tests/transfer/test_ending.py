"""However a transfer ends, everybody who waits for it learns that, and what it used is closed once."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from fixtures.transfers import CountedSource, NotedStage, opened
from servers.images import noise

from layercache.errors import DigestMismatchError, LayercacheError
from layercache.oci.digest import Hash
from layercache.streams import readers
from layercache.tiers.opening import open_tier
from layercache.transfer import growing, layer_lock, producer
from layercache.transfer import pace as pacing
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer
from layercache_backends.memory import MemoryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from layercache.backend.capabilities import Lock
    from layercache.transfer.follower import Follower

CHUNK = 1 << 10
DATA = noise(200 * CHUNK + 77)
TIMEOUT = 20
"""Seconds after which a thread that nobody wakes is a failure."""


class StuckSource(CountedSource):
    """Gives some chunks, then nothing, until it is let go."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reached, self.go = threading.Event(), threading.Event()
        self.closed_while_read = False
        self.closings = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if self.given >= 20 * CHUNK:
            self.reached.set()
            assert self.go.wait(TIMEOUT)
            self.closed_while_read |= self.closed
        return super().read(size)

    def close(self) -> None:
        self.closings += 1
        super().close()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((readers, "CHUNK"), (producer, "CHUNK"), (growing, "HELD_BACK")):
        monkeypatch.setattr(module, name, CHUNK)


@pytest.fixture
def spool() -> Iterator[TierSpool]:
    tier = open_tier("memory://", nearest=True)
    yield TierSpool(tier)
    tier.close()


def misreading(spool: TierSpool, at: int) -> Callable[[int, WriteableBuffer], int]:
    """What reads from the spool as before, but for a bit of the byte at one offset."""
    right = spool.readinto_at

    def misread(offset: int, buffer: WriteableBuffer, /) -> int:
        count = right(offset, buffer)
        if offset <= at < offset + count:
            memoryview(buffer)[at - offset] ^= 1
        return count

    return misread


def ends(thread: threading.Thread | None) -> bool:
    if thread is not None:
        thread.join(TIMEOUT)
    return thread is None or not thread.is_alive()


@pytest.mark.parametrize("threads", [1, 2])
def test_who_waits_while_the_source_is_stuck_learns_that_it_was_given_up(
    spool: TierSpool, threads: int
) -> None:
    raw = StuckSource(DATA)
    transfer = Transfer(raw, spool, NotedStage())
    errors: list[str] = []

    def wait(follower: Follower) -> None:
        try:
            follower.read()
        except LayercacheError as error:
            errors.append(str(error))

    with opened(transfer) as first, opened(transfer) as second:
        transfer.start(threads=threads)
        waiting = [threading.Thread(target=wait, args=(each,)) for each in (first, second)]
        for thread in waiting:
            thread.start()
        assert raw.reached.wait(TIMEOUT)
        driving = transfer.cancel()
        assert all(map(ends, waiting))
        assert errors == ["the transfer was given up before its end"] * 2
    assert raw.closings == 0, "all have left, but a thread still reads it"
    raw.go.set()
    assert ends(driving)
    assert (raw.closings, raw.closed_while_read) == (1, False)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_held_back_for_its_pace_goes_on_when_it_is_given_up(
    spool: TierSpool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "AHEAD", 8 * CHUNK)
    monkeypatch.setattr(producer, "IN_FLIGHT", 2)
    transfer = Transfer(CountedSource(DATA), spool, NotedStage())
    with opened(transfer) as slow:
        slow.set_pace()
        transfer.start(threads=threads)
        assert slow.read(1)
        assert ends(transfer.cancel())


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_a_transfer_settles_once_and_closes_its_source_once(spool: TierSpool, threads: int) -> None:
    raw, stage = StuckSource(DATA), NotedStage()
    raw.go.set()
    transfer = Transfer(raw, spool, stage)
    with opened(transfer) as follower:
        if threads:
            transfer.start(threads=threads)
        assert follower.read() == DATA
    assert ends(transfer.cancel())
    assert (raw.closings, stage.settlings) == (1, 1)


def test_an_interrupt_ends_a_transfer_for_all_and_is_raised_in_its_own_thread_alone(spool: TierSpool) -> None:
    class Interrupted(CountedSource):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.given > 5 * CHUNK:
                raise KeyboardInterrupt
            return super().read(size)

    transfer = Transfer(Interrupted(DATA), spool, NotedStage())
    with opened(transfer) as mine, opened(transfer) as other:
        with pytest.raises(KeyboardInterrupt):
            mine.run()
        with pytest.raises(LayercacheError, match="given up"):
            other.run()


@pytest.mark.parametrize("start", [0, 3 * CHUNK])
def test_a_follower_knows_whether_another_reader_begins_as_it_did(spool: TierSpool, start: int) -> None:
    with opened(Transfer(CountedSource(DATA), spool, NotedStage()), start) as follower:
        readers.read_full(follower, 5 * CHUNK)
        same, other = DATA[start:], DATA[start + 1 :]
        assert follower.begins_alike(MemoryReader(same), 4 * CHUNK)
        assert not follower.begins_alike(MemoryReader(other), 4 * CHUNK)
        assert not follower.begins_alike(MemoryReader(same[:CHUNK]), 4 * CHUNK)
        assert not follower.begins_alike(MemoryReader(same), len(same)), "so far it has not come"


def test_one_that_hashes_what_it_reads_may_seek(spool: TierSpool) -> None:
    with opened(Transfer(CountedSource(DATA), spool, NotedStage(), rehash=True)) as follower:
        follower.seek(10 * CHUNK)
        assert follower.read() == DATA[10 * CHUNK :]
        follower.seek(0)
        assert follower.read() == DATA


def test_one_that_hashes_what_it_reads_is_not_content_with_a_file_that_is_right(
    spool: TierSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, misread = spool.readinto_at, misreading(spool, 10 * CHUNK)
    with opened(Transfer(CountedSource(DATA), spool, NotedStage(), rehash=True)) as follower:
        follower.run()
        assert follower.read(10 * CHUNK) == DATA[: 10 * CHUNK]
        monkeypatch.setattr(spool, "readinto_at", misread)
        follower.read(CHUNK)
        monkeypatch.setattr(spool, "readinto_at", right)
        with pytest.raises(LayercacheError, match="was changed"):
            follower.read()


@pytest.mark.parametrize("start", [0, 3 * CHUNK])
def test_where_it_hashes_what_it_reads_the_bytes_that_it_gave_are_compared_not_those_of_the_file(
    spool: TierSpool, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """A file may be changed, and changed back, by who can write to it; a disk may read wrongly once."""
    right, misread = spool.readinto_at, misreading(spool, 10 * CHUNK)
    transfer = Transfer(CountedSource(DATA), spool, NotedStage(), rehash=True)
    with opened(transfer, start) as follower, opened(transfer, start) as other:
        follower.run()
        for each, read in ((follower, misread), (other, right)):
            monkeypatch.setattr(spool, "readinto_at", read)
            readers.read_full(each, 20 * CHUNK)
            assert each.begins_alike(MemoryReader(DATA[start:]), 20 * CHUNK) == (each is other)
        with pytest.raises(LayercacheError, match="was changed"):
            follower.read()
        given = follower.tell()
        assert 20 * CHUNK <= given < len(DATA) - start
        assert not follower.begins_alike(MemoryReader(DATA[start:]), given)


def test_what_was_given_before_a_wrong_end_is_known_by_its_hash(
    spool: TierSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(Transfer(CountedSource(DATA), spool, NotedStage(), rehash=True)) as follower:
        follower.run()
        monkeypatch.setattr(spool, "readinto_at", misreading(spool, len(DATA) - 1))
        with pytest.raises(LayercacheError, match="was changed"):
            follower.read()
        assert follower.begins_alike(MemoryReader(DATA), follower.tell()), "what was given is right"


def test_more_bytes_than_stated_are_not_read_on_and_on(spool: TierSpool) -> None:
    source = CountedSource(DATA)
    with opened(Transfer(source, spool, NotedStage(wrong=True), size=10 * CHUNK)) as follower:
        with pytest.raises(DigestMismatchError):
            follower.read()
        assert source.given == 11 * CHUNK


class NotedLock:
    """A lock between processes, and how often its holder has given a sign of life."""

    def __init__(self) -> None:
        self.signs = 0

    def note(self) -> bytes:
        return b""

    def leave_note(self, note: bytes) -> None:
        self.signs += 1


def test_who_brings_a_layer_gives_a_sign_of_life_as_bytes_come_and_lets_go_at_the_end(
    spool: TierSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_lock, "BEAT", 0.0)
    lock, held, released = NotedLock(), ExitStack(), threading.Event()
    held.callback(released.set)
    transfer = Transfer(CountedSource(DATA), spool, NotedStage())
    with opened(transfer) as follower:
        transfer.led_by(layer_lock.LayerLock(held, lock))
        follower.read(10 * CHUNK)
        assert lock.signs > 0
        assert not released.is_set()
        before = lock.signs
        follower.run()
        assert lock.signs > before
        assert released.is_set()


def test_a_thread_in_the_midst_of_one_layer_does_not_wait_for_who_brings_another(tmp_path: Path) -> None:
    tier, waits = open_tier(f"file://{tmp_path}", nearest=True), list[float]()
    lock = tier.blobs.lock

    def noted(name: Hash, *, timeout: float) -> AbstractContextManager[Lock | None]:
        waits.append(timeout)
        return lock(name, timeout=timeout)

    tier.blobs.lock = noted  # type: ignore[method-assign]
    locks = layer_lock.LayerLocks()
    held = [locks.take(tier, Hash.of(name)) for name in (b"one layer", b"another")]
    for each in held:
        each.end()
    locks.take(tier, Hash.of(b"a third")).end()
    assert waits == [layer_lock.PATIENCE, 0, layer_lock.PATIENCE]
