"""What a far tier has of an image comes nearer: its documents, its layers, and its name where that counts."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from fixtures.dict_source import REFERENCE, DictSource, images, source_of
from fixtures.layers import flipped, read
from fixtures.stores import Store, assert_sound, content, evict, far, near, open_cache, write_blob
from servers.images import make_image, make_index, sample_layers
from servers.programs import skopeo_copy

import layercache
from layercache import NotFoundError
from layercache.images.opening import Images
from layercache.oci.digest import Digest
from layercache.oci.platforms import parse_platform
from layercache.oci.reference import Reference
from layercache.tiers import keys
from layercache.tiers.tag_origin import CHECKED, marked
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry

    from layercache.cache import Cache
    from layercache.images.image import Image
    from layercache.tiers.tier import Tier

MADE = make_image(sample_layers(1))
INDEX = make_index([MADE, make_image(sample_layers(2), "linux/arm64")])
AMD64 = parse_platform("linux/amd64")
KEY = keys.image_key(REFERENCE)
DOCUMENTS = {MADE.descriptor.digest, Digest.of(MADE.config)}
HOUR = 3600


def pulled(cache: Cache, source: DictSource | None = None, *, tag_age: float = 0) -> Image:
    """The image, from the source or else offline, with all its layers in the cache."""
    opened = Images(cache._asked, cache._resolver, cache._observers, tag_age=tag_age)
    image = (
        opened.from_source(source, REFERENCE, AMD64) if source else opened.from_source(None, REFERENCE, AMD64)
    )
    for layer in image.layers:
        layer.fill("compressed")
    return image


def filled(tier: Tier, made: DictSource | None = None) -> Tier:
    """The tier as another machine's pull has left it."""
    with open_cache(near(MemoryBackend()), tier) as cache:
        pulled(cache, made or source_of(MADE))
        cache.flush()
    return tier


@pytest.mark.parametrize("offline", [False, True])
def test_what_was_pulled_through_a_far_tier_is_there_without_it(*, offline: bool) -> None:
    shared, nearest = filled(near(Store(MemoryBackend()))), near()
    source = source_of(MADE)
    with open_cache(nearest, shared) as cache:
        pulled(cache, None if offline else source)
    assert source.asked == [], "the far tier has it all"
    with open_cache(nearest, offline=True) as cache:
        image = pulled(cache)
        assert [read(layer.uncompressed()) for layer in image.layers] == [each.tar for each in MADE.layers]
    assert_sound(nearest)


def test_every_nearer_tier_that_can_be_written_to_gets_the_documents() -> None:
    shared, readonly, tiers = filled(far()), near(readonly=True), [near(), far(Store(MemoryBackend()))]
    with open_cache(tiers[0], readonly, tiers[1], shared) as cache:
        pulled(cache, source_of(MADE))
    for tier in tiers:
        assert all(tier.blobs.has(name) for name in DOCUMENTS)
    assert content(readonly) == {}


@pytest.mark.parametrize("lost", sorted(DOCUMENTS))
@pytest.mark.parametrize("from_source", [False, True])
def test_a_near_tier_that_lost_a_document_has_it_after_the_next_pull(
    lost: Digest, *, from_source: bool
) -> None:
    nearest, shared = near(), filled(far())
    with open_cache(nearest, shared) as cache:
        pulled(cache, source_of(MADE))
    evict(nearest, lost)
    if from_source:
        evict(shared, lost)
    with open_cache(nearest, shared) as cache:
        pulled(cache, source_of(MADE))
    assert nearest.blobs.has(lost)


def test_a_pull_of_what_is_near_asks_a_far_tier_nothing_more_than_before() -> None:
    store = Store(MemoryBackend())
    nearest, shared = near(), filled(far(store))
    for _ in range(2):
        with open_cache(nearest, shared) as cache:
            store.asked.clear()
            pulled(cache, source_of(MADE))
    assert store.asked == []


def test_a_pull_through_a_far_tier_reads_each_document_once_and_writes_none_there() -> None:
    store = Store(MemoryBackend())
    shared = filled(far(store))
    store.asked.clear()
    with open_cache(near(), shared) as cache:
        pulled(cache, source_of(MADE))
    for name in DOCUMENTS:
        assert store.did("open", below=keys.blob(name)) == [keys.blob(name)]
        assert store.did("create", "stat", below=keys.blob(name)) == []


@pytest.mark.parametrize("lie", sorted(DOCUMENTS))
def test_a_far_tier_that_lies_about_a_document_gives_none_to_nearer_ones(lie: Digest) -> None:
    liar, honest = far(), filled(far())
    right = source_of(MADE)
    write_blob(liar, lie, flipped(content(honest)[keys.blob(lie)], at=3))
    nearest = near()
    with open_cache(nearest, liar, honest) as cache:
        assert pulled(cache, right).digest == MADE.descriptor.digest
    assert_sound(nearest)
    assert nearest.blobs.has(lie)


@pytest.mark.parametrize("lost", sorted(DOCUMENTS))
def test_a_damaged_document_of_the_nearest_tier_is_replaced_by_a_far_tiers(lost: Digest) -> None:
    nearest, shared = near(), filled(far())
    with open_cache(nearest, shared) as cache:
        pulled(cache, source_of(MADE))
        evict(nearest, lost)
        write_blob(nearest, lost, flipped(content(shared)[keys.blob(lost)], at=3))
        pulled(cache, source_of(MADE))
    assert content(nearest)[keys.blob(lost)] == content(shared)[keys.blob(lost)]


def test_only_what_was_asked_for_of_an_index_comes_nearer() -> None:
    shared, nearest = far(), near()
    with open_cache(near(), shared) as cache:
        for image in images(cache).all_from_source(source_of(INDEX), REFERENCE):
            for layer in image.layers:
                layer.fill("compressed")
        cache.flush()
    with open_cache(nearest, shared) as cache:
        pulled(cache, source_of(INDEX))
    there = {name for key in content(nearest) if (name := keys.blob_name(key))}
    assert there == {INDEX.descriptor.digest, *DOCUMENTS, *(layer.digest for layer in MADE.layers)}


# Names


def test_a_reference_by_digest_comes_nearer_whoever_has_it() -> None:
    by_digest = Reference("registry.example", "team/app", digest=MADE.descriptor.digest)
    key, shared, nearest = keys.image_key(by_digest), filled(far()), near()
    shared.images.tag(key, MADE.descriptor)
    with open_cache(nearest, shared, offline=True) as cache:
        images(cache)  # the cache is open, and nothing was written
        opened = Images(cache._asked, cache._resolver, cache._observers)
        opened.from_source(None, by_digest, AMD64)
    assert nearest.images.get(key).digest == MADE.descriptor.digest


def test_a_tag_of_an_untrusted_tier_does_not_come_nearer() -> None:
    shared, nearest = filled(far()), near()
    with open_cache(nearest, shared, offline=True) as cache:
        pulled(cache)
    assert list(nearest.images.scan()) == []


def test_a_tag_of_a_trusted_tier_comes_nearer_and_is_no_younger_there() -> None:
    shared, nearest = filled(near()), near()
    checked = time.time() - 0.9 * HOUR
    shared.images.time = lambda key: checked  # type: ignore[method-assign]
    newer = make_image(sample_layers(3))
    with open_cache(nearest, shared) as cache:
        assert pulled(cache, source_of(newer), tag_age=HOUR).digest == MADE.descriptor.digest
    assert (nearest.images.get(KEY).annotations or {})[CHECKED] == f"{checked:.0f}"
    with open_cache(nearest) as cache:
        assert pulled(cache, source_of(newer), tag_age=HOUR).digest == MADE.descriptor.digest
        assert pulled(cache, source_of(newer), tag_age=HOUR / 2).digest == newer.descriptor.digest
    assert nearest.images.get(KEY).annotations is None, "the registry was asked now"


@pytest.mark.parametrize("lie", ["", "nan", "-inf", "1e400", "-1"])
def test_an_absurd_time_of_a_check_makes_no_tag_young(lie: str) -> None:
    nearest, newer = near(), make_image(sample_layers(3))
    filled(nearest)
    nearest.images.tag(KEY, marked(MADE.descriptor, CHECKED, lie))
    with open_cache(nearest) as cache:
        found = pulled(cache, source_of(newer), tag_age=HOUR).digest
    assert found == newer.descriptor.digest


# Lookup by digest


def test_what_was_pulled_by_tag_is_found_by_its_digest_offline_and_without_its_registry() -> None:
    with open_cache(near(), offline=True) as cache:
        pulled(cache, source_of(MADE))
        by_digest = f"{REFERENCE.name}@{MADE.descriptor.digest}"
        assert cache.image(by_digest, platform="linux/amd64").digest == MADE.descriptor.digest
        assert cache.manifest(by_digest)[1] == MADE.manifest
        tagged = f"{REFERENCE}@{MADE.descriptor.digest}"
        assert cache.image(tagged, platform="linux/amd64").digest == MADE.descriptor.digest


@pytest.mark.parametrize("what", ["nothing", "a layer", "a config"])
def test_a_digest_of_something_else_is_no_image(what: str) -> None:
    digest = {
        "nothing": Digest.of(b""),
        "a layer": MADE.layers[0].digest,
        "a config": Digest.of(MADE.config),
    }[what]
    with open_cache(near(), offline=True) as cache:
        pulled(cache, source_of(MADE))
        with pytest.raises(layercache.LayercacheError):
            cache.image(f"{REFERENCE.name}@{digest}")


def test_a_digest_costs_a_far_tier_one_question_only_if_no_tier_knows_the_reference() -> None:
    store = Store(MemoryBackend())
    by_digest = Reference("registry.example", "team/app", digest=MADE.descriptor.digest)
    with open_cache(near(), far(store)) as cache:
        opened = Images(cache._asked, cache._resolver, cache._observers)
        opened.from_source(source_of(MADE), by_digest, AMD64)
        cache.flush()
        store.asked.clear()
        opened.from_source(source_of(MADE), by_digest, AMD64)
        assert store.asked == []


# By the program


@pytest.fixture(params=["folder", "bucket", "registry"])
def shared(
    request: pytest.FixtureRequest, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of a far tier."""
    if request.param == "folder":
        return f"file://{tmp_path}/far"
    if request.param == "registry":
        return f"oci://{registry.host}/team/cache"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    bucket = request.getfixturevalue("seaweedfs_bucket_name")
    endpoint = request.getfixturevalue("seaweedfs_endpoint")
    return f"s3://{bucket}/{uuid.uuid4().hex}?endpoint_url={endpoint}"


def test_without_the_far_tier_the_program_lists_pulls_and_exports_what_was_pulled_through_it(
    shared: str, registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    Caller(f"file://{tmp_path}/first")("--cache", shared, "pull", name)
    near_url = f"file://{tmp_path}/near"
    Caller(near_url)("--cache", shared, "pull", name)
    alone = Caller(near_url)
    (row,) = [json.loads(line) for line in alone("images", "--json").stdout.splitlines()]
    layers = sum(len(layer.blob) for layer in sample.image.layers)
    assert (row["name"], row["platforms"]) == (name, ["linux/amd64"])
    assert row["size"] == layers + len(sample.image.config) + len(sample.image.manifest)
    alone("--offline", "pull", name)
    alone("export", name, f"oci:{tmp_path}/out:it")
    by_digest = f"{registry.host}/team/app@{sample.image.descriptor.digest}"
    assert alone("export", by_digest, f"oci:{tmp_path}/other:it").stdout.strip() in by_digest
    skopeo_copy(f"oci:{tmp_path}/near:{name}", f"oci:{tmp_path}/copied:it")


def test_a_missing_image_names_the_tiers_that_were_asked() -> None:
    with open_cache(near(), far(), offline=True) as cache, pytest.raises(NotFoundError) as caught:
        cache.image(f"{REFERENCE.name}@{MADE.descriptor.digest}")
    assert len(caught.value.looked_in) == 2
