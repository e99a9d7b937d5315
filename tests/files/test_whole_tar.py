"""A whole tar out of a tier that keeps none: inflated by several threads, in order, and verified."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

import pytest
from files.test_tar_reader import MIB, table
from fixtures.layers import Layer, compressed, flipped, make_layer, noise
from fixtures.stores import Fetch, Store, blobs, near, open_cache, write_blob

from layercache import LayercacheError
from layercache.files import seek_points, spans_ahead
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    import layercache
    from layercache.index.spans import SeekIndex, Span


@cache
def big(compression: str) -> Layer:
    """A layer of some five spans, in frames of 4 MiB if it is zstd."""
    tar = make_layer({f"data/{number}": noise(MIB, number) * 5 for number in range(4)}, "none").tar
    parts = [tar[at : at + 4 * MIB] for at in range(0, len(tar), 4 * MIB)]
    blob = b"".join(compressed(part, compression) for part in parts)
    return Layer(tar, blob, make_layer({}, compression).media_type)


def handle(cache: layercache.Cache, layer: Layer) -> layercache.Layer:
    return cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob))


def with_index(cache: layercache.Cache, layer: Layer) -> None:
    table(cache, layer, Fetch(layer.blob))
    state = handle(cache, layer)
    assert seek_points.get(state._resolver, state._state)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that have inflated a span ahead."""
    names: list[str] = []
    whole = spans_ahead._whole

    def noted(index: SeekIndex, span: Span, data: bytes) -> bytes:
        names.append(threading.current_thread().name)
        return whole(index, span, data)

    monkeypatch.setattr(spans_ahead, "_whole", noted)
    return names


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_tar_that_no_tier_keeps_is_inflated_by_other_threads_than_the_readers(
    tmp_path: Path, threads: list[str], compression: str
) -> None:
    layer = big(compression)
    with open_cache(near(LocalBackend(str(tmp_path)), keep="compressed")) as cache:
        with_index(cache, layer)
        with handle(cache, layer).uncompressed() as stream:
            assert stream.read() == layer.tar
        assert len(threads) >= 4
        assert all(name.startswith("layercache inflates") for name in threads)


def test_all_files_are_extracted_that_way(tmp_path: Path, threads: list[str]) -> None:
    layer = big("gzip")
    with open_cache(near(LocalBackend(str(tmp_path / "cache")), keep="compressed")) as cache:
        with_index(cache, layer)
        handle(cache, layer).extract(tmp_path / "out")
    assert [(tmp_path / f"out/data/{number}").read_bytes() for number in range(4)] == [
        noise(MIB, number) * 5 for number in range(4)
    ]
    assert len(threads) >= 4


def test_a_tar_that_a_tier_keeps_comes_out_of_an_ordinary_pass(tmp_path: Path, threads: list[str]) -> None:
    layer, backend = big("gzip"), LocalBackend(str(tmp_path))
    with open_cache(near(backend, keep="compressed")) as cache:
        with_index(cache, layer)
    tier = near(backend)
    with open_cache(tier) as cache, handle(cache, layer).uncompressed() as stream:
        assert stream.read() == layer.tar
    assert layer.diff_id in blobs(tier)
    assert not threads


def test_a_blob_that_has_rotted_gives_no_wrong_byte(tmp_path: Path) -> None:
    layer, backend = big("gzip"), LocalBackend(str(tmp_path))
    with open_cache(near(backend, keep="compressed")) as cache:
        with_index(cache, layer)
        write_blob(backend, layer.digest, flipped(layer.blob, len(layer.blob) // 2))
        read: list[bytes] = []
        with handle(cache, layer).uncompressed() as stream:
            pieces = iter(lambda: stream.read(MIB), b"")
            with pytest.raises(LayercacheError):
                read.extend(pieces)
        assert layer.tar.startswith(b"".join(read))


def test_a_rotten_blob_is_replaced_by_a_right_one_while_it_is_read(tmp_path: Path) -> None:
    layer, backend, other = big("gzip"), LocalBackend(str(tmp_path)), Store(MemoryBackend())
    write_blob(other, layer.digest, layer.blob)
    with open_cache(near(backend, keep="compressed"), near(other, keep="compressed")) as cache:
        with_index(cache, layer)
        write_blob(backend, layer.digest, flipped(layer.blob, len(layer.blob) // 2))
        with handle(cache, layer).uncompressed() as stream:
            assert stream.read() == layer.tar


def test_a_claim_is_judged_by_a_pass_and_not_by_an_index(tmp_path: Path, threads: list[str]) -> None:
    layer, other = big("gzip"), make_layer({"a": b"another"}, "gzip")
    with open_cache(near(LocalBackend(str(tmp_path)), keep="compressed")) as cache:
        with_index(cache, layer)
        claimed = cache.layer(layer.digest, diff_id=other.diff_id, size=len(layer.blob))
        with claimed.uncompressed() as stream:
            assert stream.read() == layer.tar
        with pytest.raises(LayercacheError):
            cache.get(other.diff_id).uncompressed().read()


def test_a_reader_that_leaves_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    layer = big("gzip")
    with open_cache(near(LocalBackend(str(tmp_path)), keep="compressed")) as cache:
        with_index(cache, layer)
        with handle(cache, layer).uncompressed() as stream:
            assert stream.read(10) == layer.tar[:10]
        for thread in threading.enumerate():
            if thread.name.startswith(("layercache inflates", "layercache reads ahead")):
                thread.join(5)
                assert not thread.is_alive()
