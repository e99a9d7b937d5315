"""A false, rotten or unreadable zstd in place of a plain tar costs time and never bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, compressed, put, read
from fixtures.stores import (
    Fetch,
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
from resolver.recompressing import bucket, filled, of_image, plain, watched

from layercache.errors import DigestMismatchError, NotFoundError
from layercache.oci.descriptor import OCI_LAYER_ZSTD
from layercache.oci.digest import Digest
from layercache.tiers import keys

if TYPE_CHECKING:
    from layercache.tiers.backend.tier import BackendTier


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
