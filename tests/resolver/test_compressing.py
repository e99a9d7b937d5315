"""A layer that is compressed again: verified before it is stored, or nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.blobs import inflate
from fixtures.layers import COMPRESSIONS, flipped, large, put, read, sample
from fixtures.stores import Fetch, Store, blobs, content, far, near, open_cache, refuses_writes, write_blob

from layercache.cache import Cache
from layercache.errors import BackendError, ConfigError, DigestMismatchError, LimitError, NotALayerError
from layercache.oci.digest import DiffID, Digest
from layercache.streams.compress import Compression
from layercache.streams.limits import Limits
from layercache_backends.memory import MemoryBackend, MemoryReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Reader

KINDS = ("zstd", "gzip")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_any_layer_gets_another_blob_of_the_same_tar(compression: str, kind: str) -> None:
    layer, tier = large(1, compression), near()
    with open_cache(tier) as cache:
        made = put(cache, layer.blob).compress(kind, level=1)
        assert inflate(read(made.compressed()), kind) == layer.tar
        assert (made.diff_id, made.uncompressed_size, made.computed) == (layer.diff_id, len(layer.tar), True)
        assert made.media_type.endswith(kind)
        assert made.size == len(content(tier)[f"blobs/sha256/{made.digest.hex}"])
        assert made.digest in cache.get(layer.diff_id).digests
        assert put(cache, layer.blob).compress(kind, level=1).digest == made.digest


def test_a_layer_that_nobody_has_inflated_is_fetched_and_compressed() -> None:
    layer, fetch = large(2), Fetch(large(2).blob)
    with open_cache(near(keep="compressed")) as cache:
        made = cache.layer(layer.digest, fetch=fetch).compress("zstd")
        assert made.diff_id == layer.diff_id
        assert fetch.asked == [layer.digest]


def test_a_false_diff_id_is_an_error_and_nothing_is_stored() -> None:
    layer, tier = sample(3), near()
    with open_cache(tier) as cache:
        lie = cache.layer(layer.digest, diff_id=DiffID.of(b"other"), fetch=Fetch(layer.blob))
        with pytest.raises(DigestMismatchError):
            lie.compress("zstd")
    assert blobs(tier) <= {layer.digest, layer.diff_id}


def test_what_was_written_is_inflated_and_compared_before_it_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Compression.run

    def wrong(self: Compression, tar: Reader, threads: int | None = None) -> Iterator[bytes]:
        tar.read()
        return right(self, MemoryReader(b""), threads)

    monkeypatch.setattr(Compression, "run", wrong)
    layer, tier = sample(4), near()
    with open_cache(tier) as cache:
        stored = put(cache, layer.blob)
        with pytest.raises(DigestMismatchError, match="inflates to"):
            stored.compress("zstd")
    assert blobs(tier) == {layer.digest, layer.diff_id}


def test_a_blob_that_readers_would_refuse_as_a_bomb_is_not_stored() -> None:
    layer, tier = large(5, "none"), near()
    with Cache([tier], limits=Limits(size=1000)) as cache:
        stored = put(cache, layer.blob)
        with pytest.raises(LimitError):
            stored.compress("zstd")
    assert blobs(tier) == {layer.digest}


def test_an_interrupt_leaves_nothing() -> None:
    layer, tier = large(6), near()

    def interrupt(_size: int) -> None:
        raise KeyboardInterrupt

    with open_cache(tier) as cache:
        stored = put(cache, layer.blob)
        with pytest.raises(KeyboardInterrupt):
            stored.compress("gzip", progress=interrupt)
        assert blobs(tier) == {layer.digest, layer.diff_id}
        assert stored.compress("gzip").diff_id == layer.diff_id


def test_progress_counts_the_bytes_of_the_tar() -> None:
    layer = large(7)
    with open_cache() as cache:
        seen: list[int] = []
        put(cache, layer.blob).compress("zstd", progress=seen.append)
        assert sum(seen) == len(layer.tar)


@pytest.mark.parametrize("everywhere", [True, False])
def test_it_is_stored_as_what_is_put_or_in_the_nearest_tier_alone(everywhere: bool) -> None:
    layer, nearest, second = sample(8), near(), far(keep="compressed")
    with open_cache(nearest, second) as cache:
        made = put(cache, layer.blob).compress("zstd", everywhere=everywhere)
        cache.flush()
    assert made.digest in blobs(nearest)
    assert (made.digest in blobs(second)) == everywhere


def test_a_tar_that_rotted_is_made_again_from_its_blob() -> None:
    layer, tier = large(9), near()
    with open_cache(tier) as cache:
        stored = put(cache, layer.blob)
        write_blob(tier, layer.diff_id, flipped(layer.tar))
        made = cache.get(stored.digest).compress("zstd")
        assert inflate(read(made.compressed()), "zstd") == layer.tar


def test_what_is_not_a_layer_is_refused() -> None:
    with open_cache() as cache, pytest.raises(NotALayerError):
        cache.layer(Digest.of(b"text"), fetch=Fetch(b"text")).compress("zstd")


@pytest.mark.parametrize(("kind", "level"), [("xz", None), ("zstd", 0), ("gzip", 10)])
def test_another_compression_is_refused(kind: str, level: int | None) -> None:
    with open_cache() as cache, pytest.raises(ValueError, match="expected"):
        put(cache, sample(1).blob).compress(kind, level=level)


def test_where_nothing_can_be_stored_it_is_an_error() -> None:
    layer = sample(10)
    with open_cache(near(keep="uncompressed")) as cache, pytest.raises(ConfigError):
        put(cache, layer.blob).compress("zstd")
    store = Store(MemoryBackend())
    with open_cache(far(store)) as cache:
        stored = put(cache, layer.blob)
        store.fails = refuses_writes
        with pytest.raises(BackendError):
            stored.compress("zstd")
