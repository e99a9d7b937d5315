"""A far tier is not asked for a small blob before it is sent, if its store creates only what is absent."""

from __future__ import annotations

import pytest
from fixtures.layers import put, read, sample
from fixtures.stores import Fetch, Store, content, far, near, open_cache, write_blob

from layercache.tiers import keys
from layercache.tiers.backend.blobs import SMALL
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

LAYER = sample(1)
BLOB, TAR = keys.blob(LAYER.digest), keys.blob(LAYER.diff_id)


class Creating(Store):
    """A store that creates objects only where there are none."""

    def __init__(self) -> None:
        self.memory = MemoryBackend()
        super().__init__(self.memory)

    def create_new(self, key: str, data: bytes) -> bool:
        self.check("create", key)
        created = self.memory.create_new(key, data)
        if created and key.startswith(keys.BLOBS):
            self.published.add(key)
        return created

    @property
    def of_blobs(self) -> list[tuple[str, str]]:
        """What was asked of blobs since the last call."""
        asked = [(action, key) for action, key in self.asked if key.startswith(keys.BLOBS)]
        self.asked.clear()
        return [each for each in asked if each[0] not in ("read", "write", "commit")]


def test_a_new_small_blob_is_one_request() -> None:
    store = Creating()
    with open_cache(near(), far(store)) as cache:
        put(cache, LAYER.blob)
        cache.flush()
        assert sorted(store.of_blobs) == sorted([("create", BLOB), ("create", TAR)])
    assert content(store)[BLOB] == LAYER.blob


def test_so_it_is_where_the_bucket_is_the_only_tier() -> None:
    store = Creating()
    with open_cache(far(store)) as cache:
        put(cache, LAYER.blob)
        assert sorted(store.of_blobs) == sorted([("create", BLOB), ("create", TAR)])


def test_a_big_blob_is_asked_for_before_it_is_sent() -> None:
    store, big = Creating(), sample(2, size=SMALL)
    with open_cache(near(), far(store, "compressed")) as cache:
        put(cache, big.blob)
        cache.flush()
    assert store.of_blobs == [("stat", keys.blob(big.digest)), ("create", keys.blob(big.digest))]


def test_a_small_blob_that_is_there_is_not_replaced() -> None:
    store = Creating()
    write_blob(store, LAYER.digest, LAYER.blob)
    before = store.memory.stat(BLOB)
    store.asked.clear()
    store.published.clear()
    with open_cache(near(), far(store, "compressed")) as cache:
        put(cache, LAYER.blob)
        cache.flush()
    assert store.of_blobs == [("create", BLOB), ("stat", BLOB)], "its size is looked at"
    assert store.memory.stat(BLOB) == before


@pytest.mark.parametrize("left", [b"", LAYER.blob[:-1], LAYER.blob + b"x"], ids=["empty", "short", "long"])
@pytest.mark.parametrize("nearest", [True, False])
def test_what_is_there_in_another_size_is_replaced(left: bytes, nearest: bool) -> None:
    store = Creating()
    write_blob(store, LAYER.digest, left)
    tiers = [far(store)] if nearest else [near(), far(store)]
    with open_cache(*tiers) as cache:
        put(cache, LAYER.blob)
        cache.flush()
    assert content(store)[BLOB] == LAYER.blob


@pytest.mark.parametrize("nearest", [True, False])
def test_what_was_found_wrong_is_replaced(nearest: bool) -> None:
    store, wrong = Creating(), bytes(len(LAYER.blob))
    write_blob(store, LAYER.digest, wrong)
    tiers = [far(store)] if nearest else [near(), far(store)]
    with open_cache(*tiers) as cache:
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        assert read(layer.compressed()) == LAYER.blob
        cache.flush()
    assert content(store)[BLOB] == LAYER.blob


def test_in_a_trusted_tier_what_is_there_is_hashed_as_before() -> None:
    store = Creating()
    write_blob(store, LAYER.digest, bytes(len(LAYER.blob)))
    with open_cache(near(), near(store)) as cache:
        put(cache, LAYER.blob)
        cache.flush()
    assert content(store)[BLOB] == LAYER.blob


def test_a_new_document_is_one_request() -> None:
    store, document = Creating(), b'{"schemaVersion": 2}'
    tier, name = far(store), sample(3).digest
    tier.blobs.put(name, document)
    assert store.of_blobs == [("create", keys.blob(name))]


def test_a_tier_with_limits_is_asked_first_as_room_is_made_for_what_is_missing() -> None:
    store = Creating()
    limited = BackendTier(store, Policy(keep="compressed", max_size=10_000, trusted=False))
    with open_cache(near(), limited) as cache:
        put(cache, LAYER.blob)
        cache.flush()
    assert store.of_blobs[0] == ("stat", BLOB)


def test_a_fill_of_what_is_there_is_one_request() -> None:
    store = Creating()
    with open_cache(far(store)) as cache:
        put(cache, LAYER.blob)
    store.asked.clear()
    with open_cache(far(store)) as cache:
        cache.layer(LAYER.digest, diff_id=LAYER.diff_id).fill("compressed")
    assert [action for action, _ in store.asked if action != "read"] == ["stat"]
