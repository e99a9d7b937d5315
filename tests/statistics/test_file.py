"""The file of totals: one small append a process, bounded, and never an error for anybody."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import put, read, sample
from fixtures.stores import near

import layercache
from layercache.cache import Cache
from layercache.statistics import file, totals
from layercache.statistics.counters import Counters, PlaceCounters
from layercache.statistics.file import Recorder
from layercache.statistics.totals import RATE, Day, PlaceTotals, by_day, compacted, summed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYER = sample(1)
DONE = Counters(hits=1, places=(PlaceCounters("tier", "s3://team", 1, 10, 10, 0),))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "statistics.jsonl")


def warm(path: str) -> Cache:
    """A cache with one hit that was not recorded yet."""
    cache = Cache([near()], statistics=path)
    put(cache, LAYER.blob)
    read(cache.get(LAYER.diff_id).uncompressed())
    return cache


def recorded(path: str) -> Day:
    return summed(file.read(path))


def test_a_cache_that_is_closed_adds_one_line(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-02-28")
    for _ in range(3):
        warm(path).close()
    lines = file.read(path)
    assert [(line.day, line.hits, line.saved_bytes) for line in lines] == [
        ("2026-02-28", 1, len(LAYER.blob))
    ] * 3
    assert all(line.inflated_bytes == len(LAYER.tar) for line in lines)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert recorded(path).saved_tar_bytes == 3 * len(LAYER.tar)


def test_closing_twice_or_in_two_threads_counts_once(path: str) -> None:
    cache = warm(path)
    threads = [threading.Thread(target=cache.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert len(file.read(path)) == 1


def test_nothing_is_written_where_nothing_was_done(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the file is not even looked for")

    monkeypatch.setattr(file, "_append", refuse)
    cache = Cache([near()], statistics=path)
    assert LAYER.digest not in cache
    cache.close()


def test_a_process_costs_one_append_and_no_sync(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(path).record(DONE)
    calls: list[str] = []

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: object, **more: object) -> object:
            calls.append(name)
            return call(*args, **more)

        return counting

    for name in ("open", "write", "fsync", "fdatasync", "replace", "makedirs"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    Recorder(path).record(DONE)
    assert calls == ["open", "write"]


def test_a_forked_child_does_not_count_again_what_its_parent_did(path: str) -> None:
    code = (
        "import os, sys; from layercache.statistics.file import Recorder\n"
        "from layercache.statistics.counters import Counters, PlaceCounters\n"
        "recorder = Recorder(sys.argv[1])\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "recorder.record(Counters(places=(PlaceCounters('tier', 'a', 1, 2, 3, 4),)))\n"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)
    assert recorded(path).hits == 1


def test_many_processes_that_append_at_once_lose_nothing(path: str) -> None:
    code = (
        "import sys; from layercache.statistics.file import Recorder\n"
        "from layercache.statistics.counters import Counters, PlaceCounters\n"
        "for _ in range(50):\n"
        "    Recorder(sys.argv[1]).record(Counters(places=(PlaceCounters('tier', 'a', 1, 2, 3, 4),)))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, path]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert recorded(path).places == [PlaceTotals("tier", "a", 200, 400, 600, 800)]


def test_broken_lines_are_skipped(path: str) -> None:
    Recorder(path).record(DONE)
    with open(path, "ab") as opened:
        opened.write(b'\0\xff{"day":"2026-01-01","pla\n[]\nnull\n{"day":"yesterday"}\n')
        opened.write(b'{"day":"2026-01-01","places":[["tier","a",-1,0,0,0]]}\n')
        opened.write(b'{"day":"2026-01-01","places":[["tier","\xff",1,0,0,0]]}\n')
        opened.write(b'{"day":"2026-01-01","inflated_bytes":' + b"9" * 5000 + b"}\n" + b"[" * 100_000 + b"\n")
        opened.write(b'{"day":"2026-01-01","inflated_bytes":' + b"9" * 400 + b',"inflating_seconds":1}\n')
        opened.write(b'{"day":"2026-01-01","inflating_seconds":1e308}\n' * 2)
        opened.write(b'{"day":"2026-01-01","places":[["moon","a",1,0,0,0]]}\n')
        opened.write(b'{"day":"2026-01-01","places":[["tier","a",1e400,0,0,0]]}\n{"day":')
    assert (recorded(path).hits, recorded(path).rate) == (1, RATE)
    Recorder(path).record(DONE)
    Recorder(path).record(DONE)
    assert recorded(path).hits == 2, "the line after a torn one is lost with it, and no other"


def test_the_file_is_compacted_and_its_size_bounded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "COMPACT_FROM", 8 << 10)
    biggest = 0
    for number in range(600):
        monkeypatch.setattr(time, "strftime", lambda *_, number=number: f"2026-{number // 28 % 12 + 1:02}-01")
        place = PlaceCounters("tier", f"file:///tmp/{'x' * 500}{number}", 1, 10, 7, 0)
        Recorder(path).record(Counters(hits=1, places=(place,)))
        biggest = max(biggest, os.path.getsize(path))
    assert biggest < (8 << 10) + 1000
    total = recorded(path)
    assert (total.hits, total.saved_bytes) == (600, 4200), "compacting loses nothing"
    assert os.listdir(os.path.dirname(path)) == ["statistics.jsonl"]


def test_old_days_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "PLACES", 2)
    lines = [
        Day(f"20{year}-01-0{day}", [PlaceTotals("tier", name, 1, size, size) for name, size in places])
        for year, day, places in [
            (20, 1, [("a", 5)]),
            (21, 2, [("b", 5)]),
            (21, 2, [("c", 9), ("b", 1), ("d", 3)]),
            (22, 3, [("a", 1)]),
        ]
    ]
    small = compacted([*lines, Day("", [PlaceTotals("tier", "a", 7, 100, 7)])], newest=2)
    assert [day.day for day in small] == ["", "2021-01-02", "2022-01-03"]
    assert [(place.name, place.blobs, place.bytes) for place in small[0].places] == [("a", 8, 105)]
    assert [(place.name, place.blobs) for place in small[1].places] == [("c", 1), ("b", 2), ("others", 1)]
    assert summed(small).hits == summed(lines).hits + 7
    assert [day.day for day in by_day(small)] == [day.day for day in small]


def test_a_compaction_that_was_killed_is_cleared_away(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "COMPACT_FROM", 100)
    for _ in range(3):
        Recorder(path).record(DONE)
    unfinished = f"{path}.new"
    with open(unfinished, "wb"):
        pass
    Recorder(path).record(DONE)
    assert os.path.exists(unfinished), "another process may be compacting"
    os.utime(unfinished, (0, 0))
    Recorder(path).record(DONE)
    Recorder(path).record(DONE)
    assert not os.path.exists(unfinished)
    assert recorded(path).hits == 6


def planted(path: str, kind: str) -> None:
    os.makedirs(os.path.dirname(path))
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            os.mkdir(path)
        case "link":
            os.symlink("/etc/hostname", path)
        case "second name":
            with open(f"{path}.other", "wb"):
                pass
            os.link(f"{path}.other", path)
        case "device":
            os.symlink("/dev/full", path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "second name", "device"])
def test_what_is_no_file_of_ours_is_not_written_to_and_blocks_nobody(path: str, kind: str) -> None:
    planted(path, kind)
    warm(path).close()
    assert file.read(path) == []


def test_a_state_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (f"{tmp_path}/file/statistics.jsonl", "/proc/nowhere/statistics.jsonl"):
        warm(path).close()
        assert file.read(path) == []


def test_a_place_whose_name_is_not_text_is_no_error(path: str) -> None:
    place = PlaceCounters("tier", "file:///\udcff", 1, 1, 1, 0)
    Recorder(path).record(Counters(places=(place,)))
    assert file.read(path) == []


def test_root_leaves_nothing_in_a_users_home(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under sudo, where HOME may still be the user's."""
    home = os.path.dirname(os.path.dirname(path))
    found = os.stat(home)
    users = os.stat_result([*found[:4], 1234, *found[5:]])
    stating = os.stat
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        os, "stat", lambda at, *args, **more: users if at == home else stating(at, *args, **more)
    )
    Recorder(path).record(DONE)
    assert not os.path.exists(os.path.dirname(path))


def test_statistics_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = tmp_path / "layercache.toml"
    config.write_text('tiers = ["./layers"]\nstatistics = false\n')
    for options in ({"statistics": False}, {"config": config}, {}):
        with layercache.open(tmp_path / "cache", **options) as cache:
            put(cache, LAYER.blob)
            read(cache.get(LAYER.diff_id).uncompressed())
        assert os.path.exists(tmp_path / "state") == (not options)
    assert recorded(f"{tmp_path}/state/layercache/statistics.jsonl").hits == 1


def test_the_rate_of_inflating_is_measured_or_assumed() -> None:
    assert Day("", inflated_bytes=1000, inflating_seconds=1).rate == totals.RATE
    assert Day("", inflated_bytes=100_000_000, inflating_seconds=0.5).rate == 200_000_000
    assert Day("", inflated_bytes=100_000_000, inflating_seconds=0).rate == totals.RATE
