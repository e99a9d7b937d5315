"""Fleets in virtual time: what a bucket is asked, and the rules of the simulation itself."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from layercache.errors import NotFoundError

pytest.importorskip("greenlet", reason="needs greenlet, which the development dependencies have")

from simulation.bucket import GCS, MB, S3, Bucket, Link, RefusedError, Rules

RUN = Path(__file__).with_name("run.py")
BIG = 18
"""Layers of the image of 4 MiB or more."""


def simulated(service: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(RUN), "--machines", "10", "--service", service, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def runs() -> dict[str, dict[str, Any]]:
    """Ten machines, before each service, with and without leases; one of the runs twice."""
    wanted = [("s3", "--leases"), ("s3",), ("gcs", "--leases"), ("gcs",), ("s3", "--leases", "")]
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda each: simulated(*filter(None, each)), wanted)
        return dict(zip(map(" ".join, wanted), found, strict=True))


@pytest.mark.parametrize("service", ["s3", "gcs"])
def test_with_leases_a_fleet_fetches_each_big_layer_once(
    runs: dict[str, dict[str, Any]], service: str
) -> None:
    leased, alone = runs[f"{service} --leases"], runs[service]
    assert leased["fetched_big"] == leased["asked"]["DELETE leases"] == BIG
    assert alone["fetched_big"] > 2 * BIG
    assert not any(kind.endswith("leases") for kind in alone["asked"])
    assert not leased["refused"], "nor does it ask more than the service takes"


def test_no_machine_fails_lists_or_loses_the_bucket_even_where_requests_are_refused(
    runs: dict[str, dict[str, Any]],
) -> None:
    assert runs["gcs"]["refused"], "of those who write one blob at the same time most are refused"
    for found in runs.values():
        assert found["machines"] == 10
        assert not found["errors"]
        assert not {"failed", "recovered"} & found["events"].keys()
        assert not any(kind.startswith("LIST") for kind in found["asked"])
        assert found["asked"]["PUT images"] == 1, "the tag"


def test_who_comes_later_asks_for_each_layer_once_and_for_the_image_three_times(
    runs: dict[str, dict[str, Any]],
) -> None:
    for found in runs.values():
        assert found["late"] == {"GET blobs": 30 + 2, "GET images": 1}


def test_a_run_is_the_same_each_time(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["s3 --leases"] == runs["s3 --leases "]


# The bucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def bucket(rules: Rules) -> tuple[Bucket, Clock]:
    clock = Clock()
    return Bucket(rules, clock=clock), clock


def served(asked: Bucket, kind: str, key: str, times: int) -> int:
    """How many of so many requests are served."""
    count = 0
    for number in range(times):
        try:
            if kind == "PUT":
                asked.put(f"{key}{number}", b"x")
            else:
                asked.get(key)
        except RefusedError:
            continue
        except NotFoundError:
            pass
        count += 1
    return count


def test_s3_serves_so_many_reads_and_writes_in_each_second_of_each_folder() -> None:
    s3, clock = bucket(S3)
    assert served(s3, "GET", "blobs/a", 6000) == 5500
    assert served(s3, "PUT", "blobs/", 4000) == 3500
    assert served(s3, "GET", "records/a", 100) == 100
    clock.now = 0.99
    assert served(s3, "GET", "blobs/a", 1) == 0
    clock.now = 1.0
    assert served(s3, "GET", "blobs/a", 6000) == 5500
    assert s3.refused == {("GET", "blobs"): 1001, ("PUT", "blobs"): 500}


def test_google_counts_the_whole_bucket_and_takes_one_write_a_second_of_an_object() -> None:
    gcs, clock = bucket(GCS)
    assert served(gcs, "GET", "blobs/a", 4000) + served(gcs, "GET", "records/a", 4000) == 5000
    assert gcs.put("a", b"1")
    with pytest.raises(RefusedError):
        gcs.put("a", b"2")
    assert not gcs.put("a", b"2", None), "a condition that does not hold is not a write"
    clock.now = 1.0
    assert gcs.put("a", b"2", gcs.objects["a"].version)
    assert gcs.objects["a"].data == b"2"


def test_requests_that_are_refused_cost_nothing_and_a_listing_of_many_objects_costs_a_page_each() -> None:
    s3, _ = bucket(S3)
    s3.others = 10**6
    served(s3, "GET", "blobs/a", 6000)
    assert s3.dollars == pytest.approx(5500 * 0.40 / 1e6)
    assert len(list(s3.pages("records/"))) == s3.asked["LIST", "records"] == 1000
    assert s3.dollars == pytest.approx(5500 * 0.40 / 1e6 + 1000 * 5.00 / 1e6)


def test_a_big_object_is_as_many_requests_as_the_backends_make_of_it() -> None:
    size = 20 << 20
    assert S3.requests_to_send(size) == [0, 8 << 20, 8 << 20, 4 << 20, 0]
    assert GCS.requests_to_send(size) == [0, size]
    assert S3.requests_to_send(1000) == GCS.requests_to_send(1000) == [1000]


def test_bytes_on_a_link_pass_one_after_the_other() -> None:
    link = Link(100 * MB)
    first = link.passed(50 * MB)
    assert link.passed(50 * MB) - first == pytest.approx(0.5)


# Virtual time

THREADS = """
import sys
sys.path.insert(0, sys.argv[1])
from simulation import virtual_time
virtual_time.install(seed=1)
import queue, threading, time
from concurrent.futures import ThreadPoolExecutor

begun, said = time.monotonic(), []
with ThreadPoolExecutor(2) as pool:
    said.append((list(pool.map(lambda n: (time.sleep(n), n)[1], [3, 1, 1])), time.monotonic() - begun))
condition, event, items = threading.Condition(), threading.Event(), queue.SimpleQueue()
with condition:
    said.append((condition.wait(timeout=60), time.monotonic() - begun))
threading.Thread(target=lambda: (time.sleep(3600), event.set(), items.put(time.time()))).start()
said.append((event.wait(1), event.wait(), time.monotonic() - begun))
lock, order = threading.RLock(), []
def take(name):
    with lock, lock:
        order.append(name)
        time.sleep(1)
threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
said.append(("".join(order), time.monotonic() - begun, lock.acquire(timeout=1), items.get() > 0))
try:
    threading.Event().wait()
except virtual_time.DeadlockError:
    said.append("nothing happens")
print(said)
"""


def test_threads_sleep_and_wait_in_virtual_time_and_in_turn() -> None:
    command = [sys.executable, "-c", THREADS, str(RUN.parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(
        [
            ([3, 1, 1], 3.0),
            (False, 63.0),
            (False, True, 3663.0),
            ("abc", 3666.0, True, True),
            "nothing happens",
        ]
    )
