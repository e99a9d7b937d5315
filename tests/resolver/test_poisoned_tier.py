"""A far tier that anybody can write to: it can cost time, and never makes a reader read wrong bytes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import compressed, flipped, large, read, sample
from fixtures.stores import Fetch, assert_sound, fact, far, near, open_cache, write, write_blob, write_record

from layercache import DigestMismatchError, LayercacheError, NotFoundError
from layercache.oci.descriptor import OCI_CONFIG, OCI_LAYER_ZSTD
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys
from layercache.tiers.record import Record
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layercache.cache import Cache
    from layercache.tiers.tier import Tier

TRUE, OTHER, BIG = sample(1), sample(2), large(3)


def wrong_blob(data: bytes) -> Callable[[Tier], None]:
    return lambda tier: write_blob(tier, TRUE.digest, data)


def wrong_tar(data: bytes) -> Callable[[Tier], None]:
    return lambda tier: write_blob(tier, TRUE.diff_id, data)


def says(
    digest: Digest, diff_id: DiffID, size: int = len(TRUE.blob), *, claims: bool = False, **more: object
) -> Callable[[Tier], None]:
    def poison(tier: Tier) -> None:
        tier.facts.record(fact(digest, diff_id, size, computed=not claims, **more))  # type: ignore[arg-type]

    return poison


POISONS: dict[str, tuple[Callable[[Tier], None], ...]] = {
    "an empty blob": (wrong_blob(b""),),
    "a cut blob": (wrong_blob(TRUE.blob[:-1]),),
    "a blob that is too long": (wrong_blob(TRUE.blob + b"\0"),),
    "a flipped bit": (wrong_blob(flipped(TRUE.blob)),),
    "another layer's blob": (wrong_blob(OTHER.blob),),
    "another layer's tar as blob": (wrong_blob(OTHER.tar),),
    "a large plain tar as blob": (wrong_blob(BIG.tar),),
    "a large other blob": (wrong_blob(BIG.blob),),
    "the tar's own bytes as blob": (wrong_blob(TRUE.tar),),
    "another gzip of the same tar as blob": (wrong_blob(compressed(TRUE.tar, "zstd")),),
    "text as blob": (wrong_blob(b"hello"),),
    "an empty tar": (wrong_tar(b""),),
    "a cut tar": (wrong_tar(TRUE.tar[:-512]),),
    "another tar": (wrong_tar(OTHER.tar),),
    "a large other tar": (wrong_tar(BIG.tar),),
    "a false fact": (says(TRUE.digest, OTHER.diff_id),),
    "a false fact, and that tar": (
        says(TRUE.digest, OTHER.diff_id),
        lambda tier: write_blob(tier, OTHER.diff_id, OTHER.tar),
    ),
    "a false claim, and that tar": (
        says(TRUE.digest, OTHER.diff_id, claims=True),
        lambda tier: write_blob(tier, OTHER.diff_id, OTHER.tar),
    ),
    "a false fact to a large tar": (
        says(TRUE.digest, BIG.diff_id),
        lambda tier: write_blob(tier, BIG.diff_id, BIG.tar),
    ),
    "a false way to the diff ID": (
        says(OTHER.digest, TRUE.diff_id, len(OTHER.blob)),
        lambda tier: write_blob(tier, OTHER.digest, OTHER.blob),
    ),
    "a false way to the diff ID, large": (
        says(BIG.digest, TRUE.diff_id, len(BIG.blob)),
        lambda tier: write_blob(tier, BIG.digest, BIG.blob),
    ),
    "many false ways to the diff ID": (
        *(says(Digest.of(bytes([number])), TRUE.diff_id, 1) for number in range(20)),
    ),
    "the diff ID as a digest of another tar": (
        says(Digest(TRUE.diff_id), OTHER.diff_id, len(TRUE.tar)),
        lambda tier: write_blob(tier, OTHER.diff_id, OTHER.tar),
    ),
    "the digest as its own diff ID": (says(TRUE.digest, DiffID(TRUE.digest)),),
    "the digest as a diff ID": (
        says(OTHER.digest, DiffID(TRUE.digest), len(OTHER.blob)),
        lambda tier: write_blob(tier, OTHER.digest, OTHER.blob),
    ),
    "a loop of names": (
        says(TRUE.digest, DiffID(OTHER.digest)),
        says(OTHER.digest, DiffID(TRUE.digest)),
    ),
    "a wrong size": (says(TRUE.digest, TRUE.diff_id, 7),),
    "a size of nothing": (says(TRUE.digest, TRUE.diff_id, 0),),
    "a negative size": (says(TRUE.digest, TRUE.diff_id, -1),),
    "a huge size": (says(TRUE.digest, TRUE.diff_id, 1 << 62),),
    "a wrong size of the tar": (says(TRUE.digest, TRUE.diff_id, tar_size=7),),
    "a media type that is none of a layer": (says(TRUE.digest, TRUE.diff_id, media_type=OCI_CONFIG),),
    "a wrong compression": (says(TRUE.digest, TRUE.diff_id, media_type=OCI_LAYER_ZSTD),),
    "numbers that Python refuses": (
        lambda tier: write(
            tier,
            keys.record(TRUE.digest),
            Record(TRUE.digest, (fact(TRUE.digest, TRUE.diff_id, 1, tar_size=1),))
            .encode()
            .replace(b'"1"', b'"%s"' % (b"9" * 5000)),
        ),
    ),
    "another layer's fact under the key": (
        lambda tier: write_record(tier, TRUE.digest, fact(OTHER.digest, OTHER.diff_id, 1)),
    ),
    "a fact under a diff ID's key that is not its own": (
        lambda tier: write_record(tier, TRUE.diff_id, fact(OTHER.digest, OTHER.diff_id, 1)),
    ),
    "another name's record under the key": (
        lambda tier: write(
            tier,
            keys.record(TRUE.diff_id),
            Record(Hash(OTHER.diff_id), (fact(OTHER.digest, OTHER.diff_id, 1),)).encode(),
        ),
    ),
    "a record in a broken key": (
        lambda tier: write(tier, f"{keys.RECORDS}md5/abc", Record(TRUE.digest).encode()),
    ),
    "the true pair, refuted": (
        lambda tier: tier.facts.refute(fact(TRUE.digest, TRUE.diff_id, 1)),
    ),
    "a megabyte of brackets for a fact": (
        lambda tier: write(tier, keys.record(TRUE.digest), b"[" * (1 << 20)),
    ),
}  # fmt: skip


AS_A_DIFF_ID = (TRUE.digest, "the digest as a diff ID")
"""A name of unknown role whose bytes we do not have gets a false role: its blob may be given as a tar."""


def ask(cache: Cache, name: str, form: str, fetch: Fetch | None) -> bytes:
    layer = cache.layer(TRUE.digest, diff_id=TRUE.diff_id, fetch=fetch) if fetch else cache.get(name)
    return read(layer.compressed() if form == "compressed" else layer.uncompressed())


def right(name: str, form: str, poison: str) -> set[bytes]:
    """What may be read: the layer's own bytes, and by a diff ID the tar too, which is a blob as well."""
    if form == "uncompressed":
        return {TRUE.blob, TRUE.tar} if (name, poison) == AS_A_DIFF_ID else {TRUE.tar}
    return {TRUE.blob, TRUE.tar} if name == TRUE.diff_id else {TRUE.blob}


TRIES = 4
"""By then each wrong entry has been met and is known."""


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("name", [TRUE.digest, TRUE.diff_id], ids=["digest", "diff ID"])
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_a_poisoned_tier_before_a_sound_one_costs_time_alone(poison: str, name: str, form: str) -> None:
    poisoned, sound = far(), far()
    for act in POISONS[poison]:
        act(poisoned)
    write_blob(sound, TRUE.digest, TRUE.blob)
    sound.facts.record(fact(TRUE.digest, TRUE.diff_id, len(TRUE.blob), media_type=TRUE.media_type))
    with open_cache(near(), poisoned, sound) as cache:
        got = None
        for _ in range(TRIES):
            try:
                got = ask(cache, name, form, None)
            except LayercacheError:
                continue
            assert got in right(name, form, poison)
            break
        assert_sound(cache.tiers[0])
        assert got is not None, "the right way was never found"
        if form == "uncompressed":
            assert read(cache.get(TRUE.digest).uncompressed()) == TRUE.tar
            assert read(cache.get(TRUE.diff_id).uncompressed()) == TRUE.tar
            assert cache.get(TRUE.digest).diff_id == TRUE.diff_id


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize(
    ("nearest", "readonly"),
    [("both", False), ("compressed", True), ("uncompressed", False), ("readonly", True)],
)
def test_a_poisoned_tier_before_the_origin_costs_time_alone(
    poison: str, form: str, readonly: bool, nearest: str
) -> None:
    poisoned = far()
    for act in POISONS[poison]:
        act(poisoned)
    tier = near(readonly=True) if nearest == "readonly" else near(keep=nearest)  # type: ignore[arg-type]
    with open_cache(tier, far(poisoned.backend, readonly=readonly)) as cache:
        got = None
        for _ in range(TRIES):
            try:
                got = ask(cache, TRUE.digest, form, Fetch(TRUE.blob))
            except LayercacheError:
                continue
            assert got == (TRUE.blob if form == "compressed" else TRUE.tar)
            break
        assert_sound(cache.tiers[0])
        assert got is not None, "the right way was never found"


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_tier_takes_nothing_away_that_the_nearest_one_has(poison: str) -> None:
    poisoned, nearest = far(), near()
    for act in POISONS[poison]:
        act(poisoned)
    write_blob(nearest, TRUE.digest, TRUE.blob)  # its fact was lost, as small objects may be in a power cut
    with open_cache(nearest, poisoned) as cache:
        for form in ("compressed", "uncompressed"):
            for _ in range(TRIES):
                try:
                    assert ask(cache, TRUE.digest, form, None) == (
                        TRUE.blob if form == "compressed" else TRUE.tar
                    )
                except LayercacheError:
                    continue
                break
            else:
                pytest.fail(f"the {form} form was never found")
        assert_sound(nearest)


@pytest.mark.parametrize("pair", list(itertools.combinations(sorted(POISONS), 2))[::11])
def test_two_poisons_are_no_better_than_one(pair: tuple[str, str]) -> None:
    poisoned = far()
    for act in (act for name in pair for act in POISONS[name]):
        act(poisoned)
    with open_cache(near(), poisoned) as cache:
        for _ in range(2 * TRIES):
            try:
                got = ask(cache, TRUE.diff_id, "uncompressed", Fetch(TRUE.blob))
            except LayercacheError:
                continue
            assert got == TRUE.tar
            break
        else:
            pytest.fail("the right way was never found")
        assert_sound(cache.tiers[0])


@pytest.mark.parametrize("poison", POISONS)
def test_with_nothing_right_anywhere_there_is_an_error_and_never_a_wrong_byte(poison: str) -> None:
    poisoned = far()
    for act in POISONS[poison]:
        act(poisoned)
    with open_cache(near(), poisoned) as cache:
        for name in (TRUE.digest, TRUE.diff_id):
            for _ in range(TRIES):
                with pytest.raises(LayercacheError):
                    ask(cache, name, "uncompressed", None)
        with pytest.raises(LayercacheError):
            ask(cache, TRUE.digest, "compressed", None)
        assert_sound(cache.tiers[0])


def test_folders_where_blobs_should_be_are_absent(tmp_path: Path) -> None:
    for name in (TRUE.digest, TRUE.diff_id):
        (tmp_path / "blobs" / name.algorithm / name.hex / "inside").mkdir(parents=True)
    (tmp_path / keys.record(TRUE.digest)).mkdir(parents=True)
    with open_cache(near(), far(LocalBackend(str(tmp_path)))) as cache:
        assert TRUE.digest not in cache
        fetch = Fetch(TRUE.blob)
        assert ask(cache, TRUE.digest, "compressed", fetch) == TRUE.blob
        assert ask(cache, TRUE.digest, "uncompressed", fetch) == TRUE.tar


def test_a_large_wrong_blob_ends_in_an_error_before_its_last_bytes() -> None:
    poisoned = far()
    write_blob(poisoned, BIG.digest, flipped(BIG.blob))
    with open_cache(near(), poisoned) as cache:
        stream = cache.layer(BIG.digest).compressed()
        seen = 0
        with stream, pytest.raises(DigestMismatchError):  # noqa: PT012  # where it raises is what is tested
            while part := stream.read(1000):
                seen += len(part)
        assert seen < len(BIG.blob)
        with pytest.raises(NotFoundError):
            cache.layer(BIG.digest).compressed()
        assert_sound(cache.tiers[0])


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_large_plain_tar_under_a_digest_teaches_no_false_fact(compression: str) -> None:
    """A plain tar needs no inflating, but its hash has to be seen before its name is believed."""
    layer, poisoned = large(5, compression), far()
    write_blob(poisoned, layer.digest, BIG.tar)
    with open_cache(near(), poisoned) as cache:
        with pytest.raises(LayercacheError):
            read(cache.layer(layer.digest).uncompressed())
        assert cache.layer(layer.digest).names.diff_id is None
        asked = cache.layer(layer.digest, fetch=Fetch(layer.blob))
        assert read(asked.uncompressed()) == layer.tar
        assert cache.get(layer.digest).diff_id == layer.diff_id


def test_joining_a_layer_that_is_on_its_way_under_a_false_diff_id_gives_no_wrong_tar() -> None:
    poisoned = far()
    poisoned.facts.record(fact(BIG.digest, OTHER.diff_id, len(BIG.blob)))
    write_blob(poisoned, BIG.digest, BIG.blob)
    with open_cache(near(), poisoned) as cache:
        lied_to = cache.get(OTHER.diff_id)
        first = cache.layer(BIG.digest, diff_id=BIG.diff_id).uncompressed()
        start = first.read(10)
        with pytest.raises(DigestMismatchError):
            read(lied_to.uncompressed())
        assert start + read(first) == BIG.tar
        assert OTHER.diff_id not in cache


def test_a_false_fact_to_a_tar_that_is_on_its_way_gives_no_wrong_tar() -> None:
    poisoned = far()
    poisoned.facts.record(fact(TRUE.digest, BIG.diff_id, len(TRUE.blob)))
    write_blob(poisoned, TRUE.digest, TRUE.blob)
    with open_cache(near(), poisoned) as cache:
        other = cache.layer(BIG.digest, diff_id=BIG.diff_id, fetch=Fetch(BIG.blob)).uncompressed()
        start = other.read(10)
        assert read(cache.get(TRUE.digest).uncompressed()) == TRUE.tar
        assert start + read(other) == BIG.tar
        assert read(cache.get(TRUE.digest).uncompressed()) == TRUE.tar
