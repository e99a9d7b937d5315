"""Readers that stop early: what cost much already goes on without them, and is kept; all is counted."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, Layer, large, read
from fixtures.stores import (
    Fetch,
    GatedFetch,
    Store,
    assert_idle,
    assert_sound,
    blobs,
    content,
    far,
    near,
    open_cache,
)
from servers.images import make_image, make_layer, noise

import layercache
from layercache import BackendError
from layercache.cache import Cache
from layercache.transfer import finisher
from layercache.transfer.share import Share
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

    from layercache.events import Event
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

pytestmark = pytest.mark.usefixtures("driven")


class Seen(list["Event"]):
    def of(self, kind: str) -> list[Event]:
        return [event for event in self if event.kind == kind]


def begin(cache: Cache, layer: Layer, fetch: Fetch, form: str, count: int) -> None:
    """Read so many bytes of it, and leave."""
    asked = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch)
    with asked.compressed() if form == "compressed" else asked.uncompressed() as stream:
        assert stream.read(count)


def cache_of(*tiers: Tier, finish: str = "25%,64MiB") -> Cache:
    return Cache(tiers or (near(),), finish=Share.parse(finish))


# What is finished, and what is not


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_a_layer_of_which_more_than_a_quarter_came_is_kept_and_not_fetched_again(
    form: str, compression: str
) -> None:
    layer, seen = large(1, compression), Seen()
    # A zstd of this size is one block: nothing comes out of it before its end.
    is_gated = (compression, form) != ("zstd", "uncompressed")
    fetch = GatedFetch(layer.blob, until=60_000 if is_gated else 1 << 30)
    with cache_of() as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, form, 30_000)
        assert not is_gated or blobs(cache.tiers[0]) == set()
        fetch.go.set()
        cache.flush()
        assert_idle(cache)
        kept = {layer.digest} | ({layer.diff_id} if form == "uncompressed" else set())
        assert blobs(cache.tiers[0]) == {str(name) for name in kept}
        assert read(cache.get(layer.digest).uncompressed()) == layer.tar
        assert fetch.asked == [layer.digest]
        assert fetch.opened[0].was_closed.wait(60)
        assert (cache.counters.fetched, cache.counters.fetched_bytes) == (1, len(layer.blob))
    assert not is_gated or len(seen.of("finishing")) == 1
    assert seen.of("given_up") == []
    assert_sound(cache.tiers[0])


def test_a_layer_of_which_less_than_a_quarter_came_is_given_up_and_that_is_counted() -> None:
    layer, seen = large(1), Seen()
    fetch = GatedFetch(layer.blob, until=20_000)
    with cache_of() as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, "compressed", 1000)
        fetch.go.set()
        cache.flush()
        assert_idle(cache)
        assert content(cache.tiers[0]) == {}
        (event,) = seen.of("given_up")
        assert 0 < event.size == cache.counters.fetched_bytes < len(layer.blob) / 4
        assert (event.name, event.total, cache.counters.fetched) == (layer.digest, len(layer.blob), 0)
        assert seen.of("finishing") == []
    assert fetch.opened[0].was_closed.wait(60)


@pytest.mark.parametrize(
    ("finish", "kept"),
    [("never", False), ("always", True), ("90%", False), ("20KB", True), ("90%,20KB", True), ("1GB", False)],
)
def test_how_much_is_enough_can_be_chosen(finish: str, kept: bool) -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=50_000)
    with cache_of(finish=finish) as cache:
        begin(cache, layer, fetch, "compressed", 30_000)
        fetch.go.set()
        cache.flush()
        assert bool(blobs(cache.tiers[0])) == kept


def test_what_no_tier_would_keep_is_not_finished_but_counted() -> None:
    layer, seen = large(1), Seen()
    fetch = GatedFetch(layer.blob)
    with cache_of(near(readonly=True), finish="always") as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, "compressed", 30_000)
        cache.flush()
        (event,) = seen.of("given_up")
        assert 0 < event.size == cache.counters.fetched_bytes < len(layer.blob)
    assert seen.of("finishing") == []


def test_a_blob_that_is_bigger_than_its_tier_may_get_is_not_finished() -> None:
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.policy import Policy

    tier = BackendTier(MemoryBackend(), Policy(trusted=True, max_size=1000))
    layer = large(1)
    with cache_of(tier, finish="always") as cache:
        begin(cache, layer, GatedFetch(layer.blob, until=60_000), "compressed", 30_000)
        assert_idle(cache)
        assert content(tier) == {}


@pytest.mark.parametrize("keep", ["compressed", "uncompressed", "both"])
def test_each_tier_gets_the_forms_that_it_keeps_and_both_names_are_known(keep: Keep) -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=60_000)
    with cache_of(near(keep=keep)) as cache:
        asked = cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=fetch)
        with asked.uncompressed() as tar:
            tar.read(30_000)
        fetch.go.set()
        cache.flush()
        both = {str(layer.digest), str(layer.diff_id)}
        wanted = {"compressed": {layer.digest}, "uncompressed": {layer.diff_id}, "both": both}
        assert blobs(cache.tiers[0]) == wanted[keep]
        assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar
        assert fetch.asked == [layer.digest]


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_what_comes_from_a_far_tier_is_finished_too_also_offline(form: str) -> None:
    layer, store = large(1), Store(MemoryBackend())
    with open_cache(near(), far(store)) as cache:
        read(cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob)).uncompressed())
    nearest = near()
    with layercache.Cache([nearest, far(store)], offline=True) as cache:
        store.asked.clear()
        begin(cache, layer, Fetch(), form, 60_000)
        cache.flush()
        assert layer.digest in blobs(nearest)
        assert store.did("open", below="blobs/") == [f"blobs/{layer.digest.replace(':', '/')}"]


def test_a_part_below_the_share_is_no_reason_to_fetch_the_rest_and_its_bytes_are_counted() -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=16_000)
    with cache_of() as cache:
        asked = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch)
        assert read(asked.compressed(0, 100)) == layer.blob[:100]
        assert cache.counters.fetched_bytes == 100
        with asked.uncompressed(0, 9000) as part:
            assert part.read(10) == layer.tar[:10]
        fetch.go.set()
        cache.flush()
        assert content(cache.tiers[0]) == {}


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
        for layer in layers:
            begin(cache, layer, fetch, "compressed", 30_000)
        for _ in range(finisher.THREADS):
            assert fetch.stopped.acquire(timeout=60)
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


# The scanner


@pytest.fixture
def images(lying: LyingRegistry) -> list[str]:
    """Ten images on one base, each with one more layer, in which the file comes after the first third."""
    base = make_layer({"early": noise(60_000, 1), "etc/os-release": b"sample", "late": noise(90_000, 2)})
    return [lying.add_image(str(number), make_image([base, large(number)])) for number in range(10)]


def scan(cache: Cache, name: str) -> bytes:
    """One file of an image, by a program that stops when it has found it."""
    for layer in cache.image(name, platform="linux/amd64").layers:
        with layer.uncompressed() as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.name == "etc/os-release":
                    file = tar.extractfile(member)
                    assert file is not None
                    return file.read()
    raise AssertionError("it is in the base")


def test_a_scanner_that_reads_one_file_of_ten_images_asks_the_registry_for_no_blob_twice(
    images: list[str], lying: LyingRegistry, tmp_path: Path
) -> None:
    for run in (1, 2):
        before = len(lying.requests)
        with layercache.open(f"{tmp_path}/cache") as cache:
            assert [scan(cache, name) for name in images] == [b"sample"] * 10
        fetched = [each.path for each in lying.requests[before:] if "/blobs/" in each.path]
        assert len(fetched) == len(set(fetched)) == (11 if run == 1 else 0), "ten configs and the base"
        counted = cache.counters
        assert (counted.fetched, counted.fetched_bytes > 100_000) == ((1, True) if run == 1 else (0, False))
