"""What a config says of an image, and what it does not."""

from __future__ import annotations

import json

import pytest
from fixtures.dict_source import entry, made_of, pulled, source_of
from fixtures.layers import read, sample
from fixtures.stores import open_cache
from servers.images import make_image, sample_layers

from layercache import FormatError, NotFoundError
from layercache.oci.descriptor import DOCKER_MANIFEST, OCI_CONFIG


@pytest.mark.parametrize("count", [2, 4])
def test_a_config_with_more_or_fewer_diff_ids_than_layers_is_refused(count: int) -> None:
    layers = sample_layers(1)
    config = json.dumps(
        {"os": "linux", "architecture": "amd64",
         "rootfs": {"type": "layers", "diff_ids": [sample(seed).diff_id for seed in range(count)]}}
    ).encode()  # fmt: skip
    source = made_of(
        {
            "config": entry(config, OCI_CONFIG),
            "layers": [entry(layer.blob, layer.media_type) for layer in layers],
        },
        config,
    )
    with open_cache() as cache, pytest.raises(FormatError, match=f"{count} diff IDs, but there are 3 layers"):
        pulled(cache, source)


@pytest.mark.parametrize(
    "rootfs", [None, {}, {"type": "layers"}, {"type": "layers", "diff_ids": None}, {"diff_ids": []}]
)
def test_a_config_without_diff_ids_claims_none(rootfs: object) -> None:
    layers = sample_layers(1)
    image = make_image(layers, rootfs=rootfs)
    with open_cache() as cache:
        found = pulled(cache, source_of(image))
        assert str(found.platform) == "linux/amd64"
        for layer, made in zip(found.layers, layers, strict=True):
            assert layer.names.diff_id is None
            layer.fill("compressed")
            assert cache.get(made.digest).names.diff_id is None
            assert read(layer.uncompressed()) == made.tar
            assert cache.get(made.diff_id).digest == made.digest


@pytest.mark.parametrize(
    "config_type",
    ["application/octet-stream", "text/html", "application/json", "application/vnd.docker.plugin.v1+json"],
)
def test_the_config_of_a_schema_2_manifest_is_an_images_whatever_its_media_type(config_type: str) -> None:
    made = make_image(sample_layers(1, docker=True), docker=True)
    manifest = json.loads(made.manifest)
    manifest["config"]["mediaType"] = config_type
    source = made_of(manifest, made.config, DOCKER_MANIFEST)
    with open_cache() as cache:
        image = pulled(cache, source)
        assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in made.layers]
        assert str(image.platform) == "linux/amd64"
        with pytest.raises(NotFoundError, match="linux/arm64"):
            pulled(cache, source, "linux/arm64")


def test_a_schema_2_config_of_another_type_that_is_no_json_is_an_artefacts() -> None:
    layer = sample(1)
    source = made_of(
        {
            "config": entry(b"<html>", "text/html"),
            "layers": [entry(layer.blob, layer.media_type)],
        },
        b"<html>",
        DOCKER_MANIFEST,
    )
    with open_cache() as cache:
        assert [each.names.diff_id for each in pulled(cache, source).layers] == [None]


def test_an_artefact_that_borrows_an_images_config_may_have_more_blobs_than_diff_ids() -> None:
    layer, config = sample(1), json.dumps({"rootfs": {"diff_ids": [sample(1).diff_id]}}).encode()
    source = made_of(
        {
            "config": entry(config, OCI_CONFIG),
            "layers": [entry(layer.blob, layer.media_type), entry(b"module", "application/wasm")],
        },
        config,
    )
    with open_cache() as cache:
        assert [each.names.diff_id for each in pulled(cache, source, None).layers] == [None, None]
