"""Images after a copy: each is there with all that it needs, or is not named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.copied import GZIP, copy, empty, named
from fixtures.layers import put, read
from fixtures.stores import blobs, content, evict, fact, near, open_cache, write_blob
from servers.images import Image

from layercache.copy import Selection
from layercache.errors import NotFoundError
from layercache.oci.reference import Reference
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from servers.images import Sample

    from layercache.tiers.backend.tier import BackendTier


@pytest.fixture
def pulled(sample: Sample) -> BackendTier:
    """An image and an index of which both platforms were pulled, as a pull of the blobs leaves them."""
    tier = near(named("pulled"))
    for name, image in (("one", sample.image), ("two", sample.index)):
        documents = {digest: data for digest, (_, data) in image.documents.items()}
        for digest, data in {**image.blobs, **documents}.items():
            write_blob(tier, digest, data)
        tier.images.tag(tag(name), image.descriptor)
        for each in (image,) if isinstance(image, Image) else image.images:
            for layer in each.layers:
                tier.facts.record(fact(layer.digest, layer.diff_id, len(layer.blob), computed=False))
    return tier


def tag(name: str) -> str:
    return keys.image_tag("example.org", name, "latest")


ONE = Reference.parse("example.org/one:latest")


def test_images_are_there_offline_after_a_copy(pulled: BackendTier) -> None:
    target = empty()
    assert copy(pulled, target).images == 2
    assert content(target) == content(pulled)
    assert copy(pulled, target).images == 0


def test_an_image_brings_what_it_needs_and_nothing_else(pulled: BackendTier, sample: Sample) -> None:
    target = empty()
    report = copy(pulled, target, Selection(images=(ONE,)))
    needed = {sample.image.descriptor.digest, *sample.image.blobs}
    assert blobs(target) == needed
    assert (report.images, report.records, report.missing) == (1, 3, 0)
    with open_cache(target, offline=True) as cache:
        image = cache.image(str(ONE))
        assert [read(layer.compressed()) for layer in image.layers] == [
            layer.blob for layer in sample.image.layers
        ]


def test_what_an_image_needs_and_the_source_has_not_is_counted(pulled: BackendTier, sample: Sample) -> None:
    evict(pulled, sample.image.layers[0].digest)
    assert copy(pulled, empty(), Selection(images=(ONE,))).missing == 1


def test_an_image_that_is_not_there_is_told_before_anything_is_copied(pulled: BackendTier) -> None:
    target = empty()
    with pytest.raises(NotFoundError, match="three"):
        copy(pulled, target, Selection(images=(ONE, Reference.parse("example.org/three:1"))))
    assert content(target) == {}


def test_an_image_whose_manifest_is_wrong_is_not_named(pulled: BackendTier, sample: Sample) -> None:
    write_blob(pulled, sample.image.descriptor.digest, b"{}")
    target = empty()
    report = copy(pulled, target)
    assert report.wrong >= 1
    assert [key for key, _ in target.images.scan()] == [tag("two")]


def test_a_tag_that_the_target_learnt_later_stays(pulled: BackendTier, sample: Sample) -> None:
    target, key = empty(), tag("one")
    target.images.tag(key, sample.index.descriptor)
    copy(pulled, target)
    assert target.images.get(key).digest == sample.index.descriptor.digest
    pulled.images.tag(key, sample.image.descriptor)
    copy(pulled, target)
    assert target.images.get(key).digest == sample.image.descriptor.digest


def test_what_was_published_before_is_left_out_but_for_the_documents_of_newer_images(
    pulled: BackendTier, sample: Sample
) -> None:
    backend = pulled.backend
    assert isinstance(backend, MemoryBackend)
    for key, (data, _) in list(backend._objects.items()):
        backend._objects[key] = (data, 1000.0)
    key = tag("one")
    backend._objects[key] = (backend._objects[key][0], 3000.0)
    put(open_cache(pulled), GZIP.blob)
    target = empty()
    copy(pulled, target, Selection(since=2000.0))
    documents = {sample.image.descriptor.digest, sample.image.config_digest}
    assert blobs(target) == {GZIP.digest, GZIP.diff_id, *documents}
    assert [each for each, _ in target.images.scan()] == [key]
    assert {each.digest for each in target.facts.scan()} == {GZIP.digest}
