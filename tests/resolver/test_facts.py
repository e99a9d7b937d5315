"""Facts: computed and claimed, believed and refuted; none implies that a blob is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, large, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    blobs,
    content,
    evict,
    fact,
    far,
    near,
    open_cache,
    recorded,
    write,
    write_blob,
    write_record,
)

from layercache import DigestMismatchError, NotFoundError
from layercache.layer import Layer as CachedLayer
from layercache.resolver.identity import LayerIdentity
from layercache.tiers import keys
from layercache.tiers.record import Record
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.cache import Cache

TRUE, OTHER = sample(1), sample(2)


def facts(cache: Cache, state: str, number: int = 0) -> list[str]:
    return recorded(cache.tiers[number], computed=state == "computed")


def as_an_image_has_it(cache: Cache, layer: Layer, diff_id: str, fetch: Fetch) -> CachedLayer:
    return cache.layer(layer.digest, diff_id=diff_id, media_type=layer.media_type, fetch=fetch)


def test_a_claim_is_kept_and_finds_the_layer_before_anything_was_inflated() -> None:
    fetch = Fetch(TRUE.blob)
    with open_cache(near(), far()) as cache:
        as_an_image_has_it(cache, TRUE, TRUE.diff_id, fetch).fill("compressed")
        assert cache.counters.inflated == 0
        for number in (0, 1):
            assert len(facts(cache, "claimed", number)) == 2
            assert not facts(cache, "computed", number)
        assert TRUE.diff_id in cache
        found = cache.get(TRUE.diff_id)
        assert (found.digest, found.diff_id, found.computed) == (TRUE.digest, TRUE.diff_id, False)
        assert (found.size, found.media_type) == (len(TRUE.blob), TRUE.media_type)
        assert read(found.uncompressed()) == TRUE.tar
        assert found.computed
        assert found.uncompressed_size == len(TRUE.tar)
        assert len(facts(cache, "computed")) == 2
        assert cache.get(TRUE.digest).computed
        assert len(fetch.asked) == 1


def test_a_claim_that_comes_after_the_blob_is_kept_too() -> None:
    fetch = Fetch(TRUE.blob)
    with open_cache() as cache:
        cache.layer(TRUE.digest, fetch=fetch).fill("compressed")
        assert TRUE.diff_id not in cache
        as_an_image_has_it(cache, TRUE, TRUE.diff_id, fetch).fill("compressed")
        assert TRUE.diff_id in cache
        assert read(cache.get(TRUE.diff_id).uncompressed()) == TRUE.tar


def test_what_bringing_a_layer_asks_of_the_disk_and_that_a_warm_one_is_looked_for_once() -> None:
    store = Store(MemoryBackend())
    tier = near(store)
    tier.remote = False
    with open_cache(tier) as cache:
        as_an_image_has_it(cache, TRUE, TRUE.diff_id, Fetch(TRUE.blob)).fill("compressed")
        asked = store.asked.copy()
        store.asked.clear()
        as_an_image_has_it(cache, TRUE, TRUE.diff_id, Fetch(TRUE.blob)).fill("compressed")
    blob, record = keys.blob(TRUE.digest), keys.record(TRUE.digest)
    assert [key for action, key in asked if action in ("open", "stat", "scan")] == [
        record,  # as the layer is named
        blob,  # as it is asked for
        blob,  # under its lock; who brings it without one publishes the same bytes again
        record,  # before the claim is written down
        keys.record(TRUE.diff_id),  # as it is written down, where the store has no conditional writes
        record,
    ]
    assert store.did("open", "stat", below=keys.BLOBS) == [blob]
    assert not store.did("create")


@pytest.mark.parametrize("layer", [sample(1), large(1)], ids=["small", "large"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_false_claim_ends_in_a_clear_error_and_never_comes_back(layer: Layer, cached: bool) -> None:
    fetch = Fetch(layer.blob)
    with open_cache(near(), far()) as cache:
        lying = as_an_image_has_it(cache, layer, OTHER.diff_id, fetch)
        if cached:
            lying.fill("compressed")
            assert len(facts(cache, "claimed")) == 2
        with pytest.raises(DigestMismatchError, match="was said to inflate to") as caught:
            read(lying.uncompressed())
        assert {layer.digest, layer.diff_id, OTHER.diff_id} <= set(
            caught.value.message.replace(",", "").split()
        )
        for number in (0, 1):
            assert not facts(cache, "claimed", number)
        assert OTHER.diff_id not in cache
        assert OTHER.diff_id not in blobs(cache.tiers[0])
        assert layer.diff_id not in blobs(cache.tiers[0])

        found = cache.get(layer.digest)
        assert found.diff_id == layer.diff_id
        assert read(found.uncompressed()) == layer.tar
        assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar

        for _ in range(2):
            evict(cache.tiers[0], layer.digest)
            evict(cache.tiers[1], layer.digest)
            again = CachedLayer(
                cache._resolver,
                LayerIdentity.stated(layer.digest, OTHER.diff_id, None),
                lying._state.source,
            )
            again.fill("compressed")
            assert not facts(cache, "claimed"), "the claim is known to be false"
            assert OTHER.diff_id not in cache
            with pytest.raises(DigestMismatchError, match="was said to inflate to"):
                read(again.uncompressed())
        assert read(cache.get(layer.digest).uncompressed()) == layer.tar


def test_a_claim_about_a_layer_of_known_diff_id_does_not_change_what_is_read() -> None:
    with open_cache() as cache:
        put(cache, TRUE.blob)
        put(cache, OTHER.blob)
        swapped = cache.layer(TRUE.digest, diff_id=OTHER.diff_id)
        assert swapped.diff_id == TRUE.diff_id
        assert read(swapped.uncompressed()) == TRUE.tar


def test_what_an_image_claims_is_not_believed_of_another_askers_layer() -> None:
    """A lying image names a cached tar as what a cached, never inflated blob inflates to."""
    with open_cache() as cache:
        put(cache, OTHER.blob)
        as_an_image_has_it(cache, TRUE, OTHER.diff_id, Fetch(TRUE.blob)).fill("compressed")
        asked, failed = cache.get(TRUE.digest), cache.counters.failed
        assert read(asked.uncompressed()) == TRUE.tar, "who asks by digest has claimed nothing"
        assert (asked.diff_id, asked.computed) == (TRUE.diff_id, True)
        assert cache.counters.failed == failed + 1, "the false claim is reported"


def test_a_tar_under_the_asked_diff_id_is_taken_though_the_digest_was_never_inflated() -> None:
    packed = sample(1, "zstd")
    with open_cache() as cache:
        put(cache, packed.blob)
        asked = as_an_image_has_it(cache, TRUE, TRUE.diff_id, Fetch())
        assert read(asked.uncompressed()) == TRUE.tar


@pytest.mark.parametrize("keep", ["both", "compressed"])
def test_a_computed_fact_of_a_far_tier_is_a_claim_until_we_inflate(keep: str) -> None:
    shared = far()
    with open_cache(near(shared.backend)) as writer:
        put(writer, TRUE.blob)
    with open_cache(near(keep=keep), shared) as cache:  # type: ignore[arg-type]  # parametrised
        found = cache.get(TRUE.digest)
        assert found.diff_id == TRUE.diff_id
        assert not found.computed
        cache.get(TRUE.digest).fill("compressed")
        assert facts(cache, "claimed")
        assert not facts(cache, "computed")
        assert read(cache.get(TRUE.digest).uncompressed()) == TRUE.tar
        assert len(facts(cache, "computed")) == 2


def test_no_fact_implies_a_blob() -> None:
    with open_cache() as cache:
        put(cache, TRUE.blob)
        evict(cache.tiers[0], TRUE.digest)
        assert TRUE.digest in cache, "the tar is a form of it"
        with pytest.raises(NotFoundError, match="only its tar is") as caught:
            cache.get(TRUE.digest).compressed()
        assert "cannot be made from the tar" in caught.value.hint
        evict(cache.tiers[0], TRUE.diff_id)
        for name in (TRUE.digest, TRUE.diff_id):
            assert name not in cache
            with pytest.raises(NotFoundError):
                cache.get(name)
        assert facts(cache, "computed"), "facts stay"


def test_a_diff_id_still_leads_to_a_digest_that_a_farther_tier_has() -> None:
    with open_cache(near(), far()) as cache:
        put(cache, TRUE.blob)
        for name in (TRUE.digest, TRUE.diff_id):
            evict(cache.tiers[0], name)
        evict(cache.tiers[1], TRUE.diff_id)
        assert read(cache.get(TRUE.diff_id).uncompressed()) == TRUE.tar
        assert {TRUE.digest, TRUE.diff_id} <= blobs(cache.tiers[0])


@pytest.mark.parametrize("there", ["farther tier", "origin"])
def test_where_only_the_tar_is_there_the_digest_comes_from_farther_away(there: str) -> None:
    with open_cache(near(), far()) as cache:
        put(cache, TRUE.blob)
        evict(cache.tiers[0], TRUE.digest)
        fetch = Fetch(TRUE.blob)
        if there == "origin":
            evict(cache.tiers[1], TRUE.digest)
        layer = cache.layer(TRUE.digest, fetch=fetch)
        assert read(layer.compressed()) == TRUE.blob
        assert bool(fetch.asked) == (there == "origin")
        assert TRUE.digest in blobs(cache.tiers[0])


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{", b"[]", b"null", b"{}", b"\0" * 100, b'{"digest": "x", "size": 1}',
     b'{"digest": "%s", "size": 1}' % TRUE.digest.encode(), b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
@pytest.mark.parametrize("trusted", [True, False])
def test_a_torn_fact_is_no_fact(garbage: bytes, trusted: bool) -> None:
    """As after a power cut: small objects are published without waiting for the disk."""
    tier = near() if trusted else far()
    write_blob(tier, TRUE.digest, TRUE.blob)
    for name in (TRUE.digest, TRUE.diff_id):
        write(tier, keys.record(name), garbage)
    with open_cache(*([tier] if trusted else [near(), tier])) as cache:
        assert cache.get(TRUE.digest).names.diff_id is None
        assert TRUE.diff_id not in cache
        assert read(cache.get(TRUE.digest).uncompressed()) == TRUE.tar
        assert read(cache.get(TRUE.diff_id).uncompressed()) == TRUE.tar
        if trusted:
            assert Record.decode(content(tier)[keys.record(TRUE.digest)], TRUE.digest).as_digest


def test_a_fact_under_anothers_name_is_no_fact() -> None:
    tier = near()
    write_blob(tier, TRUE.digest, TRUE.blob)
    write_record(tier, TRUE.digest, fact(OTHER.digest, OTHER.diff_id, 1))
    true = Record(TRUE.digest, (fact(TRUE.digest, TRUE.diff_id, 1),))
    write(tier, keys.record(OTHER.diff_id), true.encode())
    with open_cache(tier) as cache:
        assert OTHER.diff_id not in cache
        assert read(cache.get(TRUE.digest).uncompressed()) == TRUE.tar


def test_the_size_of_a_tar_that_nobody_has_read_is_not_written_down() -> None:
    """It may have lost its end since it was stored."""
    with open_cache() as cache:
        write_blob(cache.tiers[0], TRUE.diff_id, TRUE.tar[:-1])
        asked = cache.layer(TRUE.digest, diff_id=TRUE.diff_id, size=len(TRUE.blob), fetch=Fetch(TRUE.blob))
        asked.fill("uncompressed")
        (claim,) = cache.tiers[0].facts.inflates_to(TRUE.digest)
        assert (claim.size, claim.uncompressed_size) == (len(TRUE.blob), None)
