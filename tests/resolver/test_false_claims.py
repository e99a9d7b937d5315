"""A compressed blob found by a diff ID: nobody's word decides which one is given, only what was computed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.chunks import CHUNK
from fixtures.layers import again, compressed, flipped, large, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    assert_sound,
    blobs,
    evict,
    fact,
    far,
    near,
    open_cache,
    supplied,
    write_blob,
)

import layercache
from layercache import BackendError, DigestMismatchError, LayercacheError, NotFoundError
from layercache.errors import IntegrityError
from layercache.events import Event
from layercache.oci.digest import Digest
from layercache.resolver import claims
from layercache.streams.limits import Limits
from layercache.tiers import keys
from layercache.transfer import growing
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layercache.backend import Reader
    from layercache.cache import Cache
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

TRUE, EVIL = sample(1), sample(2)
BIG, BIG_EVIL = large(3), large(4)
NOT_A_LAYER = b"neither gzip, nor zstd, nor tar"


def plant(tier: Tier, blob: bytes, wanted: str, *, computed: bool = True) -> Digest:
    """A blob, and somebody's word that the tar of this name is inside it."""
    digest = Digest.of(blob)
    write_blob(tier, digest, blob)
    tier.facts.record(fact(digest, layercache.DiffID(wanted), len(blob), computed=computed))
    return digest


def lie(tier: Tier, *, computed: bool = True, big: bool = False) -> None:
    wanted, wrong = (BIG, BIG_EVIL) if big else (TRUE, EVIL)
    plant(tier, wrong.blob, wanted.diff_id, computed=computed)


class Inflations(list[Event]):
    """A watcher that keeps the beginnings of inflations, of which some end in an error."""

    def __call__(self, event: Event) -> None:
        if event.kind == "inflating":
            self.append(event)


def given(cache: Cache, name: str) -> tuple[bytes, LayercacheError | None]:
    """What a reader of the compressed form got, and how it ended."""
    got = b""
    try:
        with cache.get(name).compressed() as stream:
            while part := stream.read(1000):
                got += part
    except LayercacheError as error:
        return got, error
    return got, None


NEAREST: dict[str, Callable[[], list[Tier]]] = {
    "keeps both": lambda: [near()],
    "keeps blobs": lambda: [near(keep="compressed")],
    "keeps tars": lambda: [near(keep="uncompressed")],
    "read-only": lambda: [near(readonly=True)],
    "none": list,
}


@pytest.mark.parametrize("computed", [True, False], ids=["computed", "claimed"])
@pytest.mark.parametrize("nearest", NEAREST)
@pytest.mark.parametrize("verify_always", [False, True])
def test_a_blob_that_was_planted_under_a_diff_id_is_not_given(
    *, computed: bool, nearest: str, verify_always: bool
) -> None:
    poisoned = far()
    lie(poisoned, computed=computed)
    inflations = Inflations()
    with (
        open_cache(*NEAREST[nearest](), poisoned, verify_always=verify_always) as cache,
        cache.watch(inflations),
    ):
        got, error = given(cache, TRUE.diff_id)
        assert got == b""
        assert isinstance(error, DigestMismatchError)
        assert EVIL.diff_id in error.message
        with pytest.raises(NotFoundError):
            cache.get(TRUE.diff_id)
        assert len(inflations) == 1, "a lie costs one inflation"


@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_a_large_planted_blob_ends_in_an_error_before_its_last_bytes(keep: Keep) -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(keep=keep), poisoned) as cache:
        got, error = given(cache, BIG.diff_id)
        assert isinstance(error, DigestMismatchError)
        assert len(got) <= len(BIG_EVIL.blob) - CHUNK
        with pytest.raises(NotFoundError):
            cache.get(BIG.diff_id)
        assert_sound(cache.tiers[0])


def test_the_nearest_tiers_own_claim_is_only_what_an_image_said() -> None:
    with open_cache(near(), far()) as cache:
        lying = cache.layer(EVIL.digest, diff_id=TRUE.diff_id, fetch=Fetch(EVIL.blob))
        lying.fill("compressed")
        assert cache.get(TRUE.diff_id).digest == EVIL.digest, "it is found, as a claim"
        assert cache.get(TRUE.diff_id).path("compressed") is None
        assert given(cache, TRUE.diff_id)[0] == b""
        with pytest.raises(NotFoundError):
            cache.get(TRUE.diff_id)
        assert cache.get(EVIL.digest).diff_id == EVIL.diff_id, "what was found out is kept"


def test_who_asks_by_digest_gets_the_bytes_of_that_hash_whatever_is_said_of_their_inside() -> None:
    poisoned = far()
    lie(poisoned)
    with open_cache(near(), poisoned) as cache:
        assert read(cache.get(EVIL.digest).compressed()) == EVIL.blob
        assert read(cache.layer(EVIL.digest, diff_id=TRUE.diff_id).compressed()) == EVIL.blob
        assert cache.counters.inflated == 0


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("where", ["the same tier", "a farther tier"])
def test_the_next_claim_is_followed_in_the_same_call(
    form: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "HELD_BACK", 1 << 20)  # as it is: more than these tars have
    poisoned, sound = far(), far()
    lie(poisoned)
    plant(poisoned if where == "the same tier" else sound, TRUE.blob, TRUE.diff_id)
    with open_cache(near(), poisoned, sound) as cache:
        layer = cache.get(TRUE.diff_id)
        if form == "compressed":
            assert read(layer.compressed()) == TRUE.blob
        else:
            assert read(layer.uncompressed()) == TRUE.tar
        assert (layer.digest, layer.computed) == (TRUE.digest, True)
        assert cache.counters.inflated <= 2


def test_fill_follows_the_next_claim_however_big_the_layer_is() -> None:
    poisoned, sound = far(), far()
    lie(poisoned, big=True)
    plant(sound, BIG.blob, BIG.diff_id)
    with open_cache(near(), poisoned, sound) as cache:
        layer = cache.get(BIG.diff_id)
        layer.fill("compressed")
        assert layer.digest == BIG.digest
        assert {BIG.digest, BIG.diff_id} <= blobs(cache.tiers[0])


def test_a_refuted_claim_is_reported() -> None:
    poisoned = far()
    events: list[Event] = []
    lie(poisoned)
    plant(poisoned, again(TRUE, 1), TRUE.diff_id)
    with open_cache(near(), poisoned) as cache, cache.watch(events.append):
        assert read(cache.get(TRUE.diff_id).compressed()) in (TRUE.blob, again(TRUE, 1))
        failed = [event.note for event in events if event.kind == "failed"]
        begun = [event for event in events if event.kind == "inflating"]
        assert len(failed) == len(begun) - 1
        assert all(EVIL.diff_id in note for note in failed)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_an_honest_claim_is_confirmed_once_in_the_pass_that_brings_the_blob(*, keep: Keep, big: bool) -> None:
    layer = BIG if big else TRUE
    store = Store(MemoryBackend())
    shared = far(store)
    plant(shared, layer.blob, layer.diff_id)
    with open_cache(near(keep=keep), shared) as cache:
        for _ in range(3):
            assert read(cache.get(layer.diff_id).compressed()) == layer.blob
        assert cache.counters.inflated == 1
        assert cache.get(layer.diff_id).computed
        if keep == "both":
            assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar
            assert cache.counters.inflated == 1, "the tar that was made by the way is kept"
        if keep != "uncompressed":
            assert len(store.did("open", below=keys.blob(layer.digest))) == 1
        else:
            assert len(store.did("open", below=keys.blob(layer.digest))) == 3, "it is not kept here"


@pytest.mark.parametrize("near_store", ["memory", "disk"])
def test_a_claim_about_a_blob_at_hand_is_confirmed_where_it_is(near_store: str, tmp_path: Path) -> None:
    nearest = near(LocalBackend(str(tmp_path)) if near_store == "disk" else None)
    with open_cache(nearest) as cache:
        cache.layer(BIG.digest, diff_id=BIG.diff_id, fetch=Fetch(BIG.blob)).fill("compressed")
        layer = cache.get(BIG.diff_id)
        assert layer.path("compressed") is None
        layer.fill("compressed")
        assert layer.computed
        assert (layer.path("compressed") is not None) == (near_store == "disk")
        assert read(cache.get(BIG.diff_id).compressed()) == BIG.blob
        assert cache.counters.inflated == 1
        assert cache.counters.fetched == 1


def test_who_joins_by_a_claim_reads_no_bytes_that_the_first_reader_would_not_get() -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(), poisoned) as cache:
        first = cache.get(BIG.diff_id).compressed()
        assert first.read(10) == BIG_EVIL.blob[:10]
        got, error = given(cache, BIG.diff_id)
        assert isinstance(error, DigestMismatchError)
        assert len(got) <= len(BIG_EVIL.blob) - CHUNK
        with first, pytest.raises(DigestMismatchError):
            first.read()
        assert cache.counters.inflated <= 1
        assert supplied(cache, poisoned) == 1


def test_who_joins_a_blob_that_others_bring_by_its_digest_has_the_claim_confirmed_all_the_same() -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(), poisoned) as cache:
        by_digest = cache.layer(BIG_EVIL.digest).compressed()
        start = by_digest.read(10)
        got, error = given(cache, BIG.diff_id)
        assert isinstance(error, DigestMismatchError)
        assert len(got) <= len(BIG_EVIL.blob) - CHUNK
        assert start + read(by_digest) == BIG_EVIL.blob, "who asked by digest is not affected"
        assert supplied(cache, poisoned) == 1


def test_many_who_ask_by_an_honest_claim_share_one_fetch_and_one_inflation() -> None:
    shared = far(Store(MemoryBackend()))
    plant(shared, BIG.blob, BIG.diff_id)
    with open_cache(near(), shared) as cache:
        got: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: got.append(read(cache.get(BIG.diff_id).compressed())))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [BIG.blob] * 12
        assert (supplied(cache, shared), cache.counters.inflated) == (1, 1)


def test_a_reader_who_leaves_early_leaves_nothing_unconfirmed() -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(), poisoned) as cache:
        with cache.get(BIG.diff_id).compressed() as stream:
            stream.read(10)
        assert blobs(cache.tiers[0]) == set()
        assert isinstance(given(cache, BIG.diff_id)[1], DigestMismatchError)


PLANTED = {
    "no layer": NOT_A_LAYER,
    "a cut gzip": TRUE.blob[:-5],
    "garbage behind a gzip": TRUE.blob + b"garbage",
    "the right gzip with a wrong checksum": TRUE.blob[:-8] + bytes(8),
    "an empty blob": b"",
    "another plain tar": EVIL.tar,
    "a zstd of another tar": compressed(EVIL.tar, "zstd"),
    "a gzip in a gzip": compressed(TRUE.blob, "gzip"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_whatever_was_planted_the_right_blob_is_found_behind_it(planted: str) -> None:
    poisoned, sound = far(), far()
    digest = plant(poisoned, PLANTED[planted], TRUE.diff_id)
    plant(sound, TRUE.blob, TRUE.diff_id)
    with open_cache(near(), poisoned, sound) as cache:
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert digest not in cache.get(TRUE.diff_id).digests


@pytest.mark.parametrize("planted", PLANTED)
def test_whatever_was_planted_costs_one_try_where_nothing_else_is_there(planted: str) -> None:
    store = Store(MemoryBackend())
    poisoned = far(store, readonly=True)
    digest = plant(far(store.inner), PLANTED[planted], TRUE.diff_id)
    with open_cache(near(), poisoned) as cache:
        for _ in range(3):
            with pytest.raises(LayercacheError):
                read(cache.get(TRUE.diff_id).compressed())
        assert len(store.did("open", below=keys.blob(digest))) == 1


def test_a_bomb_under_a_claim_costs_one_try() -> None:
    bomb = compressed(bytes(1 << 20), "gzip")
    store = Store(MemoryBackend())
    digest = plant(far(store.inner), bomb, TRUE.diff_id)
    with layercache.Cache([near(), far(store)], limits=Limits(size=100_000)) as cache:
        for _ in range(3):
            with pytest.raises(LayercacheError):
                read(cache.get(TRUE.diff_id).compressed())
        assert len(store.did("open", below=keys.blob(digest))) == 1


def test_of_many_planted_claims_a_request_follows_a_few() -> None:
    store = Store(MemoryBackend())
    for seed in range(20):
        plant(far(store.inner), sample(100 + seed).blob, TRUE.diff_id)
    inflations = Inflations()
    with open_cache(near(), far(store)) as cache, cache.watch(inflations):
        with pytest.raises(DigestMismatchError):
            read(cache.get(TRUE.diff_id).compressed())
        assert len(inflations) == claims.CLAIMS_MAX
        for _ in range(20 // claims.CLAIMS_MAX):
            with pytest.raises(LayercacheError):
                read(cache.get(TRUE.diff_id).compressed())
        assert len(inflations) == 20
        opened = [key for key in store.did("open", below=keys.BLOBS) if key != keys.blob(TRUE.diff_id)]
        assert len(opened) == 20, "each lie costs once"


def test_a_blob_that_is_another_one_than_was_confirmed_is_not_given() -> None:
    """A blob at hand is opened twice, once to confirm the claim; in between the store may change it."""
    tier = far()
    plant(tier, TRUE.blob, TRUE.diff_id)
    opens: list[str] = []
    open_right = tier.blobs.open

    def opened(name: Hash, start: int = 0, end: int | None = None) -> Reader:
        opens.append(name)
        if len(opens) == 2:
            write_blob(tier, TRUE.digest, flipped(TRUE.blob, -1))
        return open_right(name, start, end)

    tier.blobs.open = opened  # type: ignore[method-assign]
    with open_cache(tier) as cache:
        got, error = given(cache, TRUE.diff_id)
    assert got == b""
    assert isinstance(error, DigestMismatchError)
    assert len(opens) == 2


def test_who_joins_a_tar_by_its_name_is_not_given_what_a_false_claim_calls_so() -> None:
    poisoned = far()
    plant(poisoned, EVIL.blob, TRUE.diff_id)
    with open_cache(near(), poisoned) as cache:
        stranger = cache.layer(EVIL.digest).uncompressed()
        joined = cache.layer(TRUE.digest, diff_id=TRUE.diff_id, fetch=Fetch(TRUE.blob)).uncompressed()
        assert read(joined) == TRUE.tar, "nor does it fail by a stranger's lie"
        assert read(stranger) == EVIL.tar
        assert_sound(cache.tiers[0])


def test_what_was_computed_here_goes_before_what_is_only_said() -> None:
    poisoned = far()
    lie(poisoned)
    write_blob(poisoned, TRUE.digest, TRUE.blob)
    with open_cache(near(), poisoned) as cache:
        cache.layer(TRUE.digest, fetch=Fetch(TRUE.blob)).fill("uncompressed")
        for name in (TRUE.digest, TRUE.diff_id):
            evict(cache.tiers[0], name)
        before = cache.counters.inflated
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert cache.counters.inflated == before


def test_a_claim_that_was_copied_into_the_nearest_tier_stays_a_claim() -> None:
    poisoned = far()
    lie(poisoned)
    with open_cache(near(), poisoned) as cache:
        cache.get(EVIL.digest).fill("compressed")  # its claim comes along
        assert all(not fact.computed for fact in cache.tiers[0].facts.scan())
        assert given(cache, TRUE.diff_id)[0] == b""
        assert {fact.diff_id for fact in cache.tiers[0].facts.scan()} == {EVIL.diff_id}


def test_a_trusted_tiers_fact_is_taken_at_its_word() -> None:
    """That is what trusting it means."""
    trusted = near()
    plant(trusted, TRUE.blob, TRUE.diff_id)
    with open_cache(near(), trusted) as cache:
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert cache.counters.inflated == 0


def test_a_store_that_breaks_while_a_claim_is_confirmed_refutes_nothing() -> None:
    broken = False
    store = Store(
        MemoryBackend(), fails=lambda action, key: broken and action == "read" and keys.BLOBS in key
    )
    plant(far(store.inner), BIG.blob, BIG.diff_id)
    with open_cache(near(), far(store)) as cache:
        broken = True
        with pytest.raises(BackendError):
            read(cache.get(BIG.diff_id).compressed())
        broken = False
    with open_cache(near(), far(store)) as cache:
        assert read(cache.get(BIG.diff_id).compressed()) == BIG.blob


def test_a_flipped_bit_in_a_far_blob_refutes_no_claim() -> None:
    rotten, sound = far(), far()
    plant(sound, TRUE.blob, TRUE.diff_id)
    plant(rotten, TRUE.blob, TRUE.diff_id)
    write_blob(rotten, TRUE.digest, TRUE.blob[:-20] + bytes(20))
    with open_cache(near(), rotten, sound) as cache:
        for _ in range(2):
            try:
                assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
            except IntegrityError:
                continue
            break
        else:
            pytest.fail("the sound blob was never found")


@pytest.mark.parametrize("trusted_order", ["the lie first", "the claim first"])
def test_a_planted_fact_does_not_hide_what_a_pull_has_claimed_in_the_same_tier(trusted_order: str) -> None:
    shared = far()
    plants = [(EVIL.blob, True), (TRUE.blob, False)]
    for blob, computed in plants if trusted_order == "the lie first" else reversed(plants):
        plant(shared, blob, TRUE.diff_id, computed=computed)
    with open_cache(near(), shared) as cache:
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("keep", ["both", "compressed"])
def test_what_a_stranger_says_of_a_digest_fails_nobody_who_asks_by_it(*, computed: bool, keep: Keep) -> None:
    poisoned = far()
    plant(poisoned, TRUE.blob, EVIL.diff_id, computed=computed)
    with open_cache(near(keep=keep), poisoned) as cache:
        for layer in (cache.get(TRUE.digest), cache.layer(TRUE.digest)):
            assert read(layer.uncompressed()) == TRUE.tar
            assert (layer.diff_id, layer.computed) == (TRUE.diff_id, True)
        with pytest.raises(LayercacheError):
            read(cache.get(EVIL.diff_id).uncompressed())


def test_who_reads_along_by_a_false_claim_is_not_given_what_a_reader_by_digest_is() -> None:
    poisoned = far()
    plant(poisoned, BIG.blob, BIG_EVIL.diff_id)
    with open_cache(near(), poisoned) as cache:
        by_digest = cache.get(BIG.digest).uncompressed()
        start = by_digest.read(10)
        with pytest.raises(DigestMismatchError):
            read(cache.get(BIG_EVIL.diff_id).uncompressed())
        assert start + read(by_digest) == BIG.tar
        assert BIG_EVIL.diff_id not in cache


def test_a_claim_gives_no_blob_for_a_name_that_a_claim_calls_both_digest_and_diff_id() -> None:
    """The plain tar has the name itself, somewhere farther; a claim leads to a nearer blob of another tar."""
    nearer, farther = far(), far()
    write_blob(farther, Digest(TRUE.diff_id), TRUE.tar)
    farther.facts.record(
        fact(Digest(TRUE.diff_id), layercache.DiffID(TRUE.diff_id), len(TRUE.tar), computed=False)
    )
    plant(nearer, EVIL.blob, TRUE.diff_id, computed=False)
    with open_cache(near(), nearer, farther) as cache:
        got, _ = given(cache, TRUE.diff_id)
        assert got != EVIL.blob
        assert read(cache.get(TRUE.diff_id).uncompressed()) == TRUE.tar
