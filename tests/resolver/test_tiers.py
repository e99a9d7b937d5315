"""Tiers: who is asked, who is filled, who is left alone, and what a failing one costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import large, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    assert_idle,
    assert_sound,
    blobs,
    content,
    fact,
    far,
    near,
    open_cache,
    refuses_writes,
    store_of,
    write_blob,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from layercache import BackendError, ConfigError, LayercacheError
from layercache.tiers import keys
from layercache.tiers.association import Association
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.events import Event
    from layercache.tiers.policy import Keep

LAYER = sample(1)
FACT = fact(
    LAYER.digest, LAYER.diff_id, len(LAYER.blob), tar_size=len(LAYER.tar), media_type=LAYER.media_type
)
FORMS = ("compressed", "uncompressed")


def test_put_and_fills_from_an_origin_reach_every_tier_that_can_be_written_to() -> None:
    for act in ("put", "fill"):
        tiers = [near(), far(keep="compressed"), far(keep="uncompressed"), far(keep="both")]
        with open_cache(*tiers) as cache:
            if act == "put":
                put(cache, LAYER.blob)
            else:
                cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).fill("both")
            both = {LAYER.digest, LAYER.diff_id}
            assert [blobs(tier) for tier in tiers] == [both, {LAYER.digest}, {LAYER.diff_id}, both]
            for tier in tiers:
                assert tier.facts.inflates_to(LAYER.digest), "a fact stands where its blob does"
                assert tier.facts.made_from(LAYER.diff_id)


@pytest.mark.parametrize("there", [0, 1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_a_hit_fills_what_is_nearer_and_writes_nothing_farther(there: int, form: str) -> None:
    stores = [Store(MemoryBackend(), url=f"store://{number}") for number in range(3)]
    write_blob(stores[there].inner, LAYER.digest, LAYER.blob)
    with open_cache(near(stores[0]), far(stores[1]), far(stores[2])) as cache:
        layer = cache.layer(LAYER.digest)
        read(layer.compressed() if form == "compressed" else layer.uncompressed())
        wanted = {LAYER.digest} if form == "compressed" else {LAYER.digest, LAYER.diff_id}
        assert blobs(stores[0].inner) == wanted
        for number, store in enumerate(stores[1:], 1):
            assert blobs(store.inner) == ({LAYER.digest} if number == there else set())
            assert not store.did("create", "delete"), store.asked


@pytest.mark.parametrize("form", FORMS)
def test_a_far_tier_streams_to_the_reader_while_the_nearest_is_filled(form: str) -> None:
    layer, store = large(1), Store(MemoryBackend())
    write_blob(store.inner, layer.digest, layer.blob)
    with open_cache(near(), far(store)) as cache:
        asked = cache.layer(layer.digest)
        stream = asked.compressed() if form == "compressed" else asked.uncompressed()
        with stream:
            start = stream.read(10)
            before = len(store.did("read"))
            assert start + stream.read() == (layer.blob if form == "compressed" else layer.tar)
            assert len(store.did("read")) > before, "the first bytes came before the last were read"
        assert layer.digest in blobs(cache.tiers[0])
        store.asked.clear()
        assert read(cache.get(layer.digest).compressed()) == layer.blob
        assert not store.did("open", "read", below=keys.BLOBS)


def test_a_tier_that_keeps_no_tars_is_not_asked_for_one_unless_the_role_of_its_name_is_unknown() -> None:
    store = Store(MemoryBackend())
    with open_cache(near(), far(store, "compressed")) as cache:
        put(cache, LAYER.blob)
        cache.flush()
        cache.delete(LAYER.diff_id)
        store.asked.clear()
        for layer in (cache.get(LAYER.diff_id), cache.layer(LAYER.digest, diff_id=LAYER.diff_id)):
            assert read(layer.uncompressed()) == LAYER.tar
            assert store.did("open", below=keys.BLOBS).count(keys.blob(LAYER.diff_id)) == 1


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("filled", [False, True])
def test_a_read_only_tier_is_never_written_to(which: int, filled: bool) -> None:
    stores = [Store(MemoryBackend(), url=f"store://{number}") for number in range(3)]
    stores[which].fails = refuses_writes
    tiers = [
        BackendTier(store, Policy("both", readonly=number == which, trusted=not number))
        for number, store in enumerate(stores)
    ]
    if filled:
        writable = open_cache(near(stores[which].inner))
        put(writable, LAYER.blob)
    before = content(stores[which].inner)
    with open_cache(*tiers) as cache:
        fetch = Fetch(LAYER.blob, sample(2).blob)
        put(cache, LAYER.blob)
        for layer in (LAYER, sample(2)):
            asked = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch)
            asked.fill("both")
            assert read(asked.compressed()) == layer.blob
            assert read(asked.uncompressed()) == layer.tar
        lying = cache.layer(sample(3).digest, diff_id=sample(4).diff_id, fetch=Fetch(sample(3).blob))
        with pytest.raises(LayercacheError):
            read(lying.uncompressed())
        cache.delete(LAYER.diff_id, all_tiers=True)
        assert not stores[which].did("create", "write", "commit", "delete")
        assert content(stores[which].inner) == before
        assert cache.counters.failed == 0


def test_a_cache_of_read_only_tiers_is_read_and_refuses_to_be_written() -> None:
    store = Store(MemoryBackend())
    put(open_cache(near(store.inner)), LAYER.blob)
    store.fails = refuses_writes
    with open_cache(near(store, readonly=True)) as cache:
        assert read(cache.get(LAYER.digest).uncompressed()) == LAYER.tar
        with pytest.raises(ConfigError):
            put(cache, LAYER.blob)
        with pytest.raises(ConfigError, match="read-only"):
            cache.delete(LAYER.digest)
        other = cache.layer(sample(2).digest, fetch=Fetch(sample(2).blob))
        assert read(other.uncompressed()) == sample(2).tar
        assert not store.did("create", "delete")


@pytest.mark.parametrize("action", ["create", "write", "commit"])
@pytest.mark.parametrize("form", FORMS)
def test_a_far_tier_that_cannot_be_written_to_does_not_fail_a_fill(action: str, form: str) -> None:
    broken = Store(MemoryBackend(), url="store://broken", fails=lambda did, key: did == action)
    tiers = [near(), far(broken), far()]
    events: list[Event] = []
    with open_cache(*tiers) as cache, cache.watch(events.append):
        layer = cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=Fetch(LAYER.blob))
        stream = layer.compressed() if form == "compressed" else layer.uncompressed()
        assert read(stream) == (LAYER.blob if form == "compressed" else LAYER.tar)
        cache.flush()
        sound = [tier for tier in tiers if tier.name != broken.url]
        assert all(LAYER.digest in blobs(tier) for tier in sound)
        assert not blobs(broken.inner)
        failed = [event for event in events if event.kind == "failed"]
        assert failed
        assert {event.where for event in failed} == {"store://broken"}
        assert all("on purpose" in event.note for event in failed)
        assert cache.counters.failed == len(failed)


@pytest.mark.parametrize("action", ["open", "stat"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_tier_that_could_not_be_asked_is_another_error_than_absence(action: str, remote: bool) -> None:
    broken = Store(MemoryBackend(), url="store://broken", fails=lambda did, key: did == action)
    tier = near(broken)
    tier.remote = remote
    with open_cache(tier) as cache:
        if not remote or action != "stat":  # a remote tier's blob is opened at once
            with pytest.raises(BackendError, match="store://broken"):
                cache.get(LAYER.digest)
        with pytest.raises(BackendError, match="store://broken"):
            assert LAYER.digest in cache


@pytest.mark.parametrize("action", ["write", "commit"])
@pytest.mark.parametrize("form", FORMS)
def test_a_nearest_tier_that_cannot_be_written_to_publishes_nothing(action: str, form: str) -> None:
    """The bytes were right, so whoever reads gets either all of them or an error that names the tier."""
    broken = Store(MemoryBackend(), url="store://broken", fails=lambda did, key: did == action)
    with open_cache(near(broken)) as cache:
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        try:
            got = read(layer.compressed() if form == "compressed" else layer.uncompressed())
            assert got == (LAYER.blob if form == "compressed" else LAYER.tar)
        except BackendError as error:
            assert "store://broken" in str(error)  # noqa: PT017  # either is right
        assert not content(broken.inner)
        assert_idle(cache)


# Combinations that nobody thought of


@dataclass(frozen=True)
class Place:
    """A tier, and what of the layer stands in it."""

    keep: Keep
    readonly: bool
    has: frozenset[str]
    knows: str

    def made(self, number: int) -> BackendTier:
        store = Store(MemoryBackend(), url=f"store://{number}")
        layer_forms = {"compressed": (LAYER.digest, LAYER.blob), "uncompressed": (LAYER.diff_id, LAYER.tar)}
        for form in self.has:
            write_blob(store.inner, *layer_forms[form])
        tier = BackendTier(store, Policy(self.keep, readonly=self.readonly, trusted=number == 0))
        if self.knows != "nothing":
            known = Association(
                FACT.digest, FACT.diff_id, FACT.size, FACT.media_type, FACT.uncompressed_size,
                self.knows == "computed",
            )  # fmt: skip
            BackendTier(store.inner, Policy()).facts.record(known)
        if self.readonly:
            store.fails = refuses_writes
        return tier


places = st.builds(
    Place,
    keep=st.sampled_from(["both", "compressed", "uncompressed"]),
    readonly=st.booleans(),
    has=st.frozensets(st.sampled_from(FORMS)),
    knows=st.sampled_from(["nothing", "claimed", "computed"]),
)


def allowed(place: Place) -> set[str]:
    """The forms that may be in a tier after a read."""
    if place.readonly:
        return set(place.has)
    return set(place.has) | ({"compressed", "uncompressed"} if place.keep == "both" else {place.keep})


@settings(
    max_examples=150,
    derandomize=True,
)
@given(
    layout=st.lists(places, min_size=1, max_size=3),
    forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=3),
    by=st.sampled_from(["digest", "diff ID"]),
    origin=st.booleans(),
    verify=st.booleans(),
)
def test_whatever_the_tiers_are_bytes_are_right_and_policies_are_kept(
    layout: list[Place], forms: list[str], by: str, origin: bool, verify: bool
) -> None:
    tiers = [place.made(number) for number, place in enumerate(layout)]
    fetch = Fetch(LAYER.blob)
    # A tar is not looked for where none is kept, though somebody may have put it there.
    there = {
        form for place in layout for form in place.has if form == "compressed" or place.keep != "compressed"
    }
    known = any(place.knows != "nothing" for place in layout)
    with open_cache(*tiers, verify_always=verify) as cache:
        for form in forms:
            find: Callable[[], object] = lambda: (  # noqa: E731
                cache.get(LAYER.diff_id)
                if by == "diff ID"
                else cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=fetch if origin else None)
            )
            try:
                layer = find()
                stream = layer.compressed() if form == "compressed" else layer.uncompressed()  # type: ignore[attr-defined]
                got = read(stream)
            except LayercacheError:
                if by == "digest":
                    assert not origin, "the origin has it"
                    assert not there & ({"compressed"} if form == "compressed" else set(FORMS))
                elif form == "compressed":
                    assert not known or "compressed" not in there
                else:
                    assert "uncompressed" not in there
                    assert not known or "compressed" not in there
                continue
            if by == "diff ID" and not known:
                assert got in (LAYER.blob, LAYER.tar)
            else:
                assert got == (LAYER.blob if form == "compressed" else LAYER.tar)
            there.add(form)
        for place, tier in zip(layout, tiers, strict=True):
            store = store_of(tier)
            assert_sound(store.inner)
            names = {"compressed": LAYER.digest, "uncompressed": LAYER.diff_id}
            assert blobs(store.inner) <= {names[form] for form in allowed(place)}
            if place.readonly:
                assert not store.did("create", "write", "commit", "delete")
        if by == "digest" and not origin:
            for number, tier in enumerate(tiers):
                farther = {form for place in layout[number:] for form in place.has}
                if not farther and number:
                    assert not blobs(tier), "a hit writes to no farther tier"
