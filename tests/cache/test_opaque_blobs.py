"""Blobs that are no layers, and media types that contradict the bytes."""

from __future__ import annotations

import json

import pytest
from cache.layers import COMPRESSIONS, put, read, sample
from cache.stores import Fetch, blobs, content, far, near, open_cache

from layercache import FormatError, NotALayerError, keys
from layercache.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCTETS,
)
from layercache.digest import Digest

OPAQUE = {
    "JSON": json.dumps({"predicate": list(range(1000))}).encode(),
    "text": b"Chart.yaml\n" * 100,
    "nothing": b"",
    "one byte": b"\0",
    "half a tar header": sample(1).tar[:300],
    "the empty config": b"{}",
    "a broken tar header": b"x" + sample(1).tar,
}


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
            assert (each.digest, each.diff_id, each.size) == (digest, None, len(data))
            for _ in range(2):
                with pytest.raises(NotALayerError, match="is no layer") as caught:
                    each.uncompressed()
                assert "compressed form" in caught.value.hint
            with pytest.raises(NotALayerError):
                each.fill("uncompressed")
        for tier in cache.tiers:
            assert blobs(tier) == {digest}
            assert not [key for key in content(tier) if key.startswith(keys.ASSOCIATIONS)]
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
def test_a_media_type_that_contradicts_the_bytes_is_an_error_and_the_blob_can_still_be_read(
    compression: str, stated: str, cached: bool
) -> None:
    layer = sample(1, compression)
    fits = {"gzip": "gzip", "zstd": "zstd", "none": "tar"}[compression] == stated.replace("+", ".").split(
        "."
    )[-1]
    with open_cache() as cache:
        asked = cache.layer(layer.digest, media_type=stated, fetch=Fetch(layer.blob))
        if cached:
            asked.fill("compressed")
        if fits:
            assert read(asked.uncompressed()) == layer.tar
            assert asked.media_type == stated
            assert cache.get(layer.digest).media_type == stated
        else:
            with pytest.raises(FormatError, match="by its first bytes"):
                asked.uncompressed()
            assert asked.diff_id is None
        assert read(asked.compressed()) == layer.blob
        assert read(cache.layer(layer.digest).uncompressed()) == layer.tar


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
            assert made.digest is not None
            assert made.diff_id is not None
            assert read(cache.get(made.diff_id).uncompressed()) == empty


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_nothing_is_kept_and_inflates_to_nothing_or_says_that_it_is_no_layer(
    compression: str,
) -> None:
    from cache.layers import compressed

    blob = compressed(b"", compression)
    with open_cache() as cache:
        made = put(cache, blob)
        assert read(made.compressed()) == blob
        try:
            assert read(made.uncompressed()) == b""
        except NotALayerError:
            assert made.diff_id is None
