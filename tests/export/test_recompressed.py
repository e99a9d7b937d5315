"""An image that is exported with other compression: new digests, the same config, the same tars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.blobs import inflate
from fixtures.calling import Caller
from servers.images import Image, ImageIndex, make_image, make_index, make_layer, noise, write_layout
from servers.programs import requires, run, skopeo_copy, trusting_policy

import layercache
from layercache.errors import ConfigError, NotFoundError
from layercache.oci.descriptor import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
)
from layercache.oci.digest import Digest
from layercache.streams import compress

if TYPE_CHECKING:
    from servers.registry import Registry

    from layercache.export.exporter import Exported

NAME = "localhost/imported:image"


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of some KB has many frames, as one of some MB has."""
    monkeypatch.setattr(compress, "ZSTD_FRAME", 1 << 10)
    monkeypatch.setattr(compress, "GZIP_BLOCK", 3 << 10)


def layers(seed: int = 1, *, docker: bool = False) -> list[Any]:
    files = {"text": b"a line of text\n" * 900, "noise": noise(3000, seed)}
    kinds = ("gzip", "none") if docker else ("gzip", "zstd", "none")
    return [make_layer(files | {"kind": kind.encode()}, kind, docker=docker) for kind in kinds]


def named(folder: Path, cache: str = "cache") -> str:
    """What the cache calls the one image that was pulled out of a layout."""
    (image,) = map(json.loads, Caller(f"file://{folder}/{cache}")("images", "--json").stdout.splitlines())
    return str(image["name"])


def exported(
    folder: Path, image: Image | ImageIndex, compression: str, target: str = "", platform: str | None = "all"
) -> Exported:
    """What is written where an image is pulled and exported, by default to the layout ``out``."""
    layout = write_layout(folder / "in", {"image": image})
    with layercache.open(f"file://{folder}/cache") as cache:
        for each in cache.platforms(f"oci:{layout}:image"):
            for layer in each.layers:
                layer.fill("compressed")
    with layercache.open(f"file://{folder}/cache", offline=True) as cache:
        name = named(folder)
        return cache.export(
            name, target or f"oci:{folder}/out:image", platform=platform, compression=compression
        )


def blob(folder: Path, digest: str) -> bytes:
    return (folder / "out" / "blobs" / Path(*digest.split(":"))).read_bytes()


def document(folder: Path, digest: str) -> Any:
    data = blob(folder, digest)
    assert Digest.of(data) == digest
    return json.loads(data)


def assert_holds(folder: Path, digest: str, image: Image, media_type: str, *, kept: frozenset[str]) -> Any:
    """The manifest has the image's config, and its tars in blobs of this type."""
    manifest = document(folder, digest)
    assert blob(folder, manifest["config"]["digest"]) == image.config
    for described, layer in zip(manifest["layers"], image.layers, strict=True):
        data = blob(folder, described["digest"])
        assert (Digest.of(data), len(data)) == (described["digest"], described["size"])
        assert described["mediaType"] == media_type
        kind = "zstd" if "zstd" in media_type else "gzip"
        assert inflate(data, kind) == layer.tar
        assert (described["digest"] == layer.digest) == (layer.digest in kept)
    return manifest


@pytest.mark.parametrize(("kind", "media_type"), [("zstd", OCI_LAYER_ZSTD), ("gzip", OCI_LAYER_GZIP)])
def test_layers_that_are_compressed_otherwise_are_compressed_again(
    tmp_path: Path, kind: str, media_type: str
) -> None:
    image = make_image(layers())
    kept = frozenset(layer.digest for layer in image.layers if layer.media_type == media_type)
    done = exported(tmp_path, image, kind)
    assert (done.pulled, done.image_id) == (image.descriptor.digest, image.config_digest)
    assert done.digest != done.pulled
    manifest = assert_holds(tmp_path, done.digest, image, media_type, kept=kept)
    assert len(kept) == 1
    assert manifest["mediaType"] == OCI_MANIFEST
    again = exported(tmp_path / "again", image, kind)
    assert again.digest == done.digest, "the same image gives the same digest"


def test_with_a_level_all_layers_are_compressed(tmp_path: Path) -> None:
    image = make_image(layers())
    done = exported(tmp_path, image, "zstd:19")
    assert_holds(tmp_path, done.digest, image, OCI_LAYER_ZSTD, kept=frozenset())


def test_an_image_that_is_compressed_so_already_stays_as_it_is(tmp_path: Path) -> None:
    image = make_image([make_layer({"a": b"a"}, "zstd")])
    done = exported(tmp_path, image, "zstd")
    assert done.digest == done.pulled == image.descriptor.digest


def test_docker_has_no_zstd_so_its_image_becomes_one_of_oci(tmp_path: Path) -> None:
    image = make_image(layers(docker=True), docker=True)
    done = exported(tmp_path, image, "zstd")
    manifest = assert_holds(tmp_path, done.digest, image, OCI_LAYER_ZSTD, kept=frozenset())
    assert (manifest["mediaType"], manifest["config"]["mediaType"]) == (OCI_MANIFEST, OCI_CONFIG)


def test_as_gzip_an_image_of_docker_stays_one(tmp_path: Path) -> None:
    image = make_image(layers(docker=True), docker=True)
    done = exported(tmp_path, image, "gzip")
    kept = frozenset(layer.digest for layer in image.layers if layer.media_type == DOCKER_LAYER_GZIP)
    assert_holds(tmp_path, done.digest, image, DOCKER_LAYER_GZIP, kept=kept)
    assert document(tmp_path, done.digest)["mediaType"] == DOCKER_MANIFEST


def attestation(about: Image) -> tuple[Image, dict[str, Any]]:
    """As BuildKit writes one: a manifest, and its entry in the index."""
    made = make_image([make_layer({"statement": b"{}"}, "none")], "unknown/unknown")
    fields = json.loads(made.manifest)
    fields["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    data = json.dumps(fields).encode()
    made = Image(made.layers, made.platform, made.config, data, made.media_type)
    annotations = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": str(about.descriptor.digest),
    }
    described = made.descriptor
    entry = {"mediaType": described.media_type, "digest": described.digest, "size": described.size}
    return made, entry | {
        "annotations": annotations,
        "platform": {"os": "unknown", "architecture": "unknown"},
    }


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_lists_the_new_manifests_and_no_attestation_of_the_old_ones(
    tmp_path: Path, docker: bool
) -> None:
    images = [
        make_image(layers(1, docker=docker), docker=docker),
        make_image(layers(2, docker=docker), "linux/arm64", docker=docker),
    ]
    extra, entry = attestation(images[0])
    index = make_index(images, docker=docker, extra=[entry])
    index = ImageIndex((*images, extra), index.manifest, index.media_type)
    done = exported(tmp_path, index, "zstd")
    assert done.attestations == 1
    listed = document(tmp_path, done.digest)
    assert listed["mediaType"] == OCI_INDEX
    assert [each["platform"]["architecture"] for each in listed["manifests"]] == ["amd64", "arm64"]
    for each, image in zip(listed["manifests"], images, strict=True):
        assert each["mediaType"] == OCI_MANIFEST
        assert each["size"] == len(blob(tmp_path, each["digest"]))
        kept = frozenset(layer.digest for layer in image.layers if layer.media_type == OCI_LAYER_ZSTD)
        assert_holds(tmp_path, each["digest"], image, OCI_LAYER_ZSTD, kept=kept)
    gone = Path(*extra.descriptor.digest.split(":"))
    assert not (tmp_path / "out" / "blobs" / gone).exists()


def test_what_is_about_the_old_bytes_is_left_out_and_the_rest_stays(tmp_path: Path) -> None:
    image = make_image(layers()[:1])
    fields = json.loads(image.manifest)
    fields["annotations"] = {"org.example.of": "the manifest"}
    fields["layers"][0]["annotations"] = {
        "containerd.io/snapshot/stargz/toc.digest": f"sha256:{'0' * 64}",
        "io.containers.zstd-chunked.manifest-checksum": f"sha256:{'0' * 64}",
        "io.github.containers.zstd-chunked.manifest-checksum": f"sha256:{'0' * 64}",
        "org.example.of": "the layer",
    }
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": f"sha256:{'f' * 64}",
        "size": 7,
        "urls": ["https://example.invalid/layer"],
    }
    fields["layers"].append(foreign)
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"].append(f"sha256:{'e' * 64}")
    data = json.dumps(config).encode()
    fields["config"] |= {"digest": Digest.of(data), "size": len(data)}
    changed = Image(image.layers, image.platform, data, json.dumps(fields).encode(), image.media_type)
    done = exported(tmp_path, changed, "zstd")
    manifest = document(tmp_path, done.digest)
    assert manifest["annotations"] == {"org.example.of": "the manifest"}
    assert manifest["layers"][0]["annotations"] == {"org.example.of": "the layer"}
    assert manifest["layers"][1] == foreign
    assert done.foreign == 1


def test_one_platform_of_an_index_is_one_manifest(tmp_path: Path) -> None:
    images = [make_image(layers(1)), make_image(layers(2), "linux/arm64")]
    done = exported(tmp_path, make_index(images), "zstd", platform="linux/arm64")
    kept = frozenset({images[1].layers[1].digest})
    assert_holds(tmp_path, done.digest, images[1], OCI_LAYER_ZSTD, kept=kept)


def test_an_image_of_which_only_the_tars_are_cached_is_compressed_with_a_level(tmp_path: Path) -> None:
    image = make_image(layers()[:1])
    exported(tmp_path, image, "zstd")
    with layercache.open(f"file://{tmp_path}/cache", offline=True) as cache:
        cache.get(image.layers[0].digest).fill("uncompressed")
        (tmp_path / "cache" / "blobs" / "sha256" / image.layers[0].digest.hex).unlink()
        target = f"oci:{tmp_path}/out:again"
        with pytest.raises(NotFoundError):
            cache.export(named(tmp_path), target)
        done = cache.export(named(tmp_path), target, compression="gzip:6")
    assert_holds(tmp_path, done.digest, image, OCI_LAYER_GZIP, kept=frozenset())


@pytest.mark.parametrize("target", ["docker-archive:{}/out.tar", "-"])
def test_an_archive_of_tars_takes_no_compression(tmp_path: Path, target: str) -> None:
    with pytest.raises(ConfigError, match="as tars"):
        exported(tmp_path, make_image(layers()), "zstd", target.format(tmp_path), platform=None)


@pytest.mark.parametrize("wrong", ["xz", "zstd:23", ""])
def test_what_is_not_a_compression_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        exported(tmp_path, make_image(layers()), wrong)


def test_the_command_states_that_the_digest_changes(tmp_path: Path) -> None:
    image = make_image(layers())
    exported(tmp_path, image, "gzip")
    cli = Caller(f"file://{tmp_path}/cache")
    name = named(tmp_path)
    done = cli("export", name, f"oci:{tmp_path}/out:cli", "--compression", "zstd")
    assert f"the digest was {image.descriptor.digest}" in done.stderr
    assert "diff IDs are the same" in done.stderr
    made = cli.json("export", name, f"oci:{tmp_path}/out:cli", "--compression", "zstd")
    assert (made["digest"], made["pulled"]) == (done.stdout.strip(), image.descriptor.digest)
    assert "the digest was" not in cli("export", name, f"oci:{tmp_path}/out:same").stderr
    assert "expected" in cli("export", name, f"oci:{tmp_path}/o:x", "--compression", "zip", code=2).stderr


def test_what_was_made_for_an_export_is_not_sent_to_other_tiers(tmp_path: Path) -> None:
    image = make_image(layers()[:1])
    layout = write_layout(tmp_path / "in", {"image": image})
    shared = f"file://{tmp_path}/far?keep=compressed"
    with layercache.open([f"file://{tmp_path}/near", shared]) as cache:
        for layer in cache.image(f"oci:{layout}:image").layers:
            layer.fill("compressed")
        before = sorted((tmp_path / "far" / "blobs" / "sha256").iterdir())
        cache.export(named(tmp_path, "near"), f"oci:{tmp_path}/out:image", compression="zstd")
        cache.flush()
    assert sorted((tmp_path / "far" / "blobs" / "sha256").iterdir()) == before


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_a_registry_gets_it_and_containers_tools_find_the_same_tars(
    tmp_path: Path, registry: Registry, kind: str
) -> None:
    requires("skopeo")
    image = make_image(layers())
    done = exported(tmp_path, image, f"{kind}:1", f"docker://{registry.host}/team/app:1", platform=None)
    source = f"docker://{registry.host}/team/app:1"
    inspected = json.loads(run("skopeo", "inspect", "--tls-verify=false", "--raw", source))
    assert {each["mediaType"].rpartition("+")[2] for each in inspected["layers"]} == {kind}
    # It inflates each layer, and compares it with the diff ID. Plain tars would be gzipped, if not for "dir".
    options = ["--src-tls-verify=false", "--dest-decompress"]
    skopeo_copy(source, f"dir:{tmp_path}/tars", options)
    for made in image.layers:
        assert (tmp_path / "tars" / made.diff_id.hex).read_bytes() == made.tar
    with layercache.open(f"file://{tmp_path}/other") as cache:
        found = cache.image(f"{registry.host}/team/app:1")
        assert found.digest == done.digest
        for layer, made in zip(found.layers, image.layers, strict=True):
            with layer.uncompressed() as tar:
                assert tar.read() == made.tar


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_podman_loads_it(tmp_path: Path, kind: str) -> None:
    requires("podman")
    image = make_image(layers())
    exported(tmp_path, image, f"{kind}:1", platform=None)
    configuration = tmp_path / "containers.conf"  # not the machine's: all that podman writes stays here
    configuration.write_text(
        f'[engine]\ntmp_dir = "{tmp_path}/libpod"\nevents_logger = "none"\nlock_type = "file"\n'
        f'[network]\nnetwork_config_dir = "{tmp_path}/networks"\n'
    )
    # podman takes no --runroot of more than 50 characters: it is named as seen from the folder.
    stores = ["--root", f"{tmp_path}/store", "--runroot", "run", "--storage-driver", "vfs"]
    pull = ["pull", "--quiet", f"--signature-policy={trusting_policy(tmp_path)}", f"oci:{tmp_path}/out:image"]
    command = ("env", f"CONTAINERS_CONF={configuration}", "podman", *stores, *pull)
    assert run(*command, cwd=str(tmp_path)).strip() == image.config_digest.hex
