"""Uploads that were broken off: noted in the nearest tier, and sent by the next cache that is asked to."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import large, put
from fixtures.stores import Store, blobs, content, evict, far, near, open_cache, write, write_blob

from layercache.oci.descriptor import OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.resolver import resolver
from layercache.tiers import keys
from layercache.tiers.tag_origin import CHECKED, IMPORTED_FROM
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.backend import Backend

LAYER = large(7)


class Slow:
    """A bucket that takes nothing before the gate is opened, and a nearest tier that outlives its caches."""

    def __init__(self) -> None:
        self.near: Backend = MemoryBackend()
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.store = Store(MemoryBackend(), url="store://far", fails=self._wait)

    def _wait(self, action: str, _key: str) -> bool:
        if action == "write":
            self.begun.set()
            self.gate.wait(60)
        return False

    def unsent(self) -> set[str]:
        return {key for key in content(self.near) if key.startswith(keys.UNSENT)}

    def interrupt(self) -> None:
        """Put a layer, and close the cache while its upload is on its way."""
        cache = open_cache(near(self.near), far(self.store, "compressed"))
        put(cache, LAYER.blob)
        assert self.begun.wait(60)
        cache.close(flush=False)
        self.gate.set()
        cache.flush()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(resolver, "LAST_WORDS", 0.05)
    return Slow()


def test_what_is_on_its_way_is_counted(slow: Slow) -> None:
    with open_cache(near(slow.near), far(slow.store, "compressed")) as cache:
        assert cache.uploads.progress() == []
        put(cache, LAYER.blob)
        assert slow.begun.wait(60)
        (before,) = cache.uploads.progress()
        assert (before.where, before.sent, before.total) == ("store://far", 0, len(LAYER.blob))
        assert before.left == 2, "the blob and its association"
        slow.gate.set()
        cache.flush()
        (after,) = cache.uploads.progress()
        assert (after.sent, after.total, after.left) == (len(LAYER.blob), len(LAYER.blob), 0)


def test_what_is_there_already_is_not_counted_as_sent(slow: Slow) -> None:
    write_blob(slow.store.inner, LAYER.digest, LAYER.blob)
    slow.gate.set()
    with open_cache(near(slow.near), far(slow.store, "compressed")) as cache:
        put(cache, LAYER.blob)
        cache.flush()
        assert [(each.sent, each.total, each.left) for each in cache.uploads.progress()] == [(0, 0, 0)]


def test_what_a_failed_tier_did_not_take_is_not_counted_as_sent() -> None:
    store = Store(MemoryBackend(), url="store://far", fails=lambda action, _key: action == "write")
    with open_cache(near(), far(store, "compressed")) as cache:
        tier, uploads = cache._asked[1], cache._resolver.keeper.far
        work = partial(tier.blobs.put, LAYER.digest, b"bytes")
        uploads.soon(tier, keys.blob(LAYER.digest), work, LAYER.digest, size=5)
        cache.flush()
        assert [(each.sent, each.left) for each in cache.uploads.progress()] == [(0, 0)]


def test_an_upload_that_is_broken_off_publishes_nothing_and_is_sent_by_the_next(slow: Slow) -> None:
    slow.interrupt()
    assert blobs(slow.store.inner) == set()
    assert len(slow.unsent()) == 2
    with open_cache(near(slow.near), far(slow.store, "compressed")) as cache:
        assert cache.uploads.resume() == 2
    assert blobs(slow.store.inner) == {LAYER.digest}
    with open_cache(near(), far(slow.store.inner, "compressed")) as other:
        assert other.get(LAYER.diff_id).digest == LAYER.digest, "the association came too"
    assert slow.unsent() == set()


def test_a_cache_that_owes_nothing_asks_the_bucket_nothing(slow: Slow) -> None:
    nearest = Store(MemoryBackend())
    with open_cache(near(nearest), far(slow.store, "compressed")) as cache:
        assert cache.uploads.resume() == 0
    assert slow.store.asked == []
    assert [action for action, _ in nearest.asked] == ["scan"]


def test_a_note_about_a_blob_that_was_evicted_goes(slow: Slow) -> None:
    slow.interrupt()
    evict(slow.near, LAYER.digest)
    with open_cache(near(slow.near), far(slow.store, "compressed")) as cache:
        cache.uploads.resume()
    assert blobs(slow.store.inner) == set()
    assert slow.unsent() == set()


def test_a_note_publishes_no_wrong_bytes(slow: Slow) -> None:
    slow.interrupt()
    evict(slow.near, LAYER.digest)
    write_blob(slow.near, LAYER.digest, bytes(len(LAYER.blob)))
    with open_cache(near(slow.near), far(slow.store, "compressed")) as cache:
        cache.uploads.resume()
    assert blobs(slow.store.inner) == set()


def test_a_bucket_that_fails_again_keeps_its_notes(slow: Slow) -> None:
    slow.interrupt()
    slow.store.fails = lambda action, _key: action == "create"
    with open_cache(near(slow.near), far(slow.store, "compressed")) as cache:
        cache.uploads.resume()
    assert f"{keys.unsent('store://far', keys.blob(LAYER.digest))}" in slow.unsent()


def _resumed(slow: Slow, mine: Descriptor, theirs: Descriptor) -> Descriptor:
    """What a tag of the bucket names after a note about ours was resumed."""
    slow.gate.set()
    key, bucket, nearest = "images/registry.example/app/_tags/1", far(slow.store), near(slow.near)
    bucket.images.tag(key, theirs)
    nearest.images.tag(key, mine)
    write(slow.near, keys.unsent(bucket.name, key), b"")
    with open_cache(nearest, bucket) as cache:
        cache.uploads.resume()
    assert slow.unsent() == set()
    return bucket.images.get(key)


def _named(data: bytes, annotations: dict[str, str] | None = None) -> Descriptor:
    return Descriptor(
        media_type=OCI_MANIFEST, digest=Digest.of(data), size=len(data), annotations=annotations
    )


def test_an_imported_tag_that_is_sent_late_is_not_put_over_what_a_registry_said(slow: Slow) -> None:
    theirs = _named(b"of the registry")
    assert _resumed(slow, _named(b"of an archive", {IMPORTED_FROM: "oci"}), theirs) == theirs


def test_a_tag_that_is_sent_late_is_not_put_over_one_that_was_checked_later(slow: Slow) -> None:
    theirs = _named(b"new")
    assert _resumed(slow, _named(b"old", {CHECKED: "1000"}), theirs) == theirs


def test_a_tag_that_is_sent_late_states_when_it_was_checked(slow: Slow) -> None:
    mine = _named(b"mine", {CHECKED: "2000"})
    assert _resumed(slow, mine, _named(b"theirs", {CHECKED: "1000"})) == mine
    fresh = _resumed(slow, _named(b"fresh"), _named(b"theirs", {CHECKED: "1000"}))
    assert fresh.digest == Digest.of(b"fresh")
    assert abs(float((fresh.annotations or {})[CHECKED]) - time.time()) < 600
