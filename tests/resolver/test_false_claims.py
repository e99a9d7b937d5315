"""A compressed blob found by a diff ID: nobody's word decides which one is given, only what was computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.chunks import CHUNK
from fixtures.layers import again, flipped, read
from fixtures.stores import Fetch, assert_sound, blobs, fact, far, near, open_cache, write_blob
from resolver.planted import BIG, BIG_EVIL, EVIL, TRUE, Inflations, given, lie, plant

import layercache
from layercache import DigestMismatchError, LayercacheError, NotFoundError
from layercache.oci.digest import Digest
from layercache.transfer import growing

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.events import Event
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

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
