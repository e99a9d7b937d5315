"""Indexes go where their blobs go: to far tiers, into copies, out with the blob; and rot in them is found."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, flipped, put, sample
from fixtures.stores import Fetch, Store, content, far, near, open_cache, write, write_blob

import layercache
from layercache.copy import Copy, Selection
from layercache.files import tables
from layercache.files.tables import table_of
from layercache.tiers import keys
from layercache.upkeep import verify
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.cache import Cache
    from layercache.index.table import FileTable
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

LAYER = sample(1)
KEY = keys.derived(tables.KIND, LAYER.digest)


def table(cache: Cache, layer: Layer = LAYER, fetch: Fetch | None = None) -> FileTable:
    found = cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=fetch)
    return table_of(found._resolver, found._state)


def indexed(keep: Keep = "both") -> MemoryBackend:
    """A store with a layer and the table of its files."""
    backend = MemoryBackend()
    with open_cache(near(backend, keep=keep)) as cache:
        put(cache, LAYER.blob)
        table(cache)
    assert KEY in content(backend)
    return backend


def test_a_table_is_kept_near_and_sent_to_far_tiers_behind_its_blob_and_never_to_readonly_ones() -> None:
    here, there, readonly = MemoryBackend(), Store(MemoryBackend()), Store(MemoryBackend())
    tiers = near(here), far(there, "compressed"), far(readonly, "compressed", readonly=True)
    with open_cache(*tiers) as cache:
        put(cache, LAYER.blob)
        table(cache)
    assert content(here)[KEY] == content(there)[KEY]
    assert not readonly.did("create")
    published = there.did("commit")
    assert published.index(keys.blob(LAYER.digest)) < published.index(KEY)


def test_many_machines_that_make_the_same_table_write_it_once() -> None:
    there = Store(MemoryBackend())
    for _ in range(3):
        with open_cache(near(), far(there, "compressed")) as cache:
            put(cache, LAYER.blob)
            table(cache)
    assert there.did("commit").count(KEY) == 1


def test_a_table_of_a_trusted_far_tier_is_kept_near_so_it_is_asked_for_once() -> None:
    there = Store(indexed("compressed"))
    tiers = near(), near(there, "compressed")
    with open_cache(*tiers) as cache:
        assert list(table(cache)) == list(table(cache))
        assert there.did("open") == [KEY]
        assert not cache.counters.inflated


@pytest.mark.parametrize("keep", ["both", "compressed"])
def test_a_table_goes_with_its_blob(keep: Keep) -> None:
    tier = near(indexed(keep))
    tier.blobs.delete(LAYER.digest)
    assert KEY not in content(tier)


def test_a_copy_has_the_indexes_of_its_blobs_once() -> None:
    source, target = near(indexed()), far(Store(MemoryBackend()))
    assert Copy(source, target, Selection("compressed"), dry_run=True).run().indexes == 1
    assert content(target) == {}
    assert Copy(source, target, Selection("compressed")).run().indexes == 1
    assert content(target)[KEY] == content(source)[KEY]
    assert Copy(source, target, Selection("compressed")).run().indexes == 0


def test_what_an_untrusted_source_says_of_files_is_not_copied() -> None:
    target = near(Store(MemoryBackend()))
    report = Copy(far(indexed()), target, Selection("compressed")).run()
    assert (report.copied, report.indexes, KEY in content(target)) == (1, 0, False)


def test_an_index_that_has_rotted_is_not_copied_and_is_reported() -> None:
    source, target = near(indexed()), far(Store(MemoryBackend()))
    write(source, KEY, flipped(content(source)[KEY]))
    report = Copy(source, target, Selection("compressed")).run()
    assert (report.indexes, report.wrong, KEY in content(target)) == (0, 1, False)


def test_verify_finds_an_index_that_has_rotted_and_puts_it_aside() -> None:
    tier = near(indexed())
    assert not [each for each in verify(tier) if each.problem]
    write(tier, KEY, flipped(content(tier)[KEY]))
    assert [(each.kind, each.key, each.quarantined) for each in verify(tier) if each.problem] == [
        ("index", KEY, True)
    ]
    assert KEY not in content(tier)


def test_a_table_that_could_not_be_sent_is_sent_the_next_time() -> None:
    backend, there = indexed(), near(MemoryBackend())
    tiers: list[Tier] = [near(backend), far(Store(there.backend), "compressed")]
    write_blob(there, LAYER.digest, LAYER.blob)
    write(backend, keys.unsent(tiers[1].name, KEY), b"")
    with open_cache(*tiers) as cache:
        assert cache.uploads.resume() == 1
    assert content(there)[KEY] == content(backend)[KEY]
    assert keys.unsent(tiers[1].name, KEY) not in content(backend)


def test_another_layer_s_table_is_not_taken_whatever_name_it_has() -> None:
    """Its own bytes say which tar it is of."""
    tier, other = near(indexed()), sample(2)
    write(tier, keys.derived(tables.KIND, other.digest), content(tier)[KEY])
    with open_cache(tier) as cache:
        put(cache, other.blob)
        assert table(cache, other)[0].sha256 != table(cache)[0].sha256


CHILD = """
import sys
import layercache
with layercache.open(sys.argv[1]) as cache:
    print("begun", flush=True)
    layer = cache.get(sys.argv[2])
    print(len(list(layer.files())), cache.counters.inflated, flush=True)
"""


def test_processes_on_one_disk_wait_for_the_one_that_makes_a_table(tmp_path: Path) -> None:
    url = f"file://{tmp_path}?keep=compressed"
    with layercache.open(url) as cache:
        put(cache, LAYER.blob)
        found = cache.layer(LAYER.digest, diff_id=LAYER.diff_id)
        with found._resolver.derived.making(tables.KIND, LAYER.digest):
            command = [sys.executable, "-c", CHILD, url, LAYER.digest]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
            made = tables._made(found._resolver, found._state, None)
        assert child.communicate(timeout=60)[0].split() == [str(len(made)), "0"]


def test_a_far_tier_is_asked_once_for_a_table_that_it_does_not_have() -> None:
    there = Store(MemoryBackend())
    with open_cache(near(), near(there, "compressed", readonly=True)) as cache:
        put(cache, LAYER.blob)
        table(cache)
    assert there.did("open", below=keys.DERIVED) == [KEY]
