"""Many ask for one layer at once: it is fetched once and inflated once, and all read it right."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, Layer, large, put, read, sample
from fixtures.stores import (
    Fetch,
    GatedFetch,
    Store,
    assert_idle,
    assert_sound,
    blobs,
    far,
    near,
    open_cache,
    supplied,
    write_blob,
)

from layercache import DigestMismatchError, SourceError
from layercache.oci.digest import DiffID
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.tiers.policy import Keep

pytestmark = pytest.mark.usefixtures("driven")

ASKERS = 8


def all_at_once(asks: list[Callable[[], bytes]], let_go: threading.Event) -> list[bytes]:
    """Each in a thread of its own; the fetch goes on once all have begun."""
    began = threading.Barrier(len(asks) + 1)

    def run(ask: Callable[[], bytes]) -> bytes:
        began.wait(60)
        return ask()

    with ThreadPoolExecutor(len(asks)) as pool:
        futures = [pool.submit(run, ask) for ask in asks]
        began.wait(60)
        let_go.set()
        return [future.result(60) for future in futures]


@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cold_layer_that_many_ask_for_in_both_forms_is_fetched_and_inflated_once(
    keep: Keep, compression: str
) -> None:
    layer = large(1, compression)
    fetch = GatedFetch(layer.blob, until=30_000)
    with open_cache(near(keep="both"), far(keep=keep)) as cache:
        # The tar is asked for first and not read, so that its pass is on its way while the others come.
        first = cache.layer(layer.digest, fetch=fetch).uncompressed()

        def compressed() -> bytes:
            return read(cache.layer(layer.digest, fetch=fetch).compressed())

        def tar() -> bytes:
            return read(cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch).uncompressed())

        got = all_at_once([compressed, tar] * (ASKERS // 2), fetch.go)
        assert got == [layer.blob, layer.tar] * (ASKERS // 2)
        assert read(first) == layer.tar
        assert fetch.asked == [layer.digest]
        assert cache.counters.fetched == 1
        assert cache.counters.inflated == (0 if compression == "none" else 1)
        for tier in cache.tiers:
            assert_sound(tier)
        assert blobs(cache.tiers[0]) == {layer.digest, layer.diff_id}
        assert_idle(cache)


@pytest.mark.parametrize("first", ["compressed", "uncompressed"])
def test_the_second_form_joins_while_the_first_is_coming_from_the_origin(first: str) -> None:
    layer = large(1)
    fetch = Fetch(layer.blob)
    with open_cache() as cache:
        both_forms(cache, layer, first, fetch)
        assert fetch.asked == [layer.digest]
        assert (cache.counters.fetched, cache.counters.inflated) == (1, 1)


@pytest.mark.parametrize("first", ["compressed", "uncompressed"])
def test_the_second_form_joins_while_the_first_is_coming_from_a_far_tier(first: str) -> None:
    layer, store = large(1), Store(MemoryBackend())
    write_blob(store.inner, layer.digest, layer.blob)
    with open_cache(near(), far(store)) as cache:
        both_forms(cache, layer, first, None)
        assert store.did("open", below=keys.BLOBS) == [keys.blob(layer.digest)]
        assert (supplied(cache, cache.tiers[1]), cache.counters.inflated) == (1, 1)
        assert blobs(store.inner) == {layer.digest}, "a hit writes to no far tier"


def both_forms(cache: Cache, layer: Layer, first: str, fetch: Fetch | None) -> None:
    forms = {"compressed": layer.blob, "uncompressed": layer.tar}
    second = next(form for form in forms if form != first)
    one = getattr(cache.layer(layer.digest, fetch=fetch), first)()
    start = one.read(100)
    assert read(getattr(cache.layer(layer.digest, fetch=fetch), second)()) == forms[second]
    assert start + read(one) == forms[first]
    assert blobs(cache.tiers[0]) == {layer.digest, layer.diff_id}


def test_who_joins_a_layer_of_another_digest_learns_nothing_false_of_its_own() -> None:
    packed, other = large(1, "gzip"), large(1, "zstd")
    assert len(packed.blob) != len(other.blob)
    with open_cache() as cache:
        put(cache, b"something else")
        cache.layer(packed.digest, fetch=Fetch(packed.blob)).fill("compressed")
        on_its_way = cache.layer(other.digest, diff_id=other.diff_id, fetch=Fetch(other.blob)).uncompressed()
        start = on_its_way.read(10)
        asked = cache.layer(packed.digest, diff_id=packed.diff_id)
        assert read(asked.uncompressed()) == packed.tar
        assert start + read(on_its_way) == packed.tar
        assert asked.size in (None, len(packed.blob))
        assert read(asked.compressed()) == packed.blob
        assert blobs(cache.tiers[0]) >= {packed.digest, other.digest, packed.diff_id}
        assert cache.get(packed.digest).size in (None, len(packed.blob))


def test_one_who_leaves_does_not_stop_the_others() -> None:
    layer = large(1)
    fetch = Fetch(layer.blob)
    with open_cache() as cache:
        streams = [cache.layer(layer.digest, fetch=fetch).uncompressed() for _ in range(3)]
        streams[0].read(10)
        streams[0].close()
        assert streams[1].read(20) == layer.tar[:20]
        streams[1].close()
        assert read(streams[2]) == layer.tar
        assert fetch.asked == [layer.digest]


def test_when_the_fetch_fails_all_who_wait_are_told_and_the_next_one_begins_anew() -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=30_000, fault=ConnectionResetError("the connection broke"))
    errors: list[BaseException] = []

    with open_cache() as cache:
        first = cache.layer(layer.digest, fetch=fetch).compressed()

        def ask() -> bytes:
            try:
                return read(cache.layer(layer.digest, fetch=fetch).compressed())
            except SourceError as error:
                errors.append(error)
                return b""

        with first:
            assert all_at_once([ask] * ASKERS, fetch.go) == [b""] * ASKERS
            with pytest.raises(SourceError):
                first.read()
        assert len(errors) == ASKERS
        assert read(cache.layer(layer.digest, fetch=Fetch(layer.blob)).compressed()) == layer.blob


def test_who_asked_before_the_diff_id_was_known_inflates_nothing_again() -> None:
    layer = large(1)
    fetch = Fetch(layer.blob)
    with open_cache(near(keep="both")) as cache:
        asked = [cache.layer(layer.digest, fetch=fetch) for _ in range(3)]
        for each in asked:
            assert read(each.uncompressed()) == layer.tar
            assert each.diff_id == layer.diff_id
        assert (cache.counters.fetched, cache.counters.inflated) == (1, 1)


def test_parts_that_are_asked_for_before_the_diff_id_is_known_inflate_it_once() -> None:
    layer = large(1)
    fetch = Fetch(layer.blob)
    with open_cache(near(keep="both")) as cache:
        for each in [cache.layer(layer.digest, fetch=fetch) for _ in range(3)]:
            assert read(each.uncompressed(1000, 2000)) == layer.tar[1000:2000]
        assert (cache.counters.fetched, cache.counters.inflated) == (1, 1)


def test_a_lying_claim_fails_its_asker_and_nobody_else() -> None:
    layer, other = large(1), sample(2)
    fetch = GatedFetch(layer.blob, until=30_000)
    with open_cache() as cache:
        first = cache.layer(layer.digest, fetch=fetch).uncompressed()

        def honest() -> bytes:
            return read(cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch).uncompressed())

        lied_to = cache.layer(layer.digest, diff_id=other.diff_id, fetch=fetch)
        assert all_at_once([honest, honest], fetch.go) == [layer.tar] * 2
        assert read(first) == layer.tar
        with pytest.raises(DigestMismatchError):
            read(lied_to.uncompressed())
        assert_sound(cache.tiers[0])
        assert other.diff_id not in cache


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_a_lying_claim_fails_nobody_who_comes_while_its_asker_brings_the_layer(form: str) -> None:
    layer, other = large(1), sample(2)
    fetch = GatedFetch(layer.blob, until=30_000)
    with open_cache() as cache:
        lying = cache.layer(layer.digest, diff_id=other.diff_id, fetch=fetch).uncompressed()
        asked = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch)
        honest = asked.uncompressed() if form == "uncompressed" else asked.compressed()
        fetch.go.set()
        assert read(honest) == (layer.tar if form == "uncompressed" else layer.blob)
        with pytest.raises(DigestMismatchError):
            read(lying)
        assert fetch.asked == [layer.digest]
        assert_sound(cache.tiers[0])


@pytest.mark.parametrize("states", ["sha256", "nothing"])
def test_a_pass_is_not_joined_by_who_wants_the_tar_hashed_otherwise(states: str) -> None:
    layer = large(1)
    wanted = DiffID.of(layer.tar, "sha512")
    with open_cache() as cache:
        fetch = Fetch(layer.blob)
        named = layer.diff_id if states == "sha256" else None
        first = cache.layer(layer.digest, diff_id=named, fetch=fetch).uncompressed()
        second = cache.layer(layer.digest, diff_id=wanted, fetch=fetch).uncompressed()
        assert read(first) == layer.tar
        assert read(second) == layer.tar
        assert fetch.asked == [layer.digest]


def test_many_layers_at_once_are_each_right() -> None:
    layers = [large(seed, COMPRESSIONS[seed % 3]) for seed in range(12)]
    fetch = Fetch(*(layer.blob for layer in layers))
    with open_cache(near(), far()) as cache, ThreadPoolExecutor(8) as pool:
        asked = [cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch) for layer in layers * 3]
        blobs_read = pool.map(lambda layer: read(layer.compressed()), asked)
        tars = pool.map(lambda layer: read(layer.uncompressed()), reversed(asked))
        assert list(blobs_read) == [layer.blob for layer in layers * 3]
        assert list(tars) == [layer.tar for layer in reversed(layers * 3)]
        assert sorted(fetch.asked) == sorted(layer.digest for layer in layers)
        assert cache.counters.inflated == sum(layer.digest != layer.diff_id for layer in layers)  # type: ignore[comparison-overlap]


def test_one_layer_object_is_read_by_many_threads() -> None:
    layer = large(1)
    with open_cache() as cache:
        shared = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=Fetch(layer.blob))
        with ThreadPoolExecutor(ASKERS) as pool:
            got = list(pool.map(lambda _: read(shared.uncompressed()), range(ASKERS)))
        assert got == [layer.tar] * ASKERS
        assert (cache.counters.fetched, cache.counters.inflated) == (1, 1)
