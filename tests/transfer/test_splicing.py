"""The kernel moves bytes of a growing file into a pipe, as long as nobody else can reach the file."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from fixtures.transfers import CountedSource, NotedStage, opened
from servers.images import noise

from layercache.tiers.opening import open_tier
from layercache.transfer.growing import HELD_BACK
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.transfer.follower import Follower

DATA = noise(3 * HELD_BACK)
MOVED = 40_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="splice(2) is Linux's")


class HaltingSource(CountedSource):
    """Gives two thirds of the data, and the rest when it is let go."""

    def __init__(self) -> None:
        super().__init__(DATA)
        self.go = threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.given < 2 * HELD_BACK:
            return super().read(HELD_BACK)
        assert self.go.wait(20)
        return super().read(size)


@contextmanager
def half_come(url: str, *, rehash: bool = False) -> Iterator[tuple[HaltingSource, Follower]]:
    """A transfer into a tier of which a part has come, and a follower of it."""
    with closing(open_tier(url, nearest=True)) as tier:
        source = HaltingSource()
        blob = Transfer(source, TierSpool(tier), NotedStage(), size=len(DATA), rehash=rehash)
        with opened(blob) as follower:
            assert blob.start(threads=1)
            try:
                yield source, follower
            finally:
                source.go.set()


@contextmanager
def new_pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def test_bytes_of_a_growing_file_are_moved_and_the_rest_is_read(tmp_path: Path) -> None:
    with half_come(f"file://{tmp_path}") as (source, follower), new_pipe() as (read_end, write_end):
        begin = follower.read(1000)
        count = follower.splice_to(write_end, MOVED)
        assert 0 < count <= MOVED
        moved = os.read(read_end, MOVED)
        assert len(moved) == count
        source.go.set()
        rest = b"".join(iter(lambda: follower.read(HELD_BACK), b""))
    assert begin + moved + rest == DATA


def test_a_full_pipe_and_one_without_a_reader_move_nothing(tmp_path: Path) -> None:
    with half_come(f"file://{tmp_path}") as (_, follower):
        with new_pipe() as (_, write_end):
            while follower.splice_to(write_end, MOVED):
                pass
            at = follower.tell()
            assert 0 < at < HELD_BACK, "the pipe was full before the bytes ended"
        read_end, write_end = os.pipe2(os.O_NONBLOCK)
        os.close(read_end)
        assert follower.splice_to(write_end, MOVED) == 0
        os.close(write_end)
        assert follower.read(1000) == DATA[at : at + 1000]


def test_what_has_a_name_already_is_read_as_others_may_change_it(tmp_path: Path) -> None:
    with half_come(f"file://{tmp_path}") as (source, follower), new_pipe() as (_, write_end):
        source.go.set()
        follower.beside().run()
        assert follower.splice_to(write_end, MOVED) == 0
        assert follower.read(1000) == DATA[:1000]


def test_what_is_to_be_hashed_once_more_is_read(tmp_path: Path) -> None:
    with half_come(f"file://{tmp_path}", rehash=True) as (_, follower), new_pipe() as (_, write_end):
        assert follower.read(1000) == DATA[:1000]
        assert follower.splice_to(write_end, MOVED) == 0


def test_a_tier_without_files_moves_nothing() -> None:
    with half_come("memory://") as (_, follower), new_pipe() as (_, write_end):
        assert follower.splice_to(write_end, MOVED) == 0
        assert follower.read(1000) == DATA[:1000]
