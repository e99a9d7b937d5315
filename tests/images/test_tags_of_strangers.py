"""Tags in a tier that others can write to: taken where nothing better can be asked, and never silently."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from fixtures.dict_source import REFERENCE, DictSource, source_of
from fixtures.stores import Store, content, far, near, open_cache, write
from servers.images import make_image, sample_layers

import layercache
from layercache import BackendError, LayercacheError, NotFoundError, SourceError
from layercache.events import Event
from layercache.images.opening import Images
from layercache.images.tags import SKEW
from layercache.oci.descriptor import encode
from layercache.oci.digest import Digest
from layercache.oci.platforms import parse_platform
from layercache.oci.reference import Reference
from layercache.tiers import keys
from layercache.tiers.keys import image_key
from layercache.tiers.tag_origin import COPIED_FROM
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from servers.images import Image as Made

    from layercache.cache import Cache
    from layercache.images.image import Image
    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.tier import Tier

GOOD, EVIL = make_image(sample_layers(1)), make_image(sample_layers(2))
KEY = image_key(REFERENCE)
AMD64 = parse_platform("linux/amd64")
HOUR = 3600


@dataclass
class Down(DictSource):
    """A registry that does not answer."""

    error: LayercacheError = SourceError("the registry does not answer")  # noqa: RUF009  # never changed

    def root(self, *, new: bool = False) -> Descriptor:
        raise self.error


def keep(tier: Tier, made: Made, key: str = KEY, named: Descriptor | None = None) -> None:
    """The image and its name, as whoever can write to the tier puts them there."""
    for data in made.blobs.values():
        tier.blobs.put(Digest.of(data), data)
    for digest, (_, document) in made.documents.items():
        tier.blobs.put(digest, document)
    tier.images.tag(key, named or made.descriptor)


class Warnings(list[Event]):
    """A watcher that keeps what is reported of tags."""

    def __call__(self, event: Event) -> None:
        if event.kind == "unconfirmed":
            self.append(event)


def images(cache: Cache, *, tag_age: float = 0, strict: bool = False) -> Images:
    return Images(cache._asked, cache._resolver, cache._observers, tag_age=tag_age, strict=strict)


def online(cache: Cache, source: DictSource, *, tag_age: float = HOUR, strict: bool = False) -> Image:
    return images(cache, tag_age=tag_age, strict=strict).from_source(source, REFERENCE, AMD64)


def test_a_tag_of_an_untrusted_tier_is_not_fresh_and_the_registry_is_asked() -> None:
    poisoned, warnings = far(), Warnings()
    keep(poisoned, EVIL)
    with open_cache(near(), poisoned) as cache, cache.watch(warnings):
        assert online(cache, source_of(GOOD)).digest == GOOD.descriptor.digest
        assert cache.tiers[0].images.get(KEY).digest == GOOD.descriptor.digest
        assert warnings == []


def test_an_old_tag_of_the_nearest_tier_is_not_outdone_by_a_young_one_of_an_untrusted_tier() -> None:
    nearest, poisoned = near(), far()
    keep(nearest, GOOD)
    nearest.images.time = lambda key: time.time() - 2 * HOUR  # type: ignore[method-assign]
    keep(poisoned, EVIL)
    newer = make_image(sample_layers(3))
    with open_cache(nearest, poisoned) as cache:
        assert online(cache, source_of(newer)).digest == newer.descriptor.digest
        with pytest.raises(SourceError):
            online(cache, Down(EVIL.descriptor))


def test_a_young_tag_of_a_trusted_tier_needs_no_check_wherever_that_stands() -> None:
    poisoned, trusted = far(), near()
    keep(poisoned, EVIL)
    keep(trusted, GOOD)
    with open_cache(near(), poisoned, trusted) as cache:
        assert online(cache, Down(EVIL.descriptor)).digest == GOOD.descriptor.digest


@pytest.mark.parametrize("ahead", [10, 2 * HOUR])
def test_a_tag_of_the_future_is_young_only_within_what_clocks_may_differ(ahead: float) -> None:
    nearest = near()
    keep(nearest, GOOD)
    nearest.images.time = lambda key: time.time() + ahead  # type: ignore[method-assign]
    newer = source_of(make_image(sample_layers(3)))
    with open_cache(nearest) as cache:
        expected = GOOD.descriptor if ahead < SKEW else newer.top
        assert online(cache, newer).digest == expected.digest


def test_where_the_registry_fails_an_untrusted_young_tag_serves_and_is_reported() -> None:
    shared, warnings = far(), Warnings()
    keep(shared, GOOD)
    with open_cache(near(), shared) as cache, cache.watch(warnings):
        assert online(cache, Down(GOOD.descriptor)).digest == GOOD.descriptor.digest
        assert [(event.where, event.name) for event in warnings] == [(shared.name, GOOD.descriptor.digest)]
        assert str(REFERENCE) in warnings[0].note
        with pytest.raises(NotFoundError):
            cache.tiers[0].images.get(KEY)  # it has not become the nearest tier's own word
        with pytest.raises(SourceError):
            online(cache, Down(GOOD.descriptor), tag_age=0)
        with pytest.raises(SourceError):
            online(cache, Down(GOOD.descriptor), strict=True)
        with pytest.raises(NotFoundError):
            online(cache, Down(GOOD.descriptor, error=NotFoundError("no such tag")))


@pytest.mark.parametrize("all_platforms", [False, True])
def test_offline_an_untrusted_tag_serves_where_no_other_is_known_and_is_reported(
    *, all_platforms: bool
) -> None:
    shared, warnings = far(), Warnings()
    keep(shared, GOOD)
    with open_cache(near(), shared, offline=True) as cache, cache.watch(warnings):
        if all_platforms:
            (image,) = cache.platforms(str(REFERENCE))
        else:
            image = cache.image(str(REFERENCE), platform="linux/amd64")
        assert image.digest == GOOD.descriptor.digest
        assert [event.where for event in warnings] == [shared.name]
        assert not [key for key in content(cache.tiers[0]) if key.startswith(keys.IMAGES)]


@pytest.mark.parametrize("trusted_at", [0, 2])
def test_offline_a_trusted_tiers_tag_counts_most_wherever_that_stands(trusted_at: int) -> None:
    tiers, warnings = [far(), far()], Warnings()
    for tier in tiers:
        keep(tier, EVIL)
    trusted = near()
    keep(trusted, GOOD)
    tiers.insert(trusted_at, trusted)
    with open_cache(*tiers, offline=True) as cache, cache.watch(warnings):
        assert cache.image(str(REFERENCE), platform="linux/amd64").digest == GOOD.descriptor.digest
        assert warnings == []


def test_strict_an_untrusted_tag_is_an_error_that_names_the_tier() -> None:
    store = MemoryBackend()
    store.url = "memory://shared"
    shared = far(store)
    keep(shared, GOOD)
    cache = layercache.Cache([near(), shared], offline=True, strict=True)
    with cache, pytest.raises(NotFoundError, match="memory://shared says that it is") as caught:
        cache.image(str(REFERENCE))
    assert "digest" in caught.value.hint


def test_a_tier_that_is_trusted_is_taken_at_its_word() -> None:
    trusted, warnings = near(), Warnings()
    keep(trusted, GOOD)
    with open_cache(near(), trusted, offline=True) as cache, cache.watch(warnings):
        assert cache.image(str(REFERENCE), platform="linux/amd64").digest == GOOD.descriptor.digest
        assert warnings == []


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("who", ["nearest", "far"])
def test_a_reference_by_digest_is_the_image_of_that_hash_whatever_stands_under_it(
    who: str, *, offline: bool
) -> None:
    reference = Reference.parse(f"registry.example/team/app@{GOOD.descriptor.digest}")
    nearest, shared, warnings = near(), far(), Warnings()
    keep(nearest if who == "nearest" else shared, EVIL, image_key(reference))
    with open_cache(nearest, shared) as cache, cache.watch(warnings):
        if offline:
            with pytest.raises(NotFoundError):
                images(cache).from_source(None, reference, AMD64)
            keep(shared if who == "nearest" else nearest, GOOD, image_key(reference))
            found = images(cache).from_source(None, reference, AMD64)
        else:
            found = images(cache).from_source(source_of(GOOD), reference, AMD64)
        assert found.digest == GOOD.descriptor.digest
        assert warnings == [], "a digest needs nobody's word"


def test_what_a_copy_brought_from_a_stranger_is_neither_fresh_nor_our_word_until_it_was_pulled() -> None:
    nearest, warnings = near(), Warnings()
    descriptor = GOOD.descriptor
    keep(nearest, GOOD)
    marked = encode(descriptor).replace(b"{", b'{"annotations":{"%s":"s3://x"},' % COPIED_FROM.encode(), 1)
    write(nearest, KEY, marked)
    with open_cache(nearest) as cache, cache.watch(warnings):
        assert images(cache).from_source(None, REFERENCE, AMD64).digest == descriptor.digest
        assert [event.where for event in warnings] == ["s3://x"]
        with pytest.raises(NotFoundError):
            images(cache, strict=True).from_source(None, REFERENCE, AMD64)
        assert online(cache, source_of(EVIL)).digest == EVIL.descriptor.digest, "the registry was asked"
        assert online(cache, source_of(GOOD), tag_age=0).digest == descriptor.digest
        warnings.clear()
        assert images(cache).from_source(None, REFERENCE, AMD64).digest == descriptor.digest
        assert warnings == []


def test_export_reports_an_untrusted_tag_too_and_strict_refuses_it(tmp_path: object) -> None:
    shared, warnings = far(), Warnings()
    keep(shared, GOOD)
    with open_cache(near(), shared, offline=True) as cache, cache.watch(warnings):
        done = cache.export(str(REFERENCE), f"oci:{tmp_path}/out:1", platform="linux/amd64")
        assert done.digest == GOOD.descriptor.digest
        assert [event.where for event in warnings] == [shared.name]
    with (
        layercache.Cache([near(), shared], strict=True) as strict,
        pytest.raises(NotFoundError, match="no trusted cache has the image"),
    ):
        strict.export(str(REFERENCE), f"oci:{tmp_path}/other:1", platform="linux/amd64")


def test_a_trusted_tier_that_fails_leaves_its_word_to_others_and_that_is_reported() -> None:
    def fails(action: str, _key: str) -> bool:
        return action == "open"

    shared, warnings = far(), Warnings()
    keep(shared, GOOD)
    with open_cache(near(Store(MemoryBackend(), fails=fails)), shared, offline=True) as cache:
        with cache.watch(warnings):
            assert cache.image(str(REFERENCE), platform="linux/amd64").digest == GOOD.descriptor.digest
        assert [event.where for event in warnings] == [shared.name]
    with (
        open_cache(near(Store(MemoryBackend(), fails=fails)), far(), offline=True) as cache,
        pytest.raises(BackendError),
    ):
        cache.image(str(REFERENCE))
