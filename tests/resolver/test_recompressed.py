"""A bucket keeps a zstd in place of a plain tar, which is found under its own name and comes back exactly."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, compressed, make_layer, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    blobs,
    content,
    evict,
    fact,
    near,
    open_cache,
    refuses_writes,
    store_of,
    write_blob,
    write_fact,
)

from layercache.errors import DigestMismatchError, NotFoundError
from layercache.oci.descriptor import OCI_LAYER, OCI_LAYER_ZSTD
from layercache.oci.digest import Digest
from layercache.streams.compress import Compression
from layercache.streams.limits import Limits
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend
    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.layer import Layer as CachedLayer

ZSTD = Compression.of("zstd")


def bucket(backend: Backend | None = None, recompress: Compression | None = ZSTD) -> BackendTier:
    """A far tier; what is asked of it is written down."""
    store = Store(backend or MemoryBackend())
    return BackendTier(store, Policy(keep="compressed", recompress=recompress))


def plain(seed: int = 0) -> Layer:
    """A layer that is distributed as a plain tar, most of which compresses."""
    return make_layer({"text": b"a line of text\n" * 9000, "seed": b"%d" % seed}, "none")


def of_image(cache: Cache, layer: Layer, fetch: Fetch | None = None) -> CachedLayer:
    """The layer as an image describes it."""
    return cache.layer(
        layer.digest, diff_id=layer.diff_id, size=len(layer.blob), media_type=layer.media_type, fetch=fetch
    )


def filled(layer: Layer) -> BackendTier:
    """A bucket into which another machine has put the layer."""
    tier = bucket()
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    store_of(tier).asked.clear()
    return tier


def zstd_in(tier: BackendTier) -> Digest:
    (name,) = blobs(tier)
    return Digest(name)


def plant(
    tier: BackendTier, layer: Layer, blob: bytes, size: int | None = None, *, computed: bool = True
) -> Digest:
    """Write down in a tier that another blob has the layer's tar inside."""
    digest = Digest.of(blob)
    write_blob(tier, digest, blob)
    false = fact(
        digest,
        layer.diff_id,
        len(blob),
        tar_size=size or len(layer.tar),
        media_type=OCI_LAYER_ZSTD,
        computed=computed,
    )
    write_fact(tier, false)
    return digest


@contextmanager
def watched(*tiers: BackendTier) -> Iterator[tuple[Cache, list[Event]]]:
    events: list[Event] = []
    with open_cache(*tiers) as cache, cache.watch(events.append):
        yield cache, events


def test_a_zstd_is_uploaded_in_place_of_a_plain_tar() -> None:
    layer, tier = plain(), bucket()
    with watched(near(), tier) as (cache, events):
        put(cache, layer.blob)
        cache.flush()
        digest = zstd_in(tier)
        assert digest != layer.digest
        (found,) = tier.facts.inflates_to(digest)
        assert (found.diff_id, found.computed, found.media_type) == (layer.diff_id, True, OCI_LAYER_ZSTD)
        assert (found.size, found.uncompressed_size) == (tier.blobs.stat(digest).size, len(layer.tar))
        assert found.size < len(layer.tar) / 3
        assert [event.size for event in events if event.kind == "stored" and event.name == digest] == [
            found.size
        ]


@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_it_comes_back_exactly_under_the_tars_own_name(keep: str) -> None:
    layer = plain()
    for form in ("compressed", "uncompressed"):
        tier, fetch = filled(layer), Fetch(layer.blob)
        nearest = BackendTier(MemoryBackend(), Policy(keep=keep, trusted=True))  # type: ignore[arg-type]
        with open_cache(nearest, tier) as cache:
            image = of_image(cache, layer, fetch)
            assert read(getattr(image, form)()) == layer.tar
            assert (image.digest, image.media_type, image.size) == (layer.digest, OCI_LAYER, len(layer.tar))
            assert fetch.asked == []
            if (form, keep) == ("compressed", "uncompressed"):
                image.fill("uncompressed")
            assert layer.digest in blobs(nearest)
            store_of(tier).asked.clear()
            again = of_image(cache, layer, fetch)
            assert read(again.compressed()) == read(again.uncompressed()) == layer.tar
            assert store_of(tier).did("open", below="blobs/") == []


def test_a_pulled_layer_is_recompressed_as_one_that_is_put() -> None:
    layer, tier = plain(), bucket()
    with open_cache(near(), tier) as cache:
        of_image(cache, layer, Fetch(layer.blob)).fill("compressed")
        cache.flush()
        assert zstd_in(tier) != layer.digest
    with open_cache(near(), tier, offline=True) as cache:
        assert read(cache.get(layer.digest).compressed()) == layer.tar


def test_by_its_name_alone_it_is_the_plain_layer() -> None:
    layer, tier = plain(), filled(plain())
    with open_cache(near(), tier) as cache:
        assert layer.digest in cache
        found = cache.get(layer.digest)
        assert found.digest == layer.digest
        assert read(found.compressed()) == layer.tar
    with open_cache(near(), tier) as cache:
        found = cache.get(layer.digest)
        assert read(found.uncompressed()) == layer.tar
        assert found.digest == layer.digest


def test_by_the_name_of_the_zstd_it_is_that() -> None:
    layer, tier = plain(), filled(plain())
    digest = zstd_in(tier)
    with open_cache(near(), tier) as cache:
        found = cache.get(digest)
        assert found.digest == digest
        assert read(found.compressed()) == content(tier)[keys.blob(digest)]
        assert read(found.uncompressed()) == layer.tar


def test_what_it_costs_in_requests() -> None:
    layer, tier = plain(), bucket()
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    digest, store = zstd_in(tier), store_of(tier)
    assert store.did("stat") == [keys.blob(layer.digest), keys.blob(digest)]
    assert store.did("scan", below=keys.RECORDS) == []
    assert store.did("create", below="blobs/") == [keys.blob(digest)]
    written = store.did("create", below=keys.RECORDS)
    assert sorted(set(written)) == sorted(map(keys.record, (layer.digest, digest)))
    assert len(written) == 3, "the tar is a layer; the zstd has it inside"
    store.asked.clear()
    with open_cache(near(), tier) as cache:
        of_image(cache, layer, Fetch()).fill("compressed")
        assert store.did("open", below="blobs/") == [keys.blob(digest)]
        assert store.did("stat", "scan") == []
        assert set(store.did("open", below=keys.RECORDS)) == {keys.record(layer.digest)}


def test_what_a_look_up_has_opened_is_what_the_tar_is_read_out_of() -> None:
    layer, tier = plain(), bucket()
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    digest, store = zstd_in(tier), store_of(tier)
    for form in ("compressed", "uncompressed"):
        store.asked.clear()
        with open_cache(near(), tier) as cache:
            assert read(getattr(cache.get(layer.digest), form)()) == layer.tar
        assert store.did("open", "stat", below="blobs/").count(keys.blob(digest)) == 1


def test_other_layers_cost_nothing_more() -> None:
    layer = sample(1)
    asked = []
    for recompress in (None, ZSTD):
        tier = bucket(recompress=recompress)
        with open_cache(near(), tier) as cache:
            of_image(cache, layer, Fetch(layer.blob)).fill("both")
        with open_cache(near(), tier) as cache:
            of_image(cache, layer).fill("both")
            of_image(cache, sample(2), Fetch(sample(2).blob)).fill("both")
        asked.append(sorted(store_of(tier).asked))
        assert layer.digest in blobs(tier)
    assert asked[0] == asked[1]


def test_a_second_machine_uploads_nothing() -> None:
    layer, tier = plain(), filled(plain())
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    assert store_of(tier).did("create", below="blobs/") == []


def test_a_plain_tar_that_is_there_already_stays_and_is_used() -> None:
    layer, tier = plain(), bucket()
    write_blob(tier, layer.digest, layer.blob)
    with open_cache(near(), tier) as cache:
        assert read(of_image(cache, layer, Fetch()).compressed()) == layer.tar
        put(cache, layer.blob)
        cache.flush()
    assert blobs(tier) == {layer.digest}


def test_a_tier_that_does_not_recompress_gives_what_another_program_did() -> None:
    layer, tier = plain(), filled(plain())
    other = bucket(tier.backend, recompress=None)
    with open_cache(near(), other) as cache:
        assert read(of_image(cache, layer, Fetch()).compressed()) == layer.tar
    assert store_of(other).did("open", below="blobs/") == [keys.blob(layer.digest), keys.blob(zstd_in(tier))]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_any_blob_of_the_same_tar_will_do(compression: str) -> None:
    layer, tier = plain(), bucket()
    blob = compressed(layer.tar, compression)
    with open_cache(near(), tier) as cache:
        put(cache, blob)
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    assert blobs(tier) == {Digest.of(blob)}
    with open_cache(near(), tier) as cache:
        assert read(of_image(cache, layer).compressed()) == layer.tar


def test_a_zstd_that_was_evicted_is_a_miss() -> None:
    layer, tier, fetch = plain(), filled(plain()), Fetch(plain().blob)
    evict(tier, zstd_in(tier))
    with open_cache(near(), tier) as cache:
        with pytest.raises(NotFoundError):
            of_image(cache, layer).fill("compressed")
        with pytest.raises(NotFoundError):
            cache.get(layer.digest)
        of_image(cache, layer, fetch).fill("compressed")
        cache.flush()
    assert fetch.asked == [layer.digest]
    assert zstd_in(tier) != layer.digest, "and is stored again"


def test_a_folder_that_has_only_the_zstd_gives_the_tar() -> None:
    layer, nearest = plain(), near()
    with open_cache(nearest) as cache:
        put(cache, layer.blob).compress("zstd")
        evict(nearest, layer.digest)
        by_name = cache.get(layer.digest)
        assert by_name.digest == layer.digest
        assert read(by_name.compressed()) == layer.tar
        assert layer.digest in blobs(nearest), "and has it from then on"
        evict(nearest, layer.digest)
        assert read(of_image(cache, layer).compressed()) == layer.tar


def test_a_folder_that_is_only_read_gives_no_other_bytes_by_a_false_fact() -> None:
    layer, filled = plain(), near()
    with open_cache(filled) as cache:
        put(cache, layer.blob).compress("zstd")
        evict(filled, layer.digest)
    readonly = near(filled.backend, readonly=True)
    with open_cache(readonly) as cache:
        assert read(of_image(cache, layer).compressed()) == layer.tar
    false = near()
    plant(false, layer, compressed(plain(3).tar, "zstd"))
    with open_cache(near(false.backend, readonly=True)) as cache:
        assert read(of_image(cache, layer, Fetch(layer.blob)).compressed()) == layer.tar


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("by", ["image", "name"])
@pytest.mark.parametrize(
    "false",
    [
        compressed(plain(7).tar, "zstd"),
        b"no layer at all",
        compressed(plain().tar, "zstd")[:-9],
        plain(7).tar,
    ],
)
def test_a_stranger_who_plants_a_zstd_costs_time_and_never_bytes(false: bytes, by: str, form: str) -> None:
    layer, tier, fetch = plain(), bucket(), Fetch(plain().blob)
    planted = plant(tier, layer, false)
    with watched(near(), tier) as (cache, events):
        if by == "image":
            assert read(getattr(of_image(cache, layer, fetch), form)()) == layer.tar
            assert [event.where for event in events if event.kind == "failed"] == [tier.name]
        else:
            with pytest.raises((DigestMismatchError, NotFoundError)):
                read(getattr(cache.layer(layer.digest, diff_id=layer.diff_id), form)())
            of_image(cache, layer, fetch).fill("compressed")
        store_of(tier).asked.clear()
        assert read(of_image(cache, layer, fetch).compressed()) == layer.tar
        assert keys.blob(planted) not in store_of(tier).did("open")
        cache.flush()
        right = blobs(tier) - {planted}
        assert len(right) == 1, "and the right one is stored"
    with open_cache(near(), bucket(tier.backend)) as cache:
        assert read(of_image(cache, layer, fetch).compressed()) == layer.tar


def test_many_planted_blobs_do_not_keep_a_layer_from_its_source() -> None:
    layer, tier, fetch = plain(), bucket(), Fetch(plain().blob)
    for seed in range(12):
        plant(tier, layer, compressed(plain(seed + 1).tar, "zstd"))
    with open_cache(near(), tier) as cache:
        assert read(of_image(cache, layer, fetch).compressed()) == layer.tar
        assert len(store_of(tier).did("open", below="blobs/")) <= 6


def test_a_bomb_is_read_no_further_than_the_layer_is_long() -> None:
    layer, tier = plain(), bucket()
    plant(tier, layer, compressed(layer.tar + bytes(64 << 20), "zstd"), len(layer.tar))
    with open_cache(near(), tier) as cache:
        counted = []
        with cache.watch(lambda event: counted.append(event.size) if event.kind == "bytes" else None):
            assert read(of_image(cache, layer, Fetch(layer.blob)).compressed()) == layer.tar
        assert sum(counted) < 4 * len(layer.tar)


def test_a_fact_that_states_another_size_is_not_followed_for_an_image() -> None:
    layer, tier, fetch = plain(), bucket(), Fetch(plain().blob)
    plant(tier, layer, compressed(layer.tar, "zstd"), 5)
    with open_cache(near(), tier) as cache:
        assert read(of_image(cache, layer, fetch).compressed()) == layer.tar
    assert fetch.asked == [layer.digest]


def test_a_zstd_that_rotted_in_the_nearest_tier_is_quarantined() -> None:
    layer, nearest = plain(), near()
    with open_cache(nearest) as cache:
        made = put(cache, layer.blob).compress("zstd")
        evict(nearest, layer.digest)
        broken = bytearray(content(nearest)[keys.blob(made.digest)])
        broken[-20] ^= 1
        write_blob(nearest, made.digest, bytes(broken))
        assert read(of_image(cache, layer, Fetch(layer.blob)).compressed()) == layer.tar
        assert made.digest not in blobs(nearest)


def test_a_false_fact_of_ours_does_not_cost_the_blob() -> None:
    layer, nearest = plain(), near()
    with open_cache(nearest) as cache:
        other = plant(nearest, layer, compressed(plain(3).tar, "zstd"), len(layer.tar))
        assert read(of_image(cache, layer, Fetch(layer.blob)).compressed()) == layer.tar
        assert other in blobs(nearest)
        assert nearest.facts.made_from(layer.diff_id) == [] or other not in {
            each.digest for each in nearest.facts.made_from(layer.diff_id)
        }


def test_a_bucket_that_breaks_in_the_middle_is_gone_on_from_the_source() -> None:
    layer, tier, fetch = plain(), filled(plain()), Fetch(plain().blob)
    reads = 0

    def fails(action: str, key: str) -> bool:
        nonlocal reads
        reads += action == "read" and key.startswith(keys.BLOBS)
        return reads > 1

    store_of(tier).fails = fails
    with open_cache(near(), tier) as cache:
        assert read(of_image(cache, layer, fetch).compressed()) == layer.tar


def test_a_bucket_that_cannot_be_written_to_is_read() -> None:
    layer, tier = plain(), filled(plain())
    store_of(tier).fails = refuses_writes
    with open_cache(near(), tier) as cache:
        assert read(of_image(cache, layer).compressed()) == layer.tar


def test_a_blob_that_is_not_a_layer_is_stored_as_it_is() -> None:
    tar, tier = plain(), bucket()
    with open_cache(near(), tier) as cache:
        cache.layer(tar.digest, media_type="application/vnd.example.tar", fetch=Fetch(tar.blob)).fill(
            "compressed"
        )
        cache.flush()
    assert blobs(tier) == {tar.digest}


def test_an_image_that_calls_a_gzip_a_plain_tar_has_it_stored_as_it_is() -> None:
    layer, tier = sample(), bucket()
    with open_cache(near(), tier) as cache:
        lie = cache.layer(layer.digest, diff_id=layer.digest, fetch=Fetch(layer.blob))
        assert read(lie.compressed()) == layer.blob
        cache.flush()
    assert blobs(tier) == {layer.digest}


def test_a_tar_that_would_count_as_a_bomb_is_stored_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layercache.resolver.compressing.Limits", lambda: Limits(size=1000))
    layer, tier = plain(), bucket()
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    assert blobs(tier) == {layer.digest}


@pytest.mark.parametrize("too_much", ["a bomb", "too big"])
def test_a_nearest_tier_that_recompresses_keeps_such_a_tar_as_it_is(
    monkeypatch: pytest.MonkeyPatch, too_much: str
) -> None:
    layer = make_layer({"random": random.Random(1).randbytes(30_000)}, "none")
    limit = None
    if too_much == "a bomb":
        monkeypatch.setattr("layercache.resolver.compressing.Limits", lambda: Limits(size=1000))
    else:
        limit = len(layer.blob)
        monkeypatch.setattr("layercache.streams.compress.GZIP_BLOCK", 16)  # so what comes out is bigger
    tier = BackendTier(Store(MemoryBackend()), Policy(recompress=Compression.of("gzip"), max_size=limit))
    with open_cache(tier) as cache:
        put(cache, layer.blob)
        assert blobs(tier) == {layer.digest}
        assert read(of_image(cache, layer).compressed()) == layer.blob


def test_a_part_comes_out_of_the_zstd_too() -> None:
    layer, tier = plain(), filled(plain())
    with open_cache(near(), tier) as cache:
        image = of_image(cache, layer)
        assert read(image.compressed(1000, 5000)) == layer.tar[1000:5000]
        assert read(image.uncompressed(1000, 5000)) == layer.tar[1000:5000]


def test_a_nearest_tier_may_recompress_as_well() -> None:
    layer, first, second = plain(), bucket(), bucket()
    with open_cache(first, second) as cache:
        put(cache, layer.blob)
        cache.flush()
        assert zstd_in(first) == zstd_in(second) != layer.digest
        assert read(of_image(cache, layer).compressed()) == layer.tar
