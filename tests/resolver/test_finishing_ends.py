"""How readers leave a layer that is finished without them, and how that ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import large, read
from fixtures.stores import Fetch, GatedFetch, assert_idle, blobs, content, near
from resolver.early_readers import Seen, begin, cache_of
from servers.images import make_layer, noise

import layercache
from layercache import BackendError
from layercache.transfer import finisher

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.cache import Cache

pytestmark = pytest.mark.usefixtures("driven")


# How readers leave


def test_a_stream_that_is_dropped_and_collected_leaves_as_one_that_is_closed() -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=60_000)
    with cache_of() as cache:
        stream = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch).uncompressed()
        stream.read(30_000)
        cycle = [stream]
        cycle.append(cycle)  # type: ignore[arg-type]
        del stream, cycle
        gc.collect()
        fetch.go.set()
        cache.flush()
        assert layer.digest in blobs(cache.tiers[0])


def test_a_reader_that_raises_leaves_and_the_layer_is_kept() -> None:
    layer = large(1)

    def fail(cache: Cache) -> None:
        asked = cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob))
        with asked.uncompressed() as stream:
            stream.read(60_000)
            raise ZeroDivisionError

    with cache_of() as cache:
        with pytest.raises(ZeroDivisionError):
            fail(cache)
        cache.flush()
        assert blobs(cache.tiers[0]) == {layer.digest, layer.diff_id}


def test_who_asks_meanwhile_reads_along_and_may_leave_again() -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=60_000)
    with cache_of() as cache:
        begin(cache, layer, fetch, "compressed", 30_000)
        begin(cache, layer, fetch, "compressed", 10_000)
        with cache.layer(layer.digest, size=len(layer.blob), fetch=fetch).uncompressed() as tar:
            fetch.go.set()
            assert tar.read() == layer.tar
        cache.flush()
        assert fetch.asked == [layer.digest]


def test_one_of_two_readers_leaving_changes_nothing() -> None:
    layer, seen = large(1), Seen()
    with cache_of() as cache, cache.watch(seen.append):
        asked = cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob))
        with asked.compressed() as stays:
            begin(cache, layer, Fetch(), "compressed", 60_000)
            assert stays.read() == layer.blob
        cache.flush()
    assert (seen.of("finishing"), seen.of("given_up")) == ([], [])


# How it ends


@pytest.mark.parametrize("still_open", [False, True])
def test_close_waits_for_what_is_finished_whether_its_reader_left_or_not(*, still_open: bool) -> None:
    layer, tier = large(1), near()
    fetch = GatedFetch(layer.blob, until=60_000)
    cache = cache_of(tier)
    stream = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch).compressed()
    stream.read(30_000)
    if not still_open:
        stream.close()
    closing = threading.Thread(target=cache.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    fetch.go.set()
    closing.join(60)
    assert blobs(tier) == {layer.digest}
    stream.close()


@pytest.mark.parametrize("still_open", [False, True])
def test_an_interrupt_gives_it_up(*, still_open: bool) -> None:
    layer, tier, seen = large(1), near(), Seen()
    fetch = GatedFetch(layer.blob, until=60_000)
    cache = cache_of(tier)
    with cache.watch(seen.append):
        stream = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch).compressed()
        stream.read(30_000)
        if not still_open:
            stream.close()
            assert fetch.stopped.acquire(timeout=60)
        threading.Timer(0.05, fetch.go.set).start()  # what it is stuck in ends a little later
        cache.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    stream.close()
    assert content(tier) == {}
    assert [event.name for event in seen.of("given_up")] == [layer.digest]


def test_a_stream_that_outlives_its_cache_is_given_up() -> None:
    layer, tier = large(1), near()
    fetch = GatedFetch(layer.blob, until=20_000)
    cache = cache_of(tier)
    stream = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch).compressed()
    stream.read(5000)
    threading.Timer(0.05, fetch.go.set).start()
    cache.close()
    stream.close()
    with pytest.raises(layercache.ClosedError):
        begin(cache, layer, GatedFetch(layer.blob, until=60_000), "compressed", 30_000)
    assert_idle(cache)
    assert content(tier) == {}


def test_a_source_that_breaks_then_is_reported_as_given_up_and_nobody_gets_an_error() -> None:
    layer, seen = large(1), Seen()
    broken = GatedFetch(layer.blob, until=60_000, fault=ConnectionResetError("the line is dead"))
    with layercache.Cache([near()], strict=True) as cache, cache.watch(seen.append):
        begin(cache, layer, broken, "compressed", 30_000)
        broken.go.set()
        cache.flush()
        (event,) = seen.of("given_up")
        assert "the line is dead" in event.note
        assert event.size == cache.counters.fetched_bytes > 30_000
        assert content(cache.tiers[0]) == {}
        assert (
            read(cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob)).compressed())
            == layer.blob
        )


def test_a_full_disk_ends_it_and_it_does_not_go_on_elsewhere() -> None:
    layer, seen, room = large(1), Seen(), threading.Event()
    fetch = GatedFetch(layer.blob, until=60_000)
    tier = near()
    make = tier.blobs.spool

    def spool() -> object:
        made = make()
        assert made is not None
        write = made.write

        def limited(data: object, /) -> None:
            if room.is_set():
                raise BackendError("the disk is full")
            write(data)  # type: ignore[arg-type]

        made.write = limited  # type: ignore[method-assign]
        return made

    tier.blobs.spool = spool  # type: ignore[method-assign,assignment]
    with cache_of(tier) as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, "compressed", 30_000)
        room.set()
        fetch.go.set()
        cache.flush()
        (event,) = seen.of("given_up")
        assert "the disk is full" in event.note
        assert event.size < 80_000, "it ended at the first piece that did not fit"
    assert content(tier) == {}


def test_many_at_once_are_bounded() -> None:
    number = finisher.THREADS + finisher.WAITING + 5
    layers, seen = [large(seed) for seed in range(number)], Seen()
    fetch = GatedFetch(*(layer.blob for layer in layers), until=60_000)
    with cache_of() as cache, cache.watch(seen.append):
        for layer in layers[: finisher.THREADS]:
            begin(cache, layer, fetch, "compressed", 30_000)
            assert fetch.stopped.acquire(timeout=60), "each has its thread before more of them wait"
        for layer in layers[finisher.THREADS :]:
            begin(cache, layer, fetch, "compressed", 30_000)
        named = [thread for thread in threading.enumerate() if thread.name == "layercache finishes"]
        assert len(named) == finisher.THREADS
        assert len(seen.of("given_up")) == 5
        fetch.go.set()
        cache.flush()
        assert blobs(cache.tiers[0]) == {layer.digest for layer in layers[:-5]}


FORKING = """
import os, sys, threading
import layercache

url, blob = sys.argv[1:]
with layercache.open(url) as cache:
    with open(blob, "rb") as file:
        whole = file.read()
    name = layercache.Digest.of(whole)
    stream = cache.layer(name, size=len(whole), fetch=lambda _: open(blob, "rb", buffering=0)).compressed()
    first = stream.read(2 << 20)
    child = os.fork()
    if not child:
        before = threading.active_count()
        stream.close()
        os._exit(threading.active_count() - before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert first + stream.read() == whole
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork(2)")
def test_a_forked_child_does_not_go_on_with_what_its_parent_reads(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(make_layer({"noise": noise(4 << 20)}).blob)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, f"{tmp_path}/cache", str(tmp_path / "blob")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
