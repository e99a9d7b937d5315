"""Images out of a source that is a dictionary: documents, platforms, layers in pairs, and lies."""

from __future__ import annotations

import json

import pytest
from fixtures.dict_source import REFERENCE, DictSource, entry, images, made_of, pulled, source_of
from fixtures.layers import flipped, read, sample
from fixtures.stores import assert_sound, blobs, content, evict, far, near, open_cache, write_blob
from servers.images import make_image, make_index, sample_layers

from layercache import (
    DigestMismatchError,
    FormatError,
    LayercacheError,
    NotALayerError,
    NotFoundError,
    SourceError,
)
from layercache.oci.descriptor import DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.platforms import parse_platform
from layercache.tiers import keys

EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.mark.parametrize("docker", [False, True])
def test_layers_come_in_pairs_of_digest_and_diff_id_and_are_lazy(docker: bool) -> None:
    made = make_image(sample_layers(1, docker=docker), docker=docker)
    source = source_of(made)
    with open_cache() as cache:
        image = pulled(cache, source)
        assert [(layer.digest, layer.diff_id) for layer in image.layers] == [
            (layer.digest, layer.diff_id) for layer in made.layers
        ]
        assert [layer.media_type for layer in image.layers] == [layer.media_type for layer in made.layers]
        assert image.manifest == json.loads(made.manifest)
        assert image.config == json.loads(made.config)
        assert image.raw_manifest == made.manifest
        assert (image.digest, str(image.platform)) == (made.descriptor.digest, "linux/amd64")
        assert not set(source.asked) & {layer.digest for layer in made.layers}
        for layer, wanted in zip(image.layers, made.layers, strict=True):
            assert read(layer.compressed()) == wanted.blob
            assert read(layer.uncompressed()) == wanted.tar
        for wanted in made.layers:
            assert read(cache.get(wanted.diff_id).uncompressed()) == wanted.tar
            assert source.asked.count(wanted.digest) == 1


def test_a_second_pull_asks_for_nothing_that_is_cached() -> None:
    source = source_of(make_index([make_image(sample_layers(1))]))
    with open_cache() as cache:
        for layer in pulled(cache, source).layers:
            layer.fill("both")
        source.asked.clear()
        for layer in pulled(cache, source).layers:
            layer.fill("both")
        assert source.asked == []


def test_an_index_gives_the_platform_that_was_asked_for_and_says_which_there_are() -> None:
    made = {
        name: make_image(sample_layers(seed), name)
        for seed, name in enumerate(["linux/amd64", "linux/arm64", "linux/arm/v7"])
    }
    source = source_of(make_index(list(made.values())))
    with open_cache() as cache:
        for name, wanted in made.items():
            image = pulled(cache, source, name)
            assert image.digest == wanted.descriptor.digest
            assert image.layers[0].digest == wanted.layers[0].digest
        with pytest.raises(NotFoundError, match="windows/amd64") as caught:
            pulled(cache, source, "windows/amd64")
        assert all(name in caught.value.hint for name in ("linux/amd64", "linux/arm64", "linux/arm/v7"))


def test_unknown_platforms_are_never_picked() -> None:
    image, attestation = (
        make_image(sample_layers(1), "linux/arm64"),
        make_image(sample_layers(2), "linux/amd64"),
    )
    unknown = {
        **entry(attestation.manifest, OCI_MANIFEST),
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    source = source_of(make_index([image], extra=[unknown]))
    source.documents[attestation.descriptor.digest] = attestation.manifest
    with open_cache() as cache:
        for platform in ("linux/amd64", "unknown/unknown"):
            with pytest.raises(NotFoundError):
                pulled(cache, source, platform)
        assert attestation.descriptor.digest not in source.asked
        only = source_of(make_index([], extra=[unknown]))
        with pytest.raises(NotFoundError):
            pulled(cache, only, None)


def test_a_single_image_of_another_platform_is_refused_where_one_was_asked_for() -> None:
    source = source_of(make_image(sample_layers(1), "linux/s390x"))
    with open_cache() as cache:
        with pytest.raises(NotFoundError, match="linux/amd64") as caught:
            pulled(cache, source)
        assert "linux/s390x" in caught.value.hint
        assert str(pulled(cache, source, None).platform) == "linux/s390x"


@pytest.mark.parametrize("config_type", [EMPTY, "application/vnd.cncf.helm.config.v1+json"])
def test_an_artefact_has_blobs_and_no_diff_ids(config_type: str) -> None:
    parts = {"application/vnd.cncf.helm.chart.content.v1.tar+gzip": sample(1).blob, "text/plain": b"notes"}
    source = made_of(
        {
            "artifactType": "application/vnd.example",
            "config": entry(b"{}", config_type),
            "layers": [entry(data, media_type) for media_type, data in parts.items()],
        },
        b"{}",
    )
    source.blobs |= {Digest.of(data): data for data in parts.values()}
    with open_cache() as cache:
        image = pulled(cache, source, None)
        assert image.config == {}
        for layer, (media_type, data) in zip(image.layers, parts.items(), strict=True):
            assert layer.names.diff_id is None
            with pytest.raises(NotALayerError, match=media_type.replace("+", r"\+")):
                layer.uncompressed()
            assert read(layer.compressed()) == data
            assert read(cache.get(Digest.of(data)).compressed()) == data


@pytest.mark.parametrize(
    "foreign",
    ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
     "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"],
)  # fmt: skip
def test_foreign_layers_are_counted_and_never_fetched(foreign: str) -> None:
    base, own = sample(1), sample(2)
    config = json.dumps(
        {"os": "windows", "architecture": "amd64",
         "rootfs": {"type": "layers", "diff_ids": [base.diff_id, own.diff_id]}}
    ).encode()  # fmt: skip
    urls = {"urls": ["https://go.example/base"]}
    source = made_of(
        {
            "config": entry(config, OCI_CONFIG),
            "layers": [entry(base.blob, foreign) | urls, entry(own.blob, OCI_LAYER_GZIP)],
        },
        config,
    )
    source.blobs |= {base.digest: base.blob, own.digest: own.blob}
    with open_cache() as cache:
        image = pulled(cache, source, "windows/amd64")
        assert [(layer.digest, layer.diff_id) for layer in image.layers] == [(own.digest, own.diff_id)]
        assert [each.digest for each in image.foreign] == [base.digest]
        assert cache.counters.skipped == 1
        for layer in image.layers:
            assert read(layer.uncompressed()) == own.tar
        assert base.digest not in source.asked


@pytest.mark.parametrize("says_so", [True, False])
def test_docker_schema_1_is_refused(says_so: bool) -> None:
    signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    data = json.dumps({"schemaVersion": 1, "name": "app", "fsLayers": []}).encode()
    top = Descriptor(
        media_type=signed if says_so else "application/json", digest=Digest.of(data), size=len(data)
    )
    with open_cache() as cache:
        with pytest.raises(SourceError, match="schema 1") as caught:
            pulled(cache, DictSource(top, {top.digest: data}))
        assert "push the image again" in caught.value.hint


def test_docker_schema_2_is_kept_as_it_is() -> None:
    made = make_image(sample_layers(1, docker=True), docker=True)
    with open_cache() as cache:
        image = pulled(cache, source_of(made))
        assert image.descriptor.media_type == DOCKER_MANIFEST
        assert content(cache.tiers[0])[keys.blob(made.descriptor.digest)] == made.manifest


def test_a_manifest_that_is_served_as_what_it_is_not_is_refused() -> None:
    made = make_image(sample_layers(1))
    source = source_of(made)
    source.top = Descriptor(media_type=DOCKER_MANIFEST, digest=source.top.digest, size=source.top.size)
    with open_cache() as cache, pytest.raises(FormatError, match="but its mediaType is"):
        pulled(cache, source)


@pytest.mark.parametrize("wrong", ["index", "manifest", "config"])
@pytest.mark.parametrize("how", ["flipped", "cut", "long", "empty", "other"])
def test_wrong_bytes_of_a_document_are_never_kept(wrong: str, how: str) -> None:
    image = make_image(sample_layers(1))
    index = make_index([image])
    source = source_of(index)
    digest = {
        "index": index.descriptor.digest,
        "manifest": image.descriptor.digest,
        "config": Digest.of(image.config),
    }[wrong]
    place = source.blobs if wrong == "config" else source.documents
    right = place[digest]
    place[digest] = {
        "flipped": flipped(right, 10),
        "cut": right[:-1],
        "long": right + b" ",
        "empty": b"",
        "other": make_image(sample_layers(2)).manifest,
    }[how]
    with open_cache(near(), far()) as cache:
        with pytest.raises(DigestMismatchError):
            pulled(cache, source)
        for tier in cache.tiers:
            assert_sound(tier)
            assert digest not in blobs(tier)
            assert not [key for key in content(tier) if key.startswith(keys.IMAGES)]
        with pytest.raises(NotFoundError):
            images(cache).from_source(None, REFERENCE)
        place[digest] = right
        assert pulled(cache, source).digest == image.descriptor.digest


@pytest.mark.parametrize("which", ["near", "far"])
@pytest.mark.parametrize("wrong", ["manifest", "config"])
@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_document_in_a_tier_is_passed_over(which: str, wrong: str, how: str) -> None:
    image = make_image(sample_layers(1))
    source = source_of(image)
    digest = image.descriptor.digest if wrong == "manifest" else Digest.of(image.config)
    right = image.manifest if wrong == "manifest" else image.config
    with open_cache(near(), far()) as cache:
        pulled(cache, source)
        damaged = cache.tiers[which == "far"]
        if which == "far":
            evict(cache.tiers[0], digest)
        write_blob(damaged, digest, {"flipped": flipped(right, 10), "cut": right[:-1], "empty": b""}[how])
        for _ in range(2):
            assert pulled(cache, source).digest == image.descriptor.digest


def test_lying_diff_ids_end_in_an_error_each_time_and_the_layers_can_be_read_by_digest() -> None:
    layers = sample_layers(1)
    lying = make_image(
        layers, rootfs={"type": "layers", "diff_ids": [layer.diff_id for layer in layers[::-1]]}
    )
    honest = make_image(layers)
    with open_cache(near(), far()) as cache:
        for fill in (False, True):
            for _ in range(2):
                for layer, true in zip(pulled(cache, source_of(lying)).layers, layers, strict=True):
                    if fill:
                        layer.fill("compressed")
                    if layer.diff_id == true.diff_id:
                        assert read(layer.uncompressed()) == true.tar
                        continue
                    assert read(layer.compressed()) == true.blob
                    try:
                        assert read(layer.uncompressed()) in {each.tar for each in layers}
                    except LayercacheError as error:
                        assert isinstance(error, DigestMismatchError)  # noqa: PT017  # or its tar was there
        for tier in cache.tiers:
            assert_sound(tier)
        for true in layers:
            assert (
                cache.get(true.digest).names.diff_id in (true.diff_id, None)
                or not cache.get(true.digest).computed
            )
        for layer, true in zip(pulled(cache, source_of(honest)).layers, layers, strict=True):
            assert read(layer.uncompressed()) == true.tar
            assert read(cache.get(true.digest).uncompressed()) == true.tar
            assert cache.get(true.digest).diff_id == true.diff_id


def test_a_lying_image_alone_never_gives_a_tar_under_a_false_name() -> None:
    layer, other = sample(1), sample(2)
    lying = make_image([layer], rootfs={"type": "layers", "diff_ids": [other.diff_id]})
    with open_cache() as cache:
        for _ in range(3):
            with pytest.raises(DigestMismatchError):
                read(pulled(cache, source_of(lying)).layers[0].uncompressed())
        assert other.diff_id not in cache
        assert read(cache.get(layer.digest).uncompressed()) == layer.tar
        assert not [key for key in content(cache.tiers[0]) if "/claimed/" in key]


def test_offline_an_image_is_what_it_was_when_it_was_last_pulled() -> None:
    first, second = make_image(sample_layers(1)), make_image(sample_layers(5))
    with open_cache(near(), far()) as cache:
        for made in (first, second):
            for layer in pulled(cache, source_of(make_index([made]))).layers:
                layer.fill("compressed")
            offline = images(cache).from_source(None, REFERENCE, parse_platform("linux/amd64"))
            assert offline.digest == made.descriptor.digest
            for layer, wanted in zip(offline.layers, made.layers, strict=True):
                assert read(layer.uncompressed()) == wanted.tar
    with open_cache(near(), cache.tiers[1], offline=True) as elsewhere:
        assert elsewhere.image(str(REFERENCE), platform="linux/amd64").digest == second.descriptor.digest


def test_offline_it_says_what_is_missing() -> None:
    made = make_image(sample_layers(1))
    with open_cache() as cache:
        with pytest.raises(NotFoundError, match=r"registry\.example/team/app:1\.0 is not cached") as caught:
            images(cache).from_source(None, REFERENCE)
        assert caught.value.looked_in
        assert "layercache pull" in caught.value.hint
        index = make_index([made, make_image(sample_layers(2), "linux/arm64")])
        pulled(cache, source_of(index))
        offline = images(cache).from_source(None, REFERENCE, parse_platform("linux/amd64"))
        with pytest.raises(NotFoundError, match=f"a layer of {REFERENCE}, is not cached") as caught:
            offline.layers[0].compressed()
        assert f"pull the image again, while online (layercache pull {REFERENCE})" in caught.value.hint
        with pytest.raises(NotFoundError, match=f"for linux/arm64 of {REFERENCE} is not cached") as caught:
            images(cache).from_source(None, REFERENCE, parse_platform("linux/arm64"))
        assert "this platform was not pulled, or was removed" in caught.value.hint
        assert f"layercache pull {REFERENCE} --platform linux/arm64" in caught.value.hint
        for removed in (Digest.of(made.config), index.descriptor.digest):
            evict(cache.tiers[0], removed)
            with pytest.raises(NotFoundError, match=f"{removed} of {REFERENCE} is not cached any") as caught:
                images(cache).from_source(None, REFERENCE, parse_platform("linux/amd64"))
            assert "it was removed (by prune, rm or a limit): pull the image again" in caught.value.hint


def test_a_document_of_absurd_size_is_not_read() -> None:
    made = make_image(sample_layers(1))
    config = {**entry(made.config, OCI_CONFIG), "size": 1 << 40}
    source = made_of({"config": config, "layers": []}, made.config)
    with open_cache() as cache, pytest.raises(FormatError, match="at most"):
        pulled(cache, source)
    assert source.asked == [source.top.digest]


@pytest.mark.parametrize("readonly", [0, 1])
def test_documents_are_kept_in_every_tier_that_can_be_written_to(readonly: int) -> None:
    made = make_image(sample_layers(1))
    tiers = [near(readonly=not readonly), far(readonly=bool(readonly))]
    with open_cache(*tiers) as cache:
        pulled(cache, source_of(made))
        assert content(tiers[readonly]) == {}
        assert {made.descriptor.digest, Digest.of(made.config)} <= blobs(tiers[1 - readonly])
