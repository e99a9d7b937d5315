"""Blobs that are not layers, layers that are empty, and media types that contradict the bytes."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, compressed, put, read, sample
from fixtures.stores import Fetch, blobs, content, far, near, open_cache

from layercache import DigestMismatchError, NotALayerError
from layercache.oci.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCTETS,
    compression_of,
    layer_type,
)
from layercache.oci.digest import DiffID, Digest
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.upkeep import verify

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.layer import Forms

NO_LAYERS = [
    "application/vnd.in-toto+json",
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
    "application/vnd.oci.image.layer.v1.tar+encrypted",
    "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    "application/wasm",
    "text/plain",
    OCI_CONFIG,
]

OPAQUE = {
    "JSON": json.dumps({"predicate": list(range(1000))}).encode(),
    "text": b"Chart.yaml\n" * 100,
    "nothing": b"",
    "one byte": b"\0",
    "half a tar header": sample(1).tar[:300],
    "the empty config": b"{}",
    "a broken tar header": b"x" + sample(1).tar,
}


def one_tier(cache: Cache) -> BackendTier:
    (tier,) = cache.tiers
    assert isinstance(tier, BackendTier)
    return tier


@pytest.mark.parametrize("kind", OPAQUE)
@pytest.mark.parametrize("how", ["put", "fetched"])
def test_what_is_no_layer_is_kept_as_it_is(kind: str, how: str) -> None:
    data = OPAQUE[kind]
    digest = Digest.of(data)
    with open_cache(near(), far()) as cache:
        layer = put(cache, data) if how == "put" else cache.layer(digest, fetch=Fetch(data))
        layer.fill("compressed")
        for each in (layer, cache.get(digest), cache.layer(digest)):
            assert read(each.compressed()) == data
            assert (*each.names, each.size) == (digest, None, len(data))
            for _ in range(2):
                with pytest.raises(NotALayerError, match="is not a layer") as caught:
                    each.uncompressed()
                assert "compressed form" in caught.value.hint
            with pytest.raises(NotALayerError):
                each.fill("uncompressed")
        for tier in cache.tiers:
            assert blobs(tier) == {digest}
            assert not [key for key in content(tier) if key.startswith(keys.RECORDS)]
        assert cache.counters.inflated == 0


def test_a_media_type_that_is_none_of_a_layer_is_believed() -> None:
    layer = sample(1)
    with open_cache() as cache:
        asked = cache.layer(layer.digest, media_type=OCI_CONFIG, fetch=Fetch(layer.blob))
        with pytest.raises(NotALayerError, match=OCI_CONFIG.replace("+", r"\+")):
            asked.uncompressed()
        assert read(asked.compressed()) == layer.blob


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "stated", [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP]
)
@pytest.mark.parametrize("cached", [True, False])
def test_the_bytes_say_how_a_layer_is_compressed_and_a_media_type_that_contradicts_them_is_reported(
    compression: str, stated: str, cached: bool
) -> None:
    layer = sample(1, compression)
    fits = compression_of(stated) == compression
    found = stated if fits else layer_type(stated, compression)
    events: list[Event] = []
    with open_cache() as cache, cache.watch(events.append):
        asked = cache.layer(layer.digest, media_type=stated, fetch=Fetch(layer.blob))
        if cached:
            asked.fill("compressed")
        for _ in range(2):
            assert read(asked.uncompressed()) == layer.tar
        assert asked.diff_id == layer.diff_id
        assert read(asked.compressed()) == layer.blob
        reported = [event for event in events if event.kind == "mislabelled"]
        assert [event.name for event in reported] == ([] if fits else [layer.digest])
        assert all(stated in event.note for event in reported)
        # What is written down is what the bytes are, in the family of what was stated.
        assert asked.media_type == cache.get(layer.digest).media_type == found
        assert compression_of(found) == compression
        assert found.startswith(stated[:24])
        assert [each for each in verify(one_tier(cache), deep=True) if each.problem] == []


def test_a_mislabelled_layer_of_another_diff_id_is_still_refused() -> None:
    layer, other = sample(1), sample(2)
    with open_cache() as cache:
        asked = cache.layer(
            layer.digest, diff_id=other.diff_id, media_type=OCI_LAYER_ZSTD, fetch=Fetch(layer.blob)
        )
        with pytest.raises(DigestMismatchError, match="was said to inflate to"):
            read(asked.uncompressed())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_media_type_that_says_nothing_is_learnt_from_the_bytes(compression: str) -> None:
    layer = sample(1, compression)
    with open_cache() as cache:
        asked = cache.layer(layer.digest, fetch=Fetch(layer.blob))
        assert asked.media_type == OCTETS
        assert read(asked.uncompressed()) == layer.tar
        assert asked.media_type == layer.media_type


def test_an_empty_tar_is_a_layer() -> None:
    for size in (1024, 10240):
        empty = bytes(size)
        with open_cache() as cache:
            made = put(cache, empty)
            assert read(cache.get(made.diff_id).uncompressed()) == empty


DOCKERS_EMPTY = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")

EMPTY = {
    "no bytes at all": (b"", b"", OCI_LAYER),
    "no bytes at all, said to be gzip": (b"", b"", OCI_LAYER_GZIP),
    "a gzip of nothing": (b"", compressed(b"", "gzip"), OCI_LAYER_GZIP),
    "a zstd of nothing": (b"", compressed(b"", "zstd"), OCI_LAYER_ZSTD),
    "two blocks of zeros": (bytes(1024), bytes(1024), DOCKER_LAYER),
    "a gzip of two blocks of zeros": (bytes(1024), compressed(bytes(1024), "gzip"), OCI_LAYER_GZIP),
    "Docker's": (bytes(1024), DOCKERS_EMPTY, DOCKER_LAYER_GZIP),
    "a zstd of a record of zeros": (bytes(10240), compressed(bytes(10240), "zstd"), OCI_LAYER_ZSTD),
}


@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("form", ["compressed", "uncompressed", "both"])
def test_an_empty_layer_is_had_by_both_of_its_names(kind: str, form: Forms) -> None:
    tar, blob, media_type = EMPTY[kind]
    digest, diff_id = Digest.of(blob), DiffID.of(tar)
    with open_cache(near(), far()) as cache:
        layer = cache.layer(digest, diff_id=diff_id, media_type=media_type, size=len(blob), fetch=Fetch(blob))
        layer.fill(form)
        for tier in (near(), cache.tiers[0]):  # one that knows nothing yet, and the one that was filled
            with open_cache(tier, cache.tiers[1]) as other:
                cache.flush()
                for name in (digest, diff_id):
                    assert read(other.get(name).uncompressed()) == tar
                if form != "uncompressed":
                    assert read(other.get(digest).compressed()) == blob
                    assert other.get(diff_id).digest == digest
        for tier in cache.tiers:
            assert isinstance(tier, BackendTier)
            assert [each for each in verify(tier, deep=True) if each.problem] == []


@pytest.mark.parametrize("kind", ["a gzip of nothing", "Docker's"])
def test_an_empty_layer_that_is_put_is_had_by_both_of_its_names(kind: str) -> None:
    tar, blob, _ = EMPTY[kind]
    with open_cache() as cache:
        made = put(cache, blob)
        assert (made.digest, made.diff_id) == (Digest.of(blob), DiffID.of(tar))
        assert made.uncompressed_size == len(tar)
        for name in (Digest.of(blob), DiffID.of(tar)):
            assert read(cache.get(name).compressed()) == blob
            assert read(cache.get(name).uncompressed()) == tar
            assert cache.get(name).uncompressed_size == len(tar)
        assert [each for each in verify(one_tier(cache), deep=True) if each.problem] == []


def test_dockers_empty_layer_is_the_one_that_every_old_image_has() -> None:
    assert Digest.of(DOCKERS_EMPTY).hex == "a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"


@pytest.mark.parametrize("media_type", NO_LAYERS)
@pytest.mark.parametrize("form", ["compressed", "both"])
def test_nothing_is_claimed_of_what_is_not_a_layer(media_type: str, form: Forms) -> None:
    data = b'{"_type": "https://in-toto.io/Statement/v0.1"}'
    with open_cache(near(), far()) as cache:
        layer = cache.layer(
            Digest.of(data), diff_id=DiffID.of(data), media_type=media_type, fetch=Fetch(data)
        )
        with suppress(NotALayerError):
            layer.fill(form)
        layer.fill("compressed")
        layer.fill("compressed")
        cache.flush()
        for tier in cache.tiers:
            assert blobs(tier) == {Digest.of(data)}
            assert not [key for key in content(tier) if key.startswith(keys.RECORDS)]
            assert isinstance(tier, BackendTier)
            assert [each for each in verify(tier, deep=True) if each.problem] == []
