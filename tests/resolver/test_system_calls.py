"""What a layer costs on a local disk, in calls of the operating system: small layers are bound by them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.layers import Layer, sample
from fixtures.system_calls import system_calls

import layercache

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.layer import Layer as CachedLayer

LAYERS = [sample(seed, size=50_000) for seed in range(3)]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[layercache.Cache]:
    """One that has fetched a layer, so that its folders are open and its modules imported."""
    with layercache.open(f"file://{tmp_path}/cache") as cache:
        asked_for(cache, LAYERS[0]).fill("both")
        yield cache


def asked_for(cache: layercache.Cache, layer: Layer) -> CachedLayer:
    def fetch(_: object) -> Any:
        import io

        return io.BytesIO(layer.blob)

    return cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=fetch)


def without_data(calls: Counter[str]) -> int:
    """How many there are without those that move bytes, which depend on the size of the pieces."""
    return sum(count for name, count in calls.items() if name not in ("read", "preadv", "write", "pwrite"))


@pytest.mark.parametrize("name", [LAYERS[0].digest, LAYERS[0].diff_id])
def test_a_look_up_reads_one_record_and_looks_for_one_blob(cache: layercache.Cache, name: str) -> None:
    wanted = {"open": 1, "fstat": 1, "read": 1, "close": 1, "stat": 1}
    assert system_calls(lambda: cache.get(name)) == wanted


def test_the_tar_that_was_found_is_opened_once(cache: layercache.Cache) -> None:
    layer = cache.get(LAYERS[0].diff_id)
    assert system_calls(lambda: layer.uncompressed().close()) == {"open": 1, "fstat": 1}


def test_a_new_layer_makes_two_blobs_and_two_records_and_removes_nothing(cache: layercache.Cache) -> None:
    calls = system_calls(lambda: asked_for(cache, LAYERS[1]).fill("both"))
    assert calls["link"] == 4
    assert not {"mkdir", "unlink", "rename", "replace", "rmdir"} & set(calls)
    assert calls["fcntl"] == 2, "the layer's lock, taken and released"
    assert "read" not in calls, "what the pass has stored is not looked at again"
    assert without_data(calls) <= 49


def test_a_new_blob_is_looked_for_twice_and_its_record_once(cache: layercache.Cache) -> None:
    layer = asked_for(cache, LAYERS[2])
    calls = system_calls(lambda: layer.fill("compressed"))
    found_missing = 3  # before its lock is taken, and under it; and the record, before the claim is written
    made = 3  # the blob and two records, without a name at first
    of_the_lock, of_the_synced_folder = 1, 1
    assert calls["open"] == found_missing + made + of_the_lock + of_the_synced_folder
    assert calls["link"] == made
    assert without_data(calls) <= 31


def test_both_forms_are_filled_again_where_room_was_made_for_the_tar(tmp_path: Path) -> None:
    blob, tar = len(LAYERS[0].blob), len(LAYERS[0].tar)
    with layercache.open(f"file://{tmp_path}/cache?max_size={max(blob, tar) + 1000}") as cache:
        asked_for(cache, LAYERS[0]).fill("both")
        assert cache.counters.stored == 3, "the blob, the tar in its place, and the blob once more"


def test_no_class_is_searched_for_a_protocols_attributes_while_a_layer_comes(cache: layercache.Cache) -> None:
    """isinstance() of a protocol that the object does not have costs as much as ten system calls."""
    searched = []

    def watch(frame: Any, event: str, _called: object) -> None:
        if event == "call" and frame.f_code.co_name == "_get_protocol_attrs":
            searched.append(frame.f_back.f_back.f_code.co_name)

    layer = asked_for(cache, LAYERS[1])
    sys.setprofile(watch)
    try:
        layer.fill("both")
    finally:
        sys.setprofile(None)
    assert searched == []
