"""Indexes as they come: sparse, without platforms, nested, with blobs of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.dict_source import REFERENCE, DictSource, entry, images, pulled, source_of
from fixtures.layers import flipped, read, sample
from fixtures.stores import near, open_cache
from servers.images import make_image, make_index, sample_layers

from layercache import DigestMismatchError, NotFoundError, SourceError
from layercache.oci.descriptor import OCI_INDEX, OCI_LAYER_GZIP, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.offers import LOOKED_INTO
from layercache.upkeep import verify

if TYPE_CHECKING:
    from servers.images import Image

    from layercache.errors import LayercacheError

ARCHITECTURES = ("amd64", "arm64", "s390x")
MADE = [make_image(sample_layers(seed), f"linux/{name}") for seed, name in enumerate(ARCHITECTURES)]


def index_source(entries: list[dict[str, Any]], *made: Image) -> DictSource:
    """A source whose root is an index of these entries, and that has these images."""
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    root = Descriptor(media_type=OCI_INDEX, digest=Digest.of(data), size=len(data))
    source = DictSource(root, {root.digest: data})
    for image in made:
        source.documents |= {str(digest): found for digest, (_, found) in image.documents.items()}
        source.blobs |= {str(digest): blob for digest, blob in image.blobs.items()}
    return source


def bare(image: Image, **fields: Any) -> dict[str, Any]:
    return entry(image.manifest, image.media_type) | fields


@pytest.mark.parametrize("there", [[0], [1, 2], [2]])
def test_of_a_sparse_index_all_gives_what_is_there_and_reports_each_that_is_not(there: list[int]) -> None:
    source = source_of(make_index(MADE))
    for number, image in enumerate(MADE):
        if number not in there:
            del source.documents[image.descriptor.digest]
    missing: list[LayercacheError] = []
    with open_cache() as cache:
        found = images(cache).all_from_source(source, REFERENCE, missing.append)
        assert [image.digest for image in found] == [MADE[number].descriptor.digest for number in there]
        lacking = [image.descriptor.digest for number, image in enumerate(MADE) if number not in there]
        assert [each for each, error in zip(lacking, missing, strict=True) if each not in error.message] == []
        assert {type(error) for error in missing} == {NotFoundError}
        with pytest.raises(NotFoundError):
            images(cache).all_from_source(source, REFERENCE)
        offline = images(cache).all_from_source(None, REFERENCE)
        assert [image.digest for image in offline] == [image.digest for image in found]


def test_an_index_of_which_nothing_is_there_is_an_error_and_leaves_no_tag() -> None:
    source = source_of(make_index(MADE))
    source.documents = {source.top.digest: source.documents[source.top.digest]}
    missing: list[LayercacheError] = []
    with open_cache() as cache:
        with pytest.raises(NotFoundError):
            images(cache).all_from_source(source, REFERENCE, missing.append)
        assert missing == [], "what is raised is not reported too"
        assert list(cache.tiers[0].images.scan()) == []


def test_a_wrong_platform_is_reported_too_and_a_source_that_fails_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = source_of(make_index(MADE))
    digest = MADE[1].descriptor.digest
    source.documents[digest] = flipped(source.documents[digest])
    missing: list[LayercacheError] = []
    with open_cache() as cache:
        assert len(images(cache).all_from_source(source, REFERENCE, missing.append)) == 2
        assert [type(error) for error in missing] == [DigestMismatchError]

    def down(_: Descriptor) -> bytes:
        source.asked.append("again")
        raise SourceError("it is down")

    monkeypatch.setattr(source, "document", down)
    with open_cache() as cache, pytest.raises(SourceError, match="it is down"):
        images(cache).all_from_source(source, REFERENCE, missing.append)
    assert source.asked.count("again") == 1


@pytest.mark.parametrize("platform", [{}, {"platform": None}, {"platform": {"os": "", "architecture": ""}}])
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_where_an_index_names_no_platform_the_configs_are_looked_into(
    platform: dict[str, Any], wanted: int
) -> None:
    source = index_source([bare(image, **platform) for image in MADE], *MADE)
    with open_cache() as cache:
        for _ in range(2):
            found = pulled(cache, source, f"linux/{ARCHITECTURES[wanted]}")
            assert found.digest == MADE[wanted].descriptor.digest
        with pytest.raises(NotFoundError) as caught:
            pulled(cache, source, "linux/riscv64")
        assert "linux/amd64, linux/arm64, linux/s390x" in caught.value.hint
        assert len(source.asked) == 1 + 2 * len(MADE), "each document is asked for once"


def test_a_platform_that_is_named_is_chosen_without_a_look_into_the_others() -> None:
    named = bare(MADE[0], platform={"os": "linux", "architecture": "amd64"})
    source = index_source([bare(MADE[1]), named, bare(MADE[2])], *MADE)
    with open_cache() as cache:
        assert pulled(cache, source, "linux/amd64").digest == MADE[0].descriptor.digest
        assert MADE[1].descriptor.digest not in source.asked
        assert pulled(cache, source, "linux/s390x").digest == MADE[2].descriptor.digest


def test_what_is_missing_or_broken_is_passed_over_when_configs_are_looked_into() -> None:
    source = index_source([bare(image) for image in MADE], *MADE)
    del source.documents[MADE[0].descriptor.digest]
    source.blobs[MADE[1].config_digest] = flipped(MADE[1].config)
    with open_cache() as cache:
        assert pulled(cache, source, "linux/s390x").digest == MADE[2].descriptor.digest


def test_an_index_of_countless_entries_without_platforms_costs_a_bounded_number_of_requests() -> None:
    many = [make_image([], "linux/s390x", number=number) for number in range(LOOKED_INTO + 20)]
    source = index_source([bare(image) for image in many], *many)
    with open_cache() as cache, pytest.raises(NotFoundError):
        pulled(cache, source, "linux/amd64")
    assert len(source.asked) == 1 + 2 * LOOKED_INTO


def test_an_index_in_an_index_is_looked_into() -> None:
    inner = make_index(MADE[:2])
    source = index_source([bare(MADE[2]), entry(inner.manifest, OCI_INDEX)], *MADE)
    source.documents[inner.descriptor.digest] = inner.manifest
    with open_cache() as cache:
        assert pulled(cache, source, "linux/arm64").digest == MADE[1].descriptor.digest
        assert pulled(cache, source, "linux/s390x").digest == MADE[2].descriptor.digest
        assert len(images(cache).all_from_source(source, REFERENCE)) == 3


def test_the_blobs_that_an_index_lists_itself_come_with_all_of_it() -> None:
    layers, config = [sample(1), sample(2)], b'{"layers": [], "records": []}'
    cache_config = "application/vnd.buildkit.cacheconfig.v0"
    source = index_source(
        [*(entry(layer.blob, OCI_LAYER_GZIP) for layer in layers), entry(config, cache_config)]
    )
    source.blobs = {Digest.of(data): data for data in (layers[0].blob, layers[1].blob, config)}
    tier = near()
    with open_cache(tier) as cache:
        (found,) = images(cache).all_from_source(source, REFERENCE)
        assert found.digest == source.top.digest == Digest.of(found.raw_manifest)
        assert [read(layer.compressed()) for layer in found.layers] == list(source.blobs.values())
    assert [each for each in verify(tier) if each.problem] == []
