"""A bucket keeps a zstd in place of a plain tar, which is found under its own name and comes back exactly."""

from __future__ import annotations

import pytest
from fixtures.layers import compressed, put, read, sample
from fixtures.stores import Fetch, blobs, content, evict, near, open_cache, store_of, write_blob
from resolver.recompressing import ZSTD, bucket, filled, of_image, plain, watched, zstd_in

from layercache.errors import NotFoundError
from layercache.oci.descriptor import OCI_LAYER, OCI_LAYER_ZSTD
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend


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
