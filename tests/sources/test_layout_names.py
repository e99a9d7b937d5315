"""Names in a layout: several entries of one, those of containerd, and names that are not a layout's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.stores import open_cache
from servers.images import make_image, make_index, sample_layers, write_layout

import layercache
from layercache import ConfigError, NotFoundError, SourceError
from layercache.oci.platforms import ATTESTATION_TYPE
from layercache.sources.opening import open_source
from layercache.sources.registry import RegistryClient

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Image, ImageIndex

REF, FULL = "org.opencontainers.image.ref.name", "io.containerd.image.name"
AMD64, ARM64, OTHER = (
    make_image(sample_layers(seed), f"linux/{name}") for seed, name in enumerate(("amd64", "arm64", "amd64"))
)


def entry(image: Image | ImageIndex, *, platform: str = "", **annotations: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "mediaType": image.media_type,
        "digest": image.descriptor.digest,
        "size": len(image.manifest),
        "annotations": annotations,
    }
    if platform:
        made["platform"] = dict(zip(("os", "architecture"), platform.split("/"), strict=True))
    return made


def layout(folder: Path, *entries: dict[str, Any]) -> Path:
    """A layout that holds all images, and whose index.json has these entries."""
    write_layout(folder, {"1": AMD64, "2": ARM64, "3": OTHER, "4": make_index([AMD64, ARM64])})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


@pytest.mark.parametrize("platforms", [("linux/amd64", "linux/arm64"), ("", ""), ("", "linux/arm64")])
@pytest.mark.parametrize("name", ["v1", ""])
def test_a_platform_chooses_among_entries_of_one_name(
    tmp_path: Path, platforms: tuple[str, str], name: str
) -> None:
    annotations = {REF: name} if name else {}
    entries = (
        entry(AMD64, platform=platforms[0], **annotations),
        entry(ARM64, platform=platforms[1], **annotations),
    )
    wanted = f"oci:{layout(tmp_path, *entries)}:{name}".removesuffix(":")
    with open_cache() as cache:
        for image, platform in ((AMD64, "linux/amd64"), (ARM64, "linux/arm64")):
            assert cache.image(wanted, platform=platform).digest == image.descriptor.digest
        assert [image.digest for image in cache.platforms(wanted)] == [
            AMD64.descriptor.digest,
            ARM64.descriptor.digest,
        ]
        with pytest.raises(NotFoundError, match="s390x"):
            cache.image(wanted, platform="linux/s390x")


def test_attestations_of_the_same_name_are_in_nobodys_way(tmp_path: Path) -> None:
    attestations = [
        entry(image, platform="unknown/unknown", **{REF: "v1", ATTESTATION_TYPE: "attestation-manifest"})
        for image in (OTHER, ARM64)
    ]
    path = layout(tmp_path, entry(AMD64, platform="linux/amd64", **{REF: "v1"}), *attestations)
    with open_cache() as cache:
        assert cache.image(f"oci:{path}:v1", platform="linux/amd64").digest == AMD64.descriptor.digest
        assert len(cache.platforms(f"oci:{path}:v1")) == 3


@pytest.mark.parametrize("nested", [False, True])
def test_where_two_entries_of_a_name_are_for_one_platform_the_hint_gives_digests(
    tmp_path: Path, nested: bool
) -> None:
    other = entry(make_index([AMD64, ARM64]), **{REF: "v1"}) if nested else entry(OTHER, **{REF: "v1"})
    path = layout(tmp_path, entry(AMD64, platform="linux/amd64", **{REF: "v1"}), other)
    with open_cache() as cache:
        with pytest.raises(SourceError, match="several images") as caught:
            cache.image(f"oci:{path}:v1")
        assert f"v1@{AMD64.descriptor.digest} (linux/amd64)" in caught.value.hint
        for choice in caught.value.hint.partition(": ")[2].split(", "):
            cache.image(f"oci:{path}:{choice.partition(' ')[0]}", platform="linux/amd64")


def test_containerds_name_is_a_name_and_tells_entries_of_one_tag_apart(tmp_path: Path) -> None:
    path = layout(
        tmp_path,
        entry(AMD64, **{REF: "1", FULL: "docker.io/team/a:1"}),
        entry(ARM64, **{REF: "1", FULL: "docker.io/library/b:1"}),
    )
    for name, image in (("docker.io/team/a:1", AMD64), ("team/a:1", AMD64), ("b:1", ARM64)):
        assert open_source(f"oci:{path}:{name}", RegistryClient).root().digest == image.descriptor.digest
    for name in ("", ":1", ":2"):
        with pytest.raises((SourceError, NotFoundError)) as caught:
            open_source(f"oci:{path}{name}", RegistryClient).root()
        assert "docker.io/team/a:1, docker.io/library/b:1" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("oci://ghcr.io/team/app:1", "ghcr.io/team/app:1"),
        ("oci://localhost:5000/app", "localhost:5000/app"),
        ("oci://registry:5000/team/app@sha256:" + "a" * 64, "registry:5000/team/app@sha256:" + "a" * 64),
        ("oci:ghcr.io/team/app:1", "ghcr.io/team/app:1"),
    ],
)
def test_a_registrys_image_with_a_layouts_prefix_is_answered_by_its_name(name: str, image: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        open_source(name, RegistryClient)
    assert caught.value.hint == f"an image in a registry has no prefix: {image}"


@pytest.mark.parametrize("name", ["oci:///srv/absent", "oci:absent/layout:1", "oci:./absent:1", "oci:/srv/a"])
def test_a_layout_that_is_not_there_is_only_that(name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        open_source(name, RegistryClient)
    assert caught.value.hint == ""


def test_an_export_into_a_folder_that_is_named_like_a_registry_is_refused(tmp_path: Path) -> None:
    with layercache.open(tmp_path) as cache, pytest.raises(ConfigError) as caught:
        cache.export("registry.example/app:1", "oci://ghcr.io/team/app:1")
    assert "an image in a registry is docker://ghcr.io/team/app:1" in caught.value.hint


@pytest.mark.parametrize("ref", ["", ":v1"])
def test_an_archive_in_a_layouts_place_is_called_a_file(tmp_path: Path, ref: str) -> None:
    path = tmp_path / "layout.tar"
    path.write_bytes(b"x")
    with pytest.raises(SourceError, match="is a file, and an OCI layout is a folder") as caught:
        open_source(f"oci:{path}{ref}", RegistryClient)
    assert f"oci-archive:{path}" in caught.value.hint
    assert f"docker-archive:{path}" in caught.value.hint
