"""A limited tier that several processes use: the limit holds for all of them, also where one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fixtures.stocked import HOUR, blobs, data_of, on_disk, stock, used
from fixtures.stores import assert_sound
from upkeep import crowd
from upkeep.crowd import TESTS

from layercache.backend.capabilities import Lockable
from layercache.oci.digest import Hash
from layercache.tiers.quota import LOCK, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 2000

# Evicts, and stops for ever after some blobs went, with the lock in its hand.
STOPS_WHILE_EVICTING = """
import sys
from pathlib import Path
from fixtures.stocked import data_of, on_disk
from layercache.oci.digest import Hash
from layercache_backends.local import LocalBackend

real, left = LocalBackend.delete, 3

def delete(backend, key):
    global left
    real(backend, key)
    left -= 1
    if not left:
        print("some went", flush=True)
        sys.stdin.read()

LocalBackend.delete = delete
data = data_of(99, 1500)
on_disk(Path(sys.argv[1]), max_size=int(sys.argv[2])).blobs.put(Hash.of(data), data)
"""


# Publishes a blob, and is killed at once: after the blob has its name, before anything else is done.
DIES_WHEN_IT_HAS_PUBLISHED = """
import os, signal, sys
from pathlib import Path
from fixtures.stocked import data_of, on_disk
from layercache.oci.digest import Hash
from layercache_backends.local.spool import LocalSpool

real = LocalSpool.publish

def publish(spool, key):
    real(spool, key)
    os.kill(os.getpid(), signal.SIGKILL)

LocalSpool.publish = publish
data = data_of(99, 1500)
on_disk(Path(sys.argv[1]), max_size=int(sys.argv[2])).blobs.put(Hash.of(data), data)
"""


@contextmanager
def evicting(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stopped in the middle of its eviction, and goes on when its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPS_WHILE_EVICTING, str(folder), str(LIMIT)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"some went\n"
        try:
            yield process
        finally:
            process.kill()


def test_ten_processes_stay_below_the_limit_and_read_what_is_right(tmp_path: Path) -> None:
    limit = 2_000_000
    seen = crowd.run(tmp_path / "cache", limit)
    assert seen.read > 10 * limit
    assert limit / 2 < seen.most <= limit
    assert seen.looks > 10
    assert_sound(on_disk(tmp_path / "cache"))


def test_a_process_killed_while_it_evicts_leaves_a_tier_that_works(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=LIMIT)
    for seed in range(19):
        stock(tier, seed, age=HOUR * (30 - seed))
    with evicting(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(blobs(tier)) == 16
    data = data_of(50, 1000)
    tier.blobs.put(Hash.of(data), data)
    assert Hash.of(data) in blobs(tier)
    assert used(tier) <= LIMIT
    assert_sound(tier)


def test_two_who_evict_at_once_do_it_one_after_the_other(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=LIMIT)
    for seed in range(19):
        stock(tier, seed, age=HOUR * (30 - seed))
    data = data_of(50, 450)
    second = threading.Thread(target=tier.blobs.put, args=(Hash.of(data), data))
    with evicting(tmp_path) as process:
        second.start()
        second.join(0.1)
        assert second.is_alive(), "it waits for the other's eviction"
        assert Hash.of(data) not in blobs(tier)
        assert process.stdin
        process.stdin.close()
        assert process.wait() == 0
        second.join()
    assert {Hash.of(data), Hash.of(data_of(99, 1500))} <= blobs(tier)
    assert used(tier) <= LIMIT


def test_a_process_killed_when_it_has_published_leaves_no_count_that_is_too_low(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=LIMIT)
    first = data_of(1, 400)
    tier.blobs.put(Hash.of(first), first)  # counts what is there, so that the next one need not
    done = subprocess.run(
        [sys.executable, "-c", DIES_WHEN_IT_HAS_PUBLISHED, str(tmp_path), str(LIMIT)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert Hash.of(data_of(99, 1500)) in blobs(tier)
    assert isinstance(tier.backend, Lockable)
    with tier.backend.lock(LOCK, timeout=1) as lock:
        assert lock
        assert Usage.under(lock).used >= used(tier) == 1900
    last = data_of(2, 400)
    tier.blobs.put(Hash.of(last), last)
    assert used(tier) <= LIMIT
