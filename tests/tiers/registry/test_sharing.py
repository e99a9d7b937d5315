"""What a cache in a registry is for: sharing, on little traffic, by machines and with other tools."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from servers.images import noise
from servers.programs import skopeo_copy
from tiers.contract import GZIP, PLAIN, copy, fact_of, read
from tiers.registry.caches import CACHE, far_tier, keep_image, shipped

import layercache
from layercache.errors import LayercacheError
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache.tiers.association import Association
from layercache.value import replace

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry

    from layercache.tiers.tier import Tier

FROM_ANOTHER_MACHINE = """
import sys, layercache
near, far, name, form, target = sys.argv[1:]
with layercache.open([near, far], offline=True) as cache, open(target, "wb") as file:
    layer = cache.get(name)
    with layer.compressed() if form == "compressed" else layer.uncompressed() as stream:
        while data := stream.read(1 << 16):
            file.write(data)
"""


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("by", ["digest", "diff_id"])
def test_another_machine_gets_a_layer_by_either_name_with_one_manifest_and_one_blob(
    registry: Registry, tmp_path: Path, by: str, form: str
) -> None:
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(GZIP.blob)
    with shipped(registry, tmp_path / "first") as cache:
        cache.put(blob)
    before = len(registry.accesses())
    target = tmp_path / "out"
    name = GZIP.digest if by == "digest" else GZIP.diff_id
    far = f"oci://{registry.host}/{CACHE}"
    subprocess.run(
        [sys.executable, "-c", FROM_ANOTHER_MACHINE, f"file://{tmp_path}/second", far, name, form, target],
        check=True,
        timeout=60,
    )
    assert target.read_bytes() == (GZIP.blob if form == "compressed" else GZIP.tar)
    asked = [access for access in registry.accesses()[before:] if access.method == "GET"]
    given = [access.path for access in asked if access.status == 200 and access.path != "/v2/"]
    assert sum("/blobs/" in path for path in given) == 1
    assert sum("/manifests/" in path for path in given) <= 1
    assert not [access for access in registry.accesses()[before:] if access.method not in ("GET", "HEAD")]


@pytest.mark.parametrize("computed", [True, False], ids=["computed", "claimed"])
def test_a_blob_that_was_planted_under_a_diff_id_is_fetched_once_and_not_given(
    registry: Registry, tmp_path: Path, *, computed: bool
) -> None:
    tier = far_tier(registry.host)
    copy(tier, PLAIN.blob)
    tier.facts.record(replace(fact_of(GZIP, computed=computed), digest=PLAIN.digest, size=len(PLAIN.blob)))
    with shipped(registry, tmp_path / "near", "readonly=true") as cache:
        before = len(registry.accesses())
        for _ in range(2):
            with pytest.raises(LayercacheError):
                cache.get(GZIP.diff_id).compressed().read()
        with cache.get(PLAIN.digest).compressed() as blob:
            assert blob.read() == PLAIN.blob
    got = [each for each in registry.accesses()[before:] if (each.method, each.status) == ("GET", 200)]
    assert sum("/blobs/" in each.path for each in got) == 1


def test_an_image_that_one_machine_pulled_is_there_offline_on_another(
    registry: Registry, tmp_path: Path, sample: Sample
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    with shipped(registry, tmp_path / "first") as cache:
        for layer in cache.image(name).layers:
            layer.fill("compressed")
    with layercache.open(
        [f"file://{tmp_path}/second", f"oci://{registry.host}/{CACHE}"], offline=True
    ) as cache:
        image = cache.image(name)
        assert image.digest == sample.image.descriptor.digest
        for layer, wanted in zip(image.layers, sample.image.layers, strict=True):
            with layer.uncompressed() as stream:
                assert stream.read() == wanted.tar


def assert_whole(tier: Tier, image: object, key: str) -> None:
    from servers.images import ImageIndex

    assert isinstance(image, ImageIndex)
    assert tier.images.get(key) == image.descriptor
    for digest, data in image.blobs.items():
        assert read(tier, digest) == data
    for digest, (_, document) in image.documents.items():
        assert read(tier, digest) == document
    for layer in (layer for each in image.images for layer in each.layers):
        assert fact_of(layer) in tier.facts.made_from(layer.diff_id)


@pytest.mark.parametrize("untagged", [False, True])
def test_a_shipped_cache_survives_the_registrys_garbage_collection(
    registry: Registry, sample: Sample, tmp_path: Path, untagged: bool
) -> None:
    key = keys.image_tag("docker.io", "library/sample", "1")
    tier = far_tier(registry.host)
    keep_image(tier, sample.index, key)
    tier.blobs.put(Digest.of(PLAIN.blob), PLAIN.blob)
    tier.close()
    registry.stop()
    registry.collect_garbage(untagged=untagged)
    registry.start()
    assert_whole(tier, sample.index, key)
    assert read(tier, PLAIN.digest) == PLAIN.blob
    tier.close()
    for image in sample.index.images:
        skopeo_copy(
            f"docker://{registry.host}/{CACHE}@{image.descriptor.digest}",
            f"dir:{tmp_path}/{image.platform.architecture}",
            ["--src-tls-verify=false"],
        )


def test_other_tools_pull_an_image_out_of_the_cache_by_its_digest(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    tier = far_tier(registry.host)
    keep_image(tier, sample.index, keys.image_tag("docker.io", "library/sample", "1"))
    tier.close()
    skopeo_copy(
        f"docker://{registry.host}/{CACHE}@{sample.index.descriptor.digest}",
        f"dir:{tmp_path}/out",
        ["--src-tls-verify=false"],
    )
    assert (tmp_path / "out" / "manifest.json").read_bytes() == sample.index.manifest


def test_what_is_there_already_is_not_sent_again(registry: Registry, tmp_path: Path) -> None:
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(GZIP.blob)
    with shipped(registry, tmp_path / "first") as cache:
        cache.put(blob)
    before = len(registry.accesses())
    with shipped(registry, tmp_path / "second") as cache:
        cache.put(blob)
    methods = {access.method for access in registry.accesses()[before:]}
    assert methods <= {"GET", "HEAD"}


def test_a_layer_is_mounted_from_the_repository_that_its_image_was_pulled_from(
    registry: Registry, sample: Sample
) -> None:
    registry.push(f"oci:{sample.layout}:image", "team/app:1")
    before = len(registry.accesses())
    tier = far_tier(registry.host)
    tier.images.tag(keys.image_tag(registry.host, "team/app", "1"), sample.image.descriptor)
    for layer in sample.image.layers:
        copy(tier, layer.blob)
        assert read(tier, layer.digest) == layer.blob
    tier.close()
    mounted = [access for access in registry.accesses()[before:] if "from=team%2Fapp" in access.path]
    assert [(access.method, access.status) for access in mounted] == [("POST", 201)] * 3


def test_both_forms_are_kept_where_the_url_says_so(registry: Registry, tmp_path: Path) -> None:
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(GZIP.blob)
    with shipped(registry, tmp_path / "near", "keep=both") as cache:
        cache.put(blob)
        cache.flush()
        assert {name for name, _ in cache.tiers[1].blobs.scan()} == {GZIP.digest, GZIP.diff_id}


def test_a_sha512_name_is_told_from_another_with_the_same_beginning(registry: Registry) -> None:
    data = noise(100)
    name = Digest.of(data, "sha512")
    other = Digest(f"sha512:{name.hex[:64]}{'0' * 64}")
    tier = far_tier(registry.host)
    copy(tier, data, name)
    assert tier.facts.about(other) == ([], [])
    assert not tier.blobs.has(other)
    said = Association(other, GZIP.diff_id, 100)
    tier.facts.record(said)
    assert tier.facts.inflates_to(other) == [said]
    tier.close()


def test_a_forked_child_has_connections_of_its_own(registry: Registry) -> None:
    tier = far_tier(registry.host)
    copy(tier, GZIP.blob)
    child = os.fork()
    if not child:
        os._exit(0 if read(tier, GZIP.digest) == GZIP.blob else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert read(tier, GZIP.digest) == GZIP.blob
    tier.close()
