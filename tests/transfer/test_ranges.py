"""A range of a form that is on its way is read from the transfer, as soon as its bytes have come."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.transfers import CountedSource, NotedStage, opened
from servers.images import noise

from layercache.errors import DigestMismatchError, LayercacheError
from layercache.oci.digest import Digest
from layercache.streams import readers
from layercache.tiers import keys
from layercache.tiers.opening import open_tier
from layercache.transfer import growing, producer, recheck
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.tiers.tier import Tier

CHUNK = 1 << 10
HELD_BACK = 4 * CHUNK
DATA = noise(50 * CHUNK + 77)
SIZE = len(DATA)
NEAR_END = SIZE - HELD_BACK

RANGES = [
    (0, None),
    (0, SIZE),
    (0, 0),
    (0, 1),
    (1, 2),
    (CHUNK - 1, CHUNK + 1),
    (3 * CHUNK, 3 * CHUNK),
    (10 * CHUNK + 5, 20 * CHUNK + 6),
    (CHUNK, None),
    (NEAR_END - 1, NEAR_END),
    (NEAR_END - 1, NEAR_END + 1),
    (NEAR_END, NEAR_END + 3),
    (SIZE - 1, None),
    (SIZE - 5, SIZE - 5),
    (SIZE - 5, SIZE + 5),
    (SIZE, None),
    (SIZE, SIZE + 1),
    (SIZE + 1, None),
    (SIZE + 3, SIZE + CHUNK),
    (1 << 40, 1 << 41),
]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (readers, producer, recheck):
        monkeypatch.setattr(module, "CHUNK", CHUNK)
    monkeypatch.setattr(growing, "HELD_BACK", HELD_BACK)


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[Tier]:
    tier = open_tier(f"file://{tmp_path}/cache", nearest=True)
    yield tier
    tier.close()


@pytest.fixture
def raw() -> CountedSource:
    return CountedSource(DATA)


@pytest.mark.parametrize("stated", [None, SIZE])
@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize(("start", "end"), RANGES)
def test_a_range_is_that_part_of_the_bytes(
    raw: CountedSource, tier: Tier, start: int, end: int | None, threads: int, stated: int | None
) -> None:
    transfer = Transfer(raw, TierSpool(tier), NotedStage(), size=stated)
    with opened(transfer) as whole, opened(transfer, start, end) as part:
        if threads:
            transfer.start(threads=threads)
        assert part.read() == DATA[start:end]
        assert part.read() == b""
        assert whole.read() == DATA
        assert part.size == len(DATA[start:end])
    with pytest.raises(ValueError, match="closed"):
        part.read(1)


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_a_range_of_what_has_come_is_read_as_well(
    raw: CountedSource, tier: Tier, start: int, end: int | None
) -> None:
    transfer = Transfer(raw, TierSpool(tier), NotedStage(), rehash=True)
    with opened(transfer) as whole:
        whole.run()
        with opened(transfer, start, end) as part:
            assert part.read() == DATA[start:end]


def test_a_range_waits_for_its_own_bytes_alone(raw: CountedSource, tier: Tier) -> None:
    with opened(Transfer(raw, TierSpool(tier), NotedStage()), 5 * CHUNK, 6 * CHUNK) as part:
        assert part.read() == DATA[5 * CHUNK : 6 * CHUNK]
        assert raw.given <= 6 * CHUNK + HELD_BACK


@pytest.mark.parametrize(("start", "end"), [(0, 0), (NEAR_END, NEAR_END), (SIZE + 7, SIZE + 7)])
def test_an_empty_range_waits_for_nothing(raw: CountedSource, tier: Tier, start: int, end: int) -> None:
    with opened(Transfer(raw, TierSpool(tier), NotedStage()), start, end) as part:
        assert part.read() == b""
        assert raw.given == 0


@pytest.mark.parametrize(("start", "end"), [(NEAR_END, NEAR_END + 1), (SIZE - 1, None), (SIZE + 5, None)])
def test_the_last_bytes_are_given_to_no_range_before_all_was_found_right(
    raw: CountedSource, tier: Tier, start: int, end: int | None
) -> None:
    transfer = Transfer(raw, TierSpool(tier), NotedStage(wrong=True))
    with opened(transfer, start, end) as part, pytest.raises(DigestMismatchError):
        part.read(1)


def test_a_range_that_reaches_into_the_last_bytes_gets_what_comes_before_them(
    raw: CountedSource, tier: Tier
) -> None:
    transfer = Transfer(raw, TierSpool(tier), NotedStage(wrong=True))
    with opened(transfer, NEAR_END - 100) as part:
        assert readers.read_full(part, 100) == DATA[NEAR_END - 100 : NEAR_END]
        with pytest.raises(DigestMismatchError):
            part.read(1)


def test_a_range_whose_bytes_do_not_come_ends_in_an_error(raw: CountedSource, tier: Tier) -> None:
    raw.failing_at = 30 * CHUNK
    transfer = Transfer(raw, TierSpool(tier), NotedStage())
    with opened(transfer, 20 * CHUNK, 40 * CHUNK) as part, pytest.raises(OSError, match="broken off"):
        part.read(-1)


def test_in_a_range_offsets_count_from_its_start(raw: CountedSource, tier: Tier) -> None:
    start, end = 7 * CHUNK + 3, 45 * CHUNK
    wanted = DATA[start:end]
    with opened(Transfer(raw, TierSpool(tier), NotedStage()), start, end) as part:
        assert part.tell() == 0
        assert part.read(5) == wanted[:5]
        assert part.seek(100) == 100
        assert part.read(5) == wanted[100:105]
        assert part.seek(10, io.SEEK_CUR) == 115
        assert part.read(5) == wanted[115:120]
        assert part.seek(-5, io.SEEK_END) == len(wanted) - 5
        assert part.read() == wanted[-5:]
        assert part.seek(len(wanted) + 9) == len(wanted) + 9
        assert part.read() == b""
        with pytest.raises(ValueError, match="negative"):
            part.seek(-1)


def test_what_is_no_range_is_refused_and_follows_nothing(raw: CountedSource, tier: Tier) -> None:
    stage = NotedStage()
    transfer = Transfer(raw, TierSpool(tier), stage)
    follower = opened(transfer)
    for start, end in ((-1, None), (5, 4)):
        with pytest.raises(ValueError, match="not a range"):
            transfer.follow(start=start, end=end)
    follower.close()  # the last one, so it is given up
    assert transfer.follow() is None
    assert stage.published == []


@pytest.mark.parametrize("rehash", [False, True])
@pytest.mark.parametrize(("start", "end"), [(0, 10), (5 * CHUNK, 6 * CHUNK), (NEAR_END, None)])
def test_a_range_of_a_published_file_that_was_changed_ends_in_an_error(
    raw: CountedSource, tier: Tier, tmp_path: Path, start: int, end: int | None, rehash: bool
) -> None:
    transfer = Transfer(raw, TierSpool(tier), NotedStage(), rehash=rehash)
    with opened(transfer) as whole:
        whole.run()
        with (tmp_path / "cache" / keys.blob(Digest.of(DATA))).open("r+b") as file:
            file.write(b"changed")
        with opened(transfer, start, end) as part, pytest.raises(LayercacheError, match="was changed"):
            part.read()


def test_ranges_are_read_side_by_side_and_each_is_right(raw: CountedSource, tier: Tier) -> None:
    transfer = Transfer(raw, TierSpool(tier), NotedStage())
    found: dict[tuple[int, int | None], bytes] = {}
    with opened(transfer) as whole:

        def read(start: int, end: int | None) -> None:
            with opened(transfer, start, end) as part:
                found[start, end] = part.read()

        threads = [threading.Thread(target=read, args=each) for each in RANGES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole.run()
    assert found == {(start, end): DATA[start:end] for start, end in RANGES}
