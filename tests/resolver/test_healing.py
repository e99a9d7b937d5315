"""A blob that rotted is put aside and the next way taken in the same call; a false fact is replaced."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, flipped, large, put, read, sample
from fixtures.stores import Fetch, assert_sound, blobs, evict, far, near, open_cache, write_blob, write_record

from layercache import DigestMismatchError, FormatError, LayercacheError
from layercache.oci.descriptor import OCI_LAYER_ZSTD
from layercache.oci.digest import DiffID, Digest
from layercache.resolver.healing import TRIES
from layercache.streams.readers import StatedSizeError
from layercache.tiers.association import Association
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.layer import Layer as CachedLayer

LAYERS = {
    f"{size} {compression}": make(1, compression)
    for size, make in (("small", sample), ("large", large))
    for compression in ("gzip", "zstd", "none")
}
ROT: dict[str, Callable[[bytes], bytes]] = {
    "the first byte": lambda data: flipped(data, 0),
    "the header": lambda data: flipped(data, 3),
    "early": lambda data: flipped(data, 40),
    "the middle": lambda data: flipped(data, len(data) // 2),
    "the checksum": lambda data: flipped(data, -6),
    "the last byte": lambda data: flipped(data, -1),
    "zeros": lambda data: bytes(len(data)),
    "cut": lambda data: data[:-1],
    "cut in the middle, then zeros": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "a bomb": lambda data: gzip.compress(bytes(1 << 20)).ljust(len(data), b"\0")[: len(data)],
}  # fmt: skip
ROT_OF_LARGE = {"early", "the middle", "the checksum", "cut"}
"""What is noticed at different times, once a layer has many chunks."""


def asked(cache: Cache, layer: Layer, fetch: Fetch | None) -> CachedLayer:
    return (
        cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch) if fetch else cache.get(layer.diff_id)
    )


@pytest.mark.usefixtures("driven")
@pytest.mark.parametrize(
    ("name", "rot"),
    [(name, rot) for name in LAYERS for rot in ROT if name.startswith("small") or rot in ROT_OF_LARGE],
)
@pytest.mark.parametrize("elsewhere", ["far", "origin"])
@pytest.mark.parametrize("verify_always", [False, True])
def test_a_tar_of_which_the_blob_rotted_is_made_of_the_next_copy_or_the_call_after_gets_it(
    name: str, rot: str, elsewhere: str, verify_always: bool
) -> None:
    layer = LAYERS[name]
    tiers = [near(), far(keep="compressed")]
    rotten = ROT[rot](layer.blob)
    if rotten == layer.blob:
        return
    with open_cache(*tiers, verify_always=verify_always) as cache:
        put(cache, layer.blob)
        cache.flush()
        fetch = None
        if elsewhere == "origin":
            evict(tiers[1], layer.digest)
            fetch = Fetch(layer.blob)
        if str(layer.diff_id) != str(layer.digest):
            evict(tiers[0], layer.diff_id)
        write_blob(tiers[0], layer.digest, rotten)
        if str(layer.diff_id) == str(layer.digest) and not verify_always and rot != "cut":
            return  # it is its own tar: nothing is made of it, and its size is right
        given = b""
        try:
            with asked(cache, layer, fetch).uncompressed() as stream:
                while part := stream.read(3000):
                    given += part
        except LayercacheError:
            # What stands in the stream's buffer was given, too.
            assert not given or not layer.tar.startswith(given), "it could have gone on"
        else:
            assert given == layer.tar
            if not verify_always and not cache.counters.failed:
                return  # what rotted was a name or a time in a header: the tar is right
        assert read(asked(cache, layer, fetch).uncompressed()) == layer.tar
        assert cache.counters.failed == 1, "reported once"
        assert_sound(tiers[0])
        asked(cache, layer, fetch).fill("both")
        assert blobs(tiers[0]) == {layer.digest, layer.diff_id}


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("name", ["small gzip", "large gzip", "small zstd"])
def test_a_wrong_blob_in_a_far_tier_costs_the_call_nothing_but_time(form: str, name: str) -> None:
    layer = LAYERS[name]
    for wrong in (
        flipped(layer.blob, -20),
        layer.blob[:-1],
        layer.blob + b"\0",
        gzip.compress(bytes(1 << 20)),
    ):
        tiers = [near(), far(), far()]
        write_blob(tiers[1], layer.digest, wrong)
        write_blob(tiers[2], layer.digest, layer.blob)
        with open_cache(*tiers) as cache:
            for size in (None, len(layer.blob)):
                again = cache.layer(layer.digest, size=size)
                stream = again.compressed() if form == "compressed" else again.uncompressed()
                assert read(stream) == (layer.blob if form == "compressed" else layer.tar)
            assert_sound(tiers[0])


def test_bytes_that_were_given_and_were_right_are_gone_on_from() -> None:
    layer = LAYERS["large gzip"]
    rotten = layer.blob[: len(layer.blob) - 6] + flipped(layer.blob[-6:], 0)  # the checksum alone
    tiers = [near(), far(keep="compressed")]
    with open_cache(*tiers) as cache:
        put(cache, layer.blob)
        cache.flush()
        evict(tiers[0], layer.diff_id)
        write_blob(tiers[0], layer.digest, rotten)
        with cache.get(layer.diff_id).uncompressed() as stream:
            start = stream.read(20_000)
            assert start + stream.read() == layer.tar
            assert stream.seek(100) == 100, "as any reader of what comes"
            assert stream.read(50) == layer.tar[100:150]


def test_a_blob_that_is_right_and_broken_is_refused_and_stays() -> None:
    broken = LAYERS["large gzip"].blob[:-20]
    digest = Digest.of(broken)
    with open_cache() as cache:
        fetch = Fetch(broken)
        with pytest.raises(FormatError):
            read(cache.layer(digest, fetch=fetch).uncompressed())
        with pytest.raises(FormatError):
            read(cache.layer(digest).uncompressed())
        assert blobs(cache.tiers[0]) == {digest}
        assert cache.counters.failed == 0
        assert len(fetch.asked) == 1


def test_where_the_only_copy_rotted_it_is_an_error_of_integrity_and_then_absence() -> None:
    layer = LAYERS["small gzip"]
    with open_cache() as cache:
        put(cache, layer.blob)
        evict(cache.tiers[0], layer.diff_id)
        write_blob(cache.tiers[0], layer.digest, flipped(layer.blob, 60))
        with pytest.raises(DigestMismatchError, match="hash to"):
            read(cache.get(layer.digest).uncompressed())
        assert layer.digest not in cache


@pytest.mark.parametrize("readonly", [False, True])
def test_an_entry_that_cannot_be_removed_is_met_once(readonly: bool) -> None:
    layer = LAYERS["small gzip"]
    nearest = near()
    with open_cache(nearest) as cache:
        put(cache, layer.blob)
    evict(nearest, layer.diff_id)
    write_blob(nearest, layer.digest, flipped(layer.blob, 60))
    fixed = near(nearest.backend, readonly=readonly)
    if not readonly:
        fixed.blobs.delete = lambda name: None  # type: ignore[method-assign]
    with open_cache(fixed, near()) as cache:
        fetch = Fetch(layer.blob)
        for _ in range(2):
            assert read(cache.layer(layer.digest, fetch=fetch).uncompressed()) == layer.tar
        assert cache.counters.failed <= 2, "by who read it, and by who found it where the right one goes"


def test_of_many_wrong_entries_a_request_meets_a_few_and_the_call_after_goes_on_behind_them() -> None:
    layer = LAYERS["small gzip"]
    wrong, right = [far() for _ in range(TRIES + 2)], far()
    for tier in wrong:
        write_blob(tier, layer.digest, flipped(layer.blob, 60))
    write_blob(right, layer.digest, layer.blob)
    with open_cache(near(), *wrong, right) as cache:
        with pytest.raises(DigestMismatchError):
            read(cache.get(layer.digest).compressed())
        assert cache.counters.failed == TRIES
        assert read(cache.get(layer.digest).compressed()) == layer.blob
        assert cache.counters.failed == len(wrong), "each was met once"


def test_put_over_a_rotten_blob_replaces_it_and_spreads_nothing() -> None:
    for name in ("small gzip", "large zstd", "large none"):
        layer = LAYERS[name]
        for rotten in (layer.digest, layer.diff_id):
            tiers = [near(), far()]
            with open_cache(*tiers) as cache:
                put(cache, layer.blob)
                cache.flush()
                evict(tiers[1], rotten)
                data = layer.blob if rotten == layer.digest else layer.tar
                write_blob(tiers[0], rotten, flipped(data))
                put(cache, layer.blob)
                cache.flush()
                for tier in tiers:
                    assert_sound(tier)
                    assert blobs(tier) == {layer.digest, layer.diff_id}


def test_under_verify_always_a_path_is_that_of_right_bytes(tmp_path: object) -> None:
    import layercache

    layer = LAYERS["small gzip"]
    with layercache.open(str(tmp_path), verify="always") as cache:
        put(cache, layer.blob)
        path = cache.get(layer.digest).path("compressed")
        assert path
        with open(path, "r+b") as file:
            file.write(b"rot")
        assert cache.get(layer.digest).path("compressed") is None
        assert cache.counters.failed == 1


# Facts that are false


def rotten_fact(layer: Layer, **changes: object) -> Association:
    true = Association(
        layer.digest, layer.diff_id, len(layer.blob), uncompressed_size=len(layer.tar), computed=True
    )
    return replace(true, **changes)


FALSE: dict[str, dict[str, object]] = {
    "the size": {"size": 7},
    "the tar's size, too small": {"uncompressed_size": 7},
    "the tar's size, too big": {"uncompressed_size": 1 << 50},
    "a size of nothing": {"size": 0, "uncompressed_size": 0},
    "the compression": {"media_type": OCI_LAYER_ZSTD},
}


@pytest.mark.parametrize("false", FALSE)
@pytest.mark.parametrize("half", ["by digest", "by diff ID", "both"])
@pytest.mark.parametrize("by", ["digest", "diff ID", "image"])
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("there", ["both", "blob", "far", "origin"])
def test_a_fact_that_rotted_blocks_nothing_and_removes_nothing(
    false: str, half: str, by: str, form: str, there: str
) -> None:
    layer = LAYERS["small gzip"]
    tiers = [near(), far(keep="compressed")]
    with open_cache(*tiers) as cache:
        put(cache, layer.blob)
        cache.flush()
        if there != "both":
            evict(tiers[0], layer.diff_id)
        if there in ("far", "origin"):
            evict(tiers[0], layer.digest)
        if there == "origin":
            evict(tiers[1], layer.digest)
        rotten = rotten_fact(layer, **FALSE[false])
        if half != "by diff ID":
            write_record(tiers[0], layer.digest, rotten)
        if half != "by digest":
            write_record(tiers[0], layer.diff_id, rotten)
        fetch = Fetch(layer.blob)
        if by == "image" or there == "origin":
            meant = cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=fetch)
        else:
            meant = cache.get(layer.digest if by == "digest" else layer.diff_id)
        stream = meant.compressed() if form == "compressed" else meant.uncompressed()
        assert read(stream) == (layer.blob if form == "compressed" else layer.tar)
        assert cache.counters.failed == 0
        meant.fill("both")
        assert blobs(tiers[0]) == {layer.digest, layer.diff_id}
        assert len(fetch.asked) == (there == "origin")


def test_a_false_size_of_a_fact_is_replaced_by_what_was_counted_and_reported() -> None:
    layer = LAYERS["small gzip"]
    with open_cache() as cache:
        put(cache, layer.blob)
        true = cache.tiers[0].facts.inflates_to(layer.digest)
        cache.tiers[0].facts.record(rotten_fact(layer, size=7, uncompressed_size=9))
        events: list[str] = []
        with cache.watch(lambda event: events.append(event.kind)):
            read(cache.get(layer.digest).compressed())
            read(cache.get(layer.digest).uncompressed())
            read(cache.get(layer.diff_id).compressed())
        assert events.count("mislabelled") == 2
        (now,) = cache.tiers[0].facts.inflates_to(layer.digest)
        assert (now.size, now.uncompressed_size) == (true[0].size, true[0].uncompressed_size)
        assert cache.tiers[0].facts.made_from(layer.diff_id) == [now]


@pytest.mark.parametrize("by", ["digest", "image"])
def test_a_diff_id_that_rotted_in_a_fact_is_learnt_again(by: str) -> None:
    layer = LAYERS["small gzip"]
    with open_cache() as cache:
        put(cache, layer.blob)
        evict(cache.tiers[0], layer.diff_id)
        rotten = rotten_fact(layer, diff_id=DiffID.of(b"another"))
        write_record(cache.tiers[0], layer.digest, rotten)
        meant = cache.layer(layer.digest, diff_id=layer.diff_id) if by == "image" else cache.get(layer.digest)
        assert read(meant.uncompressed()) == layer.tar
        assert [fact.diff_id for fact in cache.tiers[0].facts.inflates_to(layer.digest)] == [layer.diff_id]
        assert blobs(cache.tiers[0]) == {layer.digest, layer.diff_id}
        assert meant.diff_id == layer.diff_id


@pytest.mark.parametrize("size", [0, 1, 1 << 40])
def test_a_size_that_an_asker_states_falsely_fails_for_that_asker_alone(size: int) -> None:
    layer = LAYERS["small gzip"]
    tiers = [near(), far()]
    with open_cache(*tiers) as cache:
        put(cache, layer.blob)
        cache.flush()
        with pytest.raises(StatedSizeError, match="instead of"):
            read(cache.layer(layer.digest, size=size).compressed())
        evict(tiers[0], layer.digest)
        evict(tiers[0], layer.diff_id)
        with pytest.raises(LayercacheError):
            read(cache.layer(layer.digest, size=size).compressed())
        assert read(cache.layer(layer.digest).compressed()) == layer.blob, "the far entry is not called wrong"


def test_a_bomb_under_a_known_name_is_stopped_at_the_size_of_its_fact() -> None:
    layer = LAYERS["small gzip"]
    bomb = gzip.compress(bytes(8 << 20))
    tiers = [near(keep="uncompressed"), far()]
    write_blob(tiers[1], layer.digest, bomb)
    tiers[0].facts.record(rotten_fact(layer))
    inflated = 0
    with open_cache(*tiers) as cache, cache.watch(lambda event: count(event)):

        def count(event: object) -> None:
            nonlocal inflated
            if getattr(event, "kind", "") == "bytes" and getattr(event, "form", "") == "uncompressed":
                inflated += getattr(event, "size", 0)

        assert read(cache.layer(layer.digest, fetch=Fetch(layer.blob)).uncompressed()) == layer.tar
    assert inflated < len(layer.tar) * 2 + (64 << 10)
