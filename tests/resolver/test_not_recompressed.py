"""Blobs that are stored as they are in a tier that recompresses."""

from __future__ import annotations

import random

import pytest
from fixtures.layers import make_layer, put, read, sample
from fixtures.stores import Fetch, Store, blobs, near, open_cache
from resolver.recompressing import bucket, of_image, plain

from layercache.streams.compress import Compression
from layercache.streams.limits import Limits
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend


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
