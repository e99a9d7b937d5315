"""Images, whole: every platform, offline, listed, removed, and tags that are checked by age."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from servers.images import Image, make_image, make_index, sample_layers, write_layout

import layercache
from layercache.oci.descriptor import OCI_MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.registry import Registry


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A layout with an index of two platforms and an attestation, named ``many``."""
    images = [make_image(sample_layers(1)), make_image(sample_layers(2), "linux/arm64")]
    statement = b'{"_type": "https://in-toto.io/Statement/v0.1"}'
    digest = layercache.Digest.of(statement)
    config = json.dumps({"os": "unknown", "architecture": "unknown",
                         "rootfs": {"type": "layers", "diff_ids": [digest]}}).encode()  # fmt: skip
    described = {"mediaType": "application/vnd.in-toto+json", "digest": digest, "size": len(statement)}
    config_type = "application/vnd.oci.image.config.v1+json"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [described],
        "config": {"mediaType": config_type, "digest": layercache.Digest.of(config), "size": len(config)},
    }).encode()  # fmt: skip
    attestation = Image((), images[0].platform, config, manifest, OCI_MANIFEST)
    entry = {
        "mediaType": OCI_MANIFEST, "digest": attestation.descriptor.digest, "size": len(manifest),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }  # fmt: skip
    folder = write_layout(tmp_path / "layout", {"many": make_index(images, extra=[entry])})
    for data in (statement, config, manifest):
        (folder / "blobs" / "sha256" / layercache.Digest.of(data).hex).write_bytes(data)
    return folder


def test_all_platforms_are_pulled_with_attestations_and_are_there_offline(
    registry: Registry, many: Path, cli: Caller
) -> None:
    name = registry.push(f"oci:{many}:many", "team/many:1")
    pulled = cli.json("pull", name, "--platform", "all", "--form", "both")
    platforms = [image["platform"] for image in pulled["images"]]
    assert platforms == ["linux/amd64", "linux/arm64", "unknown/unknown"]
    assert [len(image["layers"]) for image in pulled["images"]] == [3, 3, 1]
    assert not pulled["errors"]
    registry.stop()
    again = cli.json("--offline", "pull", name, "--platform", "all")
    assert again["fetched"] == 0
    assert [image["platform"] for image in again["images"]] == platforms
    for platform in platforms[:2]:
        assert cli.json("--offline", "pull", name, "--platform", platform)["fetched"] == 0
    (row,) = cli.lines("images")
    assert row[3:] == ["linux/amd64,linux/arm64,unknown/unknown", name]


def test_offline_all_means_the_platforms_that_were_pulled(
    registry: Registry, many: Path, cli: Caller
) -> None:
    name = registry.push(f"oci:{many}:many", "team/many:1")
    cli("pull", name, "--platform", "linux/arm64")
    (image,) = cli.json("--offline", "pull", name, "--platform", "all")["images"]
    assert image["platform"] == "linux/arm64"
    assert cli.lines("images")[0][3] == "linux/arm64"
    told = cli("--offline", "pull", "registry.example/other", "--platform", "all", code=1).stderr
    assert "is not cached" in told


def test_a_tag_within_its_age_and_a_digest_ask_the_registry_nothing(
    registry: Registry, many: Path, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{many}:many", "team/many:1")
    with layercache.open(tmp_path / "cache") as cache:
        image = cache.image(name, platform="linux/amd64")
        by_digest = f"{registry.host}/team/many@{image.digest}"
        assert cache.image(by_digest).digest == image.digest
        for layer in image.layers:
            layer.fill("compressed")
    registry.stop()
    with layercache.open(tmp_path / "cache", tag_age=3600) as cache:
        assert cache.image(name, platform="linux/amd64").digest == image.digest
        assert cache.image(by_digest).digest == image.digest
        with (
            pytest.raises(layercache.NotFoundError),
            layercache.open(tmp_path / "cache", offline=True) as own,
        ):
            own.image("registry.example/none")
    with layercache.open(tmp_path / "cache") as cache:
        assert cache.image(by_digest).digest == image.digest
        with pytest.raises(layercache.SourceError):
            cache.image(name, platform="linux/amd64")


def test_a_tag_past_its_age_is_checked_once_and_then_young_again(
    registry: Registry, many: Path, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{many}:many", "team/many:1")
    with layercache.open(tmp_path / "cache") as cache:
        cache.image(name, platform="linux/amd64")
    (tag,) = (tmp_path / "cache" / "images").rglob("_tags/1")
    os.utime(tag, (time.time() - 7200, time.time() - 7200))
    with layercache.open(tmp_path / "cache", tag_age=3600) as cache:
        cache.image(name, platform="linux/amd64")
        registry.stop()
        cache.image(name, platform="linux/amd64")
    os.utime(tag, (time.time() - 7200, time.time() - 7200))
    with (
        layercache.open(tmp_path / "cache", tag_age=3600) as cache,
        pytest.raises(layercache.SourceError),
    ):
        cache.image(name, platform="linux/amd64")


def test_removing_an_image_leaves_its_blobs_unless_they_are_named_too(tmp_path: Path, cli: Caller) -> None:
    shared = sample_layers(1)
    one, two = make_image(shared), make_image([*shared[:1], *sample_layers(2)[:1]])
    layout = write_layout(tmp_path / "cache", {"one": one, "two": two})
    cli("adopt", str(layout))
    cli("rm", "--image", "localhost/imported:one", "--blobs")
    left = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
    assert left == {digest.hex for digest in [*two.blobs, two.descriptor.digest]}
    cli("rm", "--image", "localhost/imported:two")
    assert {path.name for path in (layout / "blobs" / "sha256").iterdir()} == left
    assert cli.lines("images") == []
    assert "is not cached" in cli("rm", "--image", "localhost/imported:two", code=1).stderr


@pytest.mark.parametrize("arguments", [["rm"], ["rm", "--blobs", "sha256:12"]])
def test_rm_wants_something_to_remove(cli: Caller, arguments: list[str]) -> None:
    cli(*arguments, code=2)


def test_images_are_listed_as_json_lines(tmp_path: Path, cli: Caller) -> None:
    image = make_image(sample_layers(1))
    cli("adopt", str(write_layout(tmp_path / "cache", {"registry.example/app:1": image})))
    (line,) = cli("images", "--json", "--all-tiers").stdout.splitlines()
    found = json.loads(line)
    assert found["checked"].endswith("Z")
    size = len(image.manifest) + sum(map(len, image.blobs.values()))
    wanted = {"name": "registry.example/app:1", "digest": image.descriptor.digest, "size": size,
              "platforms": ["linux/amd64"], "tier": cli.url}  # fmt: skip
    assert {key: found[key] for key in wanted} == wanted


def test_an_image_of_several_repositories_is_one_of_each(tmp_path: Path, cli: Caller) -> None:
    image = make_image(sample_layers(1))
    names = ["registry.example/a:1", "registry.example/b:1"]
    cli("adopt", str(write_layout(tmp_path / "cache", dict.fromkeys(names, image))))
    cli("rm", "--image", names[0], "--blobs")
    assert [(row[3], row[4]) for row in cli.lines("images")] == [("linux/amd64", names[1])]
