"""Parts of a layer's tar: where they come from, what travels for them, and that all of it was found right."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, compressed, flipped, make_layer, noise, sample
from fixtures.stores import Fetch, Store, blobs, content, far, near, open_cache, write, write_blob

import layercache
from layercache import LayercacheError
from layercache.files import seek_points, tables
from layercache.files.tables import table_of
from layercache.files.tar_reader import open_tar
from layercache.tiers import keys
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.backend import Reader
    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.index.table import FileTable

MIB = 1 << 20


class Counted(Store):
    """A store that counts the bytes of its blobs that were read, and the requests for them."""

    bytes = 0
    requests = 0

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        reader = super().open(key, start, end)
        if key.startswith(keys.BLOBS):
            self.bytes += reader.size or 0
            self.requests += 1
        return reader


@cache
def big(compression: str = "gzip") -> Layer:
    """A layer whose blob is worth an index: some 6 MB in two spans."""
    files = {f"data/{number}": noise(3 * MIB, number) for number in range(2)}
    files |= {"etc/os-release": b"ID=test\n", "zeros": bytes(4 * MIB)}
    if compression != "frames":
        return make_layer(files, compression)
    tar = make_layer(files, "none").tar
    frames = [tar[at : at + MIB] for at in range(0, len(tar), MIB)]
    return Layer(
        tar, b"".join(compressed(frame, "zstd") for frame in frames), make_layer({}, "zstd").media_type
    )


def part(cache: Cache, layer: Layer, start: int, end: int | None) -> bytes:
    handle = cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob))
    with open_tar(handle._resolver, handle._state, start, end) as reader:
        return reader.read()


def table(cache: Cache, layer: Layer, fetch: Fetch | None = None) -> FileTable:
    handle = cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=fetch)
    return table_of(handle._resolver, handle._state)


def with_index(backend: LocalBackend | MemoryBackend | Store, path: Path, layer: Layer) -> None:
    """Put a layer with its table and its seek index into a store, as another machine would."""
    with open_cache(near(LocalBackend(str(path)), keep="compressed")) as other:
        table(other, layer, Fetch(layer.blob))
    for key, data in content(LocalBackend(str(path))).items():
        write(backend, key, data)


PARTS = [(0, 1), (512, 700), (3 * MIB - 5, 3 * MIB + 5), (MIB, 6 * MIB), (0, None), (99, None), (7, 7)]
PARTS += [(10**9, None), (9 * MIB, 10**9)]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "frames", "none"])
def test_a_part_is_that_of_the_tar_and_the_tar_is_not_kept_where_only_blobs_are(
    tmp_path: Path, compression: str
) -> None:
    layer, tier = big(compression), near(LocalBackend(str(tmp_path)), keep="compressed")
    with open_cache(tier) as cache:
        found = table(cache, layer, Fetch(layer.blob))
        assert [entry.path for entry in found if entry.size == 8] == ["etc/os-release"]
        for start, end in PARTS:
            assert part(cache, layer, start, end) == layer.tar[start:end]
    assert blobs(tier) == {layer.digest}


def test_a_far_blob_is_read_by_spans_and_the_next_part_takes_one_request(
    tmp_path: Path,
) -> None:
    layer, store = big(), Counted(MemoryBackend())
    with_index(store, tmp_path, layer)
    with open_cache(near(), near(store, keep="compressed")) as cache:
        (entry,) = (each for each in table(cache, layer) if each.path == "etc/os-release")
        store.bytes = store.requests = 0
        assert part(cache, layer, entry.offset, entry.offset + 8) == b"ID=test\n"
        assert (store.requests, store.bytes < len(layer.blob) // 2) == (1, True)
        store.asked.clear()
        assert part(cache, layer, entry.offset, entry.offset + 8) == b"ID=test\n"
        assert [key for action, key in store.asked if action != "read"] == [keys.blob(layer.digest)]


def test_an_index_that_others_can_write_is_not_even_read(tmp_path: Path) -> None:
    layer, store = big(), Counted(MemoryBackend())
    with_index(store, tmp_path, layer)
    with open_cache(near(), far(store, readonly=True)) as cache:
        assert [entry.path for entry in table(cache, layer)][-1] == "zeros"
        assert part(cache, layer, 10, 5000) == layer.tar[10:5000]
    assert not store.did("open", below=keys.DERIVED)


def test_a_span_that_is_wrong_is_read_elsewhere_and_is_never_given(tmp_path: Path) -> None:
    layer, good, bad = big(), Counted(MemoryBackend()), Counted(MemoryBackend())
    with_index(good, tmp_path, layer)
    write_blob(bad, layer.digest, flipped(layer.blob, 2 * MIB))
    with open_cache(near(), far(bad), near(good)) as cache:
        assert part(cache, layer, 2 * MIB, 2 * MIB + 10) == layer.tar[2 * MIB : 2 * MIB + 10]
        assert bad.requests == good.requests == 1
        assert part(cache, layer, 0, None) == layer.tar
        assert bad.requests == 1


def test_where_all_places_are_wrong_there_is_an_error_and_no_byte(tmp_path: Path) -> None:
    layer, store = big(), Counted(MemoryBackend())
    with_index(store, tmp_path, layer)
    write_blob(store, layer.digest, flipped(layer.blob, 5 * MIB))
    with open_cache(near(), near(store)) as cache, pytest.raises(LayercacheError):
        part(cache, layer, 5 * MIB, 5 * MIB + 10)


@pytest.mark.parametrize("at", [5, 40, 100, -5])
def test_an_index_that_has_rotted_is_made_anew(tmp_path: Path, at: int) -> None:
    layer = big()
    backend = LocalBackend(str(tmp_path / "near"))
    with_index(backend, tmp_path / "other", layer)
    kinds = {kind: keys.derived(kind, layer.digest) for kind in (seek_points.KIND, tables.KIND)}
    before = content(backend)
    for key in kinds.values():
        write(backend, key, flipped(before[key], at))
    with open_cache(near(backend, keep="compressed")) as cache:
        assert part(cache, layer, 10, 5000) == layer.tar[10:5000]
        assert list(table(cache, layer))[-1].path == "zeros"
        assert cache.counters.failed
    assert content(backend)[kinds[tables.KIND]] == before[kinds[tables.KIND]]


def test_many_askers_make_an_index_once(tmp_path: Path) -> None:
    layer, fetch = big(), Fetch(big().blob)
    with open_cache(near(LocalBackend(str(tmp_path)), keep="compressed")) as cache:
        found: list[FileTable] = []
        threads = [
            threading.Thread(target=lambda: found.append(table(cache, layer, fetch))) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.counters.inflated == 1
    assert {len(each) for each in found} == {4}
    assert len(fetch.asked) == 1


def test_a_tier_that_is_indexed_has_indexes_after_a_pull_and_no_tar(tmp_path: Path) -> None:
    layers, url = [big(), sample(1), sample(2, "zstd")], f"file://{tmp_path}?keep=indexed"
    with layercache.open(url) as cache:
        for layer in layers:
            cache.layer(layer.digest, fetch=Fetch(layer.blob)).fill("compressed")
    there = set(content(LocalBackend(str(tmp_path))))
    wanted = {keys.derived(tables.KIND, layer.digest) for layer in layers}
    wanted |= {keys.derived(seek_points.KIND, layers[0].digest), *(keys.blob(each.digest) for each in layers)}
    assert {key for key in there if key.startswith((keys.BLOBS, keys.DERIVED))} == wanted
    with layercache.open(url) as cache:
        for layer in layers:
            assert part(cache, layer, 600, None) == layer.tar[600:]
            assert cache.get(layer.diff_id).uncompressed().read() == layer.tar


def test_a_pull_makes_no_index_that_nobody_asked_for(tmp_path: Path) -> None:
    with layercache.open(f"file://{tmp_path}") as cache:
        cache.layer(big().digest, fetch=Fetch(big().blob)).fill()
    assert not [key for key in content(LocalBackend(str(tmp_path))) if key.startswith(keys.DERIVED)]


def test_without_rapidgzip_gzip_layers_are_read_as_a_whole_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layercache.index.gzip_points.is_available", lambda: False)
    events: list[Event] = []
    with (
        open_cache(near(LocalBackend(str(tmp_path)), keep="compressed")) as cache,
        cache.watch(events.append),
    ):
        assert len(table(cache, big(), Fetch(big().blob))) == 4
        for _ in range(2):
            assert part(cache, big(), 5, 2000) == big().tar[5:2000]
    (hint,) = [event.note for event in events if event.kind == "unindexed"]
    assert "oci-layercache[files]" in hint
