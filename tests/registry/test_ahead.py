"""A big blob on a slow connection comes by several closed ranges at once, within bounds."""

from __future__ import annotations

import itertools
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from registry.asking import Waits, ranges, read, repository_of, source_of
from servers.images import noise
from servers.lying import cut_off, ignoring_range, status
from servers.odd_answers import paced, part

from layercache.errors import SourceError
from layercache.oci.digest import Digest
from layercache.registry import download, read_ahead
from layercache.registry.download import BlobReader
from layercache.registry.ranges import Blob, Part
from layercache.registry.read_ahead import RANGES_AHEAD, SLOTS, Ahead, is_slow
from layercache.registry.retry import Retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.lying import Answer, Fault, LyingRegistry, Request
    from urllib3.response import BaseHTTPResponse

    from layercache.registry.download import Way
    from layercache.sources.registry import RegistrySource

RANGE = 256 << 10
BLOB = noise(20 * RANGE + 1000)
SLOW = paced(4 << 20)
ARRIVED = noise(64 << 10)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges as small as the blobs here, and a rate that is believed soon."""
    monkeypatch.setattr(read_ahead, "RANGE", RANGE)
    monkeypatch.setattr(read_ahead, "LOOK", 0.05)


def from_image(lying: LyingRegistry, waits: Waits) -> bytes:
    return read(source_of(lying, waits), lying.add_blob(BLOB))


def from_tier(lying: LyingRegistry, waits: Waits) -> bytes:
    with repository_of(lying, waits).open_blob(lying.add_blob(BLOB).digest) as reader:
        return reader.read()


def covered(asked: list[str | None]) -> list[tuple[int, int]]:
    """Where each range that was asked for begins and ends, in the order of the blob."""
    return sorted(
        (int(first), int(last) + 1) for each in asked if each for first, last in [each[6:].split("-")]
    )


def free_slots(source: RegistrySource) -> int:
    slots, count = source._client.slots, 0
    while slots.acquire(blocking=False):
        count += 1
    slots.release(count)
    return count


@pytest.mark.parametrize("ask", [from_image, from_tier])
def test_after_one_plain_get_the_rest_comes_by_ranges_that_follow_each_other(
    ask: Callable[[LyingRegistry, Waits], bytes], lying: LyingRegistry, waits: Waits
) -> None:
    lying.on("/blobs/", *[SLOW] * 99)
    assert ask(lying, waits) == BLOB
    assert ranges(lying)[0] is None
    parts = covered(ranges(lying))
    assert parts[-1][1] == len(BLOB)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(parts))
    assert {end - begin for begin, end in parts[:-1]} == {RANGE}
    # The plain GET may still be there, and a part whose end the server has not seen yet.
    assert 1 < lying.at_once <= RANGES_AHEAD + 2
    assert not waits


def test_a_fast_connection_and_a_small_blob_need_one_request(lying: LyingRegistry, waits: Waits) -> None:
    assert from_image(lying, waits) == BLOB
    assert ranges(lying) == [None]
    small = lying.add_blob(BLOB[: 2 * RANGE])
    lying.requests.clear()
    lying.on("/blobs/", SLOW)
    assert read(source_of(lying, waits), small) == BLOB[: 2 * RANGE]
    assert ranges(lying) == [None]


def test_a_reader_who_takes_its_time_makes_nothing_slow(lying: LyingRegistry, waits: Waits) -> None:
    assert not is_slow(read=1 << 20, left=1 << 30, waited=0.001)
    assert not is_slow(read=1 << 30, left=1 << 30, waited=1)
    assert is_slow(read=1 << 20, left=1 << 30, waited=1)
    assert not is_slow(read=1 << 20, left=2 * RANGE, waited=1)


class Arrived:
    """A way to a blob whose bytes all have reached this machine, when the clock runs a second a reading."""

    slots = threading.Semaphore(SLOTS)
    length_remaining = 0  # after the last

    def __init__(self, sock: socket.socket, *, is_known: bool) -> None:
        self.connection = SimpleNamespace(sock=sock) if is_known else None
        self._sock = sock
        self.asked = 0

    def open_at(self, offset: int, *, ranges: bool = True) -> Part:
        return Part(cast("BaseHTTPResponse", self), offset, len(ARRIVED))

    def open_range(self, *_: int) -> None:
        self.asked += 1

    def read(self, size: int) -> bytes:
        return self._sock.recv(size)

    def release_conn(self) -> None:
        pass

    close = drain_conn = release_conn


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "not known"])
def test_a_reader_who_waits_for_the_interpreter_makes_nothing_slow(
    monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setattr(read_ahead, "RANGE", 8 << 10)
    monkeypatch.setattr(download, "READ_SIZE", 8 << 10)
    monkeypatch.setattr(download, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(ARRIVED)
        way = Arrived(ours, is_known=is_known)
        blob = Blob(Digest.of(ARRIVED), len(ARRIVED), "a blob")
        reader = BlobReader(blob, 0, cast("Way", way), Retries(1, Waits()))
        assert b"".join(iter(lambda: reader.read(8 << 10), b"")) == ARRIVED
    assert bool(way.asked) is not is_known


def test_a_socket_that_was_closed_meanwhile_is_a_connection_that_broke_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_ahead, "RANGE", 8 << 10)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        way, blob = Arrived(ours, is_known=True), Blob(Digest.of(ARRIVED), len(ARRIVED), "a blob")
        reader = BlobReader(blob, 0, cast("Way", way), Retries(1, Waits()))
        ours.close()
        with pytest.raises(SourceError, match="broke off 2 times"):
            reader.read(8 << 10)


REFUSALS: dict[str, Fault] = {
    "416": status(416),
    "429": status(429, Retry_After="9"),
    "200": ignoring_range,
    "another part": part(5, 5 + RANGE),
    "a smaller part": part(10 * RANGE, 10 * RANGE + 5),
    "404": status(404),
    "503": status(503),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_at_the_first_refusal_one_stream_goes_on(answer: Fault, lying: LyingRegistry, waits: Waits) -> None:
    lying.on("/blobs/", SLOW, *[answer] * RANGES_AHEAD)
    assert from_image(lying, waits) == BLOB
    assert len(ranges(lying)) <= 1 + RANGES_AHEAD, "the stream that was there is read on"
    assert not waits


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_in_the_middle_ends_it_for_this_blob(
    answer: Fault, lying: LyingRegistry, waits: Waits
) -> None:
    lying.on("/blobs/", *[SLOW] * 6, answer, *[SLOW] * 99)
    assert from_image(lying, waits) == BLOB
    assert len(ranges(lying)) <= 7 + RANGES_AHEAD + 1
    rest = [each for each in ranges(lying) if each and each.endswith(f"-{len(BLOB) - 1}")]
    assert len(rest) == 1, "one request for all of the rest"


def test_a_range_that_breaks_goes_on_where_it_was(lying: LyingRegistry, waits: Waits) -> None:
    lying.on("/blobs/", SLOW, cut_off(100_000), *[SLOW] * 99)
    assert from_image(lying, waits) == BLOB
    starts = [begin for begin, _ in covered(ranges(lying))]
    assert sum((start - starts[0]) % RANGE == 100_000 for start in starts) == 1
    assert not waits


def test_other_bytes_of_a_range_reach_the_reader_in_their_place_alone(
    lying: LyingRegistry, waits: Waits
) -> None:
    def reversed_(_: Request, answer: Answer) -> None:
        answer.body = answer.body[::-1]

    lying.on("/blobs/", SLOW, reversed_, *[SLOW] * 99)
    got = from_image(lying, waits)
    wrong = [(begin, end) for begin, end in covered(ranges(lying)) if got[begin:end] != BLOB[begin:end]]
    assert len(wrong) == 1, "the hash is for the reader to check"
    assert got[: wrong[0][0]] == BLOB[: wrong[0][0]]
    assert got[wrong[0][1] :] == BLOB[wrong[0][1] :]


def test_many_slow_blobs_share_a_bounded_number_of_ranges(lying: LyingRegistry, waits: Waits) -> None:
    blobs = [lying.add_blob(BLOB + bytes([number])) for number in range(6)]
    lying.on("/blobs/", *[SLOW] * 999)
    source = source_of(lying, waits)
    with ThreadPoolExecutor(len(blobs)) as pool:
        assert [data[-1] for data in pool.map(lambda blob: read(source, blob), blobs)] == list(range(6))
    assert lying.at_once <= len(blobs) + SLOTS
    assert free_slots(source) == SLOTS


@pytest.mark.parametrize("reads", [1, 3, 30])
def test_a_reader_that_leaves_gives_all_back(reads: int, lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[SLOW] * 99)
    source = source_of(lying, waits)
    with source.open_blob(blob) as reader:
        for _ in range(reads):
            assert reader.read(100_000)
    for thread in threading.enumerate():
        if thread.name == "layercache range":
            thread.join(60)
    assert free_slots(source) == SLOTS


def test_no_more_ranges_are_held_than_the_reader_allows() -> None:
    begun: list[int] = []

    def open_range(begin: int, end: int) -> None:
        begun.append(begin)

    slots = threading.Semaphore(SLOTS)
    ranges_ahead = Ahead(0, 100 * RANGE, open_range, slots)
    assert ranges_ahead.read(1) == b""
    assert ranges_ahead.refused
    assert len(begun) <= RANGES_AHEAD
    ranges_ahead.close()
