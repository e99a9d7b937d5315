"""A size that somebody states for a document: its hash decides, and nobody else's image suffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from fixtures.dict_source import REFERENCE, DictSource, entry, images, made_of, pulled, source_of
from fixtures.stores import content, evict, far, near, open_cache, write_blob
from servers.images import make_image, make_index, sample_layers

from layercache import DigestMismatchError, NotFoundError
from layercache.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from layercache.oci.digest import Digest
from layercache.streams.readers import StatedSizeError
from layercache.tiers import keys
from layercache.tiers.keys import image_key
from layercache.upkeep import verify

if TYPE_CHECKING:
    from layercache.events import Event

MADE = make_image(sample_layers(1))
KEY = image_key(REFERENCE)
FALSE = (0, 1, len(MADE.manifest) - 1, len(MADE.manifest) + 1, 1 << 40)


def lying_about_its_root(size: int) -> DictSource:
    source = source_of(MADE)
    source.top = msgspec.structs.replace(source.top, size=size)
    return source


@pytest.mark.parametrize("size", FALSE)
@pytest.mark.parametrize("cached", [False, True])
def test_a_size_that_head_states_is_a_hint_that_is_corrected_and_reported(size: int, cached: bool) -> None:
    with open_cache(near(), far()) as cache:
        if cached:
            pulled(cache, source_of(MADE))
        events: list[Event] = []
        with cache.watch(events.append):
            assert pulled(cache, lying_about_its_root(size)).digest == MADE.descriptor.digest
        assert [event.name for event in events if event.kind == "mislabelled"] == [MADE.descriptor.digest]
        assert not [event for event in events if event.kind == "failed"]
        assert cache.tiers[0].images.get(KEY).size == len(MADE.manifest), "what is kept is true"
        assert images(cache).from_source(None, REFERENCE).digest == MADE.descriptor.digest


@pytest.mark.parametrize("size", FALSE)
def test_a_tag_whose_size_rotted_serves_offline_and_is_replaced_by_the_next_pull(size: int) -> None:
    with open_cache() as cache:
        pulled(cache, source_of(MADE))
        cache.tiers[0].images.tag(KEY, msgspec.structs.replace(MADE.descriptor, size=size))
        before = content(cache.tiers[0])
        assert images(cache).from_source(None, REFERENCE).digest == MADE.descriptor.digest
        assert [each.digest for each in images(cache).all_from_source(None, REFERENCE)] == [
            MADE.descriptor.digest
        ]
        assert content(cache.tiers[0]) == before
        pulled(cache, source_of(MADE))
        assert cache.tiers[0].images.get(KEY).size == len(MADE.manifest)
        assert not [each for each in verify(cache.tiers[0]) if each.problem]  # type: ignore[arg-type]


def index_that_lies(by: int) -> DictSource:
    child = {
        **entry(MADE.manifest, OCI_MANIFEST),
        "platform": {"os": "linux", "architecture": "amd64"},
        "size": len(MADE.manifest) + by,
    }
    source = source_of(make_index([], extra=[child]))
    source.documents[MADE.descriptor.digest] = MADE.manifest
    source.blobs |= source_of(MADE).blobs
    return source


def manifest_that_lies(by: int) -> DictSource:
    config = {**entry(MADE.config, OCI_CONFIG), "size": len(MADE.config) + by}
    return made_of({"config": config, "layers": []}, MADE.config)


@pytest.mark.parametrize("lying", [index_that_lies, manifest_that_lies])
@pytest.mark.parametrize("by", [-1, 1, 100])
@pytest.mark.parametrize("tiers", ["near", "far", "read-only"])
def test_another_image_that_states_a_false_size_fails_and_takes_nothing_away(
    lying: type, by: int, tiers: str
) -> None:
    stores = {"near": [near()], "far": [near(), far()], "read-only": [near(readonly=True), far()]}[tiers]
    with open_cache(*stores) as cache:
        pulled(cache, source_of(MADE))
        if tiers == "far":
            evict(stores[0], MADE.descriptor.digest)
            evict(stores[0], Digest.of(MADE.config))
        before = [content(store) for store in stores]
        with pytest.raises(StatedSizeError, match="instead of"):
            pulled(cache, lying(by))
        for store, had in zip(stores, before, strict=True):
            assert had.items() <= content(store).items()
        assert cache.counters.failed == 0
        again = source_of(MADE)
        assert pulled(cache, again).digest == MADE.descriptor.digest
        assert again.asked == []
        assert images(cache).from_source(None, REFERENCE).digest == MADE.descriptor.digest


@pytest.mark.parametrize("data", [MADE.manifest[:-1], MADE.manifest + b" ", b"", MADE.manifest.swapcase()])
def test_a_document_of_another_hash_is_put_aside_and_comes_from_the_next_place_at_once(data: bytes) -> None:
    with open_cache(near(), far()) as cache:
        pulled(cache, source_of(MADE))
        write_blob(cache.tiers[0], MADE.descriptor.digest, data)
        assert images(cache).from_source(None, REFERENCE).digest == MADE.descriptor.digest, (
            "out of the far tier"
        )
        assert keys.blob(MADE.descriptor.digest) not in content(cache.tiers[0])
        assert pulled(cache, source_of(MADE)).digest == MADE.descriptor.digest
        evict(cache.tiers[1], MADE.descriptor.digest)
        with pytest.raises(NotFoundError):
            images(cache).from_source(None, REFERENCE)


def test_a_name_that_is_a_big_layers_is_refused_as_a_document_and_the_layer_stays() -> None:
    big = bytes(33 << 20)
    named = {**entry(b"", OCI_INDEX), "digest": Digest.of(big), "size": 7}
    source = source_of(
        make_index([], extra=[{**named, "platform": {"os": "linux", "architecture": "amd64"}}])
    )
    with open_cache() as cache:
        write_blob(cache.tiers[0], Digest.of(big), big)
        with pytest.raises(Exception, match="at most"):
            pulled(cache, source)
        assert keys.blob(Digest.of(big)) in content(cache.tiers[0])


def test_a_mirror_whose_document_is_right_is_not_blamed_for_a_false_size() -> None:
    from fixtures.dict_source import Blob

    class Mirrored(Blob):
        refuted = 0

        def refute(self, error: DigestMismatchError) -> bool:
            Mirrored.refuted += 1
            return Mirrored.refuted < 3

    source = manifest_that_lies(1)
    source.open_blob = lambda descriptor, start=0, end=None: Mirrored(MADE.config)  # type: ignore[method-assign]
    with open_cache() as cache:
        with pytest.raises(StatedSizeError):
            pulled(cache, source)
        assert Mirrored.refuted == 0
