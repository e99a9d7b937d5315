"""Images that real programs pushed, through the cache, beside what real programs make of them."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise, write_layout
from servers.programs import requires, run, skopeo_copy
from servers.registry import PASSWORD, USER, Registry

import layercache
from layercache.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from servers.certificates import Certificate
    from servers.images import Image as Made
    from servers.images import Sample

    from layercache.images.image import Image


def assert_same(image: Image, made: Made) -> None:
    """Every layer of the pulled image is the made one's, in both forms, under both names."""
    assert image.digest == made.descriptor.digest
    assert [layer.digest for layer in image.layers] == [layer.digest for layer in made.layers]
    assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in made.layers]
    for layer, wanted in zip(image.layers, made.layers, strict=True):
        with layer.compressed() as blob, layer.uncompressed() as tar:
            assert blob.read() == wanted.blob
            assert tar.read() == wanted.tar


def assert_cached(cache: layercache.Cache, made: Made) -> None:
    """Every layer is served under both names, in both forms."""
    for wanted in made.layers:
        for name in (wanted.digest, wanted.diff_id):
            layer = cache.get(name)
            with layer.compressed() as blob, layer.uncompressed() as tar:
                assert blob.read() == wanted.blob
                assert tar.read() == wanted.tar


def test_what_skopeo_pushed_is_pulled_and_served_under_both_names(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    with layercache.open(tmp_path / "cache") as cache:
        assert_same(cache.image(name), sample.image)
        assert_cached(cache, sample.image)


def test_the_compressed_bytes_are_those_that_skopeo_pulls(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    skopeo_copy(
        f"docker://{name}", f"dir:{tmp_path / 'dir'}", ["--src-tls-verify=false", "--preserve-digests"]
    )
    with layercache.open(tmp_path / "cache") as cache:
        image = cache.image(name)
        for layer in image.layers:
            with layer.compressed() as blob:
                assert blob.read() == (tmp_path / "dir" / layer.digest.hex).read_bytes()


def test_by_digest_and_by_tag_it_is_the_same_image(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    by_digest = f"{registry.host}/team/app@{sample.image.descriptor.digest}"
    with layercache.open(tmp_path / "cache") as cache:
        assert_same(cache.image(by_digest), sample.image)
        assert cache.image(name).digest == cache.image(by_digest).digest


@pytest.mark.parametrize(("platform", "number"), [("linux/amd64", 0), ("linux/arm64", 1)])
def test_of_a_multi_platform_index_the_asked_platform_is_pulled(
    registry: Registry, sample: Sample, tmp_path: Path, platform: str, number: int
) -> None:
    name = registry.push(f"oci:{sample.layout}:index", "team/app:many")
    with layercache.open(tmp_path / "cache") as cache:
        assert_same(cache.image(name, platform=platform), sample.index.images[number])
        with pytest.raises(layercache.NotFoundError, match=r"linux/amd64.*linux/arm64"):
            cache.image(name, platform="linux/s390x")


def test_with_basic_auth_and_docker_logins_credentials(tmp_path: Path, sample: Sample) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        name = registry.push(f"oci:{sample.layout}:image", "private/app:1")
        login = tmp_path / "auth.json"
        run("skopeo", "login", "--authfile", str(login), "--tls-verify=false", f"--username={USER}",
            f"--password={PASSWORD}", registry.host)  # fmt: skip
        settings = RegistrySettings(auth_files=(str(login),))
        with layercache.open(tmp_path / "cache", registries=settings) as cache:
            assert_same(cache.image(name), sample.image)
        with (
            layercache.open(tmp_path / "other", registries=RegistrySettings()) as cache,
            pytest.raises(layercache.SourceError, match="login") as refused,
        ):
            cache.image(name)
        assert PASSWORD not in str(refused.value)


def test_over_tls_with_an_own_authority(tmp_path: Path, sample: Sample, certificate: Certificate) -> None:
    with Registry(tmp_path / "registry", tls=certificate) as registry:
        name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
        settings = RegistrySettings(ca_file=str(certificate.authority))
        with layercache.open(tmp_path / "cache", registries=settings) as cache:
            assert_same(cache.image(name), sample.image)


def test_the_trees_in_the_tars_are_what_umoci_unpacks(registry: Registry, tmp_path: Path) -> None:
    requires("umoci")
    files = {"etc/name": b"umoci", "usr/share/noise": noise(70_000), "empty": b""}
    layers = [make_layer(files), make_layer({"etc/name": b"upper", "opt/more": noise(9000, 2)})]
    layout = write_layout(tmp_path / "layout", {"image": make_image(layers)})
    name = registry.push(f"oci:{layout}:image", "team/app:1")
    bundle, tree = tmp_path / "bundle", tmp_path / "tree"
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:image", str(bundle))
    with layercache.open(tmp_path / "cache") as cache:
        for layer in cache.image(name).layers:
            with layer.uncompressed() as file, tarfile.open(fileobj=file) as tar:
                tar.extractall(tree, filter="data")
    assert tree_of(tree) == tree_of(bundle / "rootfs") != {}


def tree_of(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    return {os.path.relpath(path, root): Path(path).read_bytes() for path in paths}


@pytest.mark.parametrize("transport", ["oci", "docker-archive"])
def test_what_skopeo_wrote_to_disk_is_a_source_too(tmp_path: Path, transport: str) -> None:
    layers = [make_layer({"etc/name": b"lower"}), make_layer({"noise": noise(9000)}, "none")]
    layout = write_layout(tmp_path / "layout", {"image": make_image(layers)})
    written = f"{transport}:{tmp_path / 'written'}:team/app:1"
    skopeo_copy(f"oci:{layout}:image", written)
    with layercache.open("memory://") as cache:
        image = cache.image(written)
        assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in layers]
        for layer, wanted in zip(image.layers, layers, strict=True):
            with layer.uncompressed() as tar:
                assert tar.read() == wanted.tar
            assert wanted.diff_id in cache


def test_a_layer_of_ten_thousand_small_files_can_be_read_as_a_tar_while_it_comes(
    registry: Registry, tmp_path: Path
) -> None:
    layer = make_layer({f"file-{number}": bytes([number % 251]) * 100 for number in range(10_000)})
    layout = write_layout(tmp_path / "layout", {"image": make_image([layer])})
    name = registry.push(f"oci:{layout}:image", "team/app:1")
    with layercache.open(tmp_path / "cache") as cache:
        (pulled,) = cache.image(name).layers
        with pulled.uncompressed() as file, tarfile.open(fileobj=file, mode="r|") as tar:
            assert len([member for member in tar if member.isfile()]) == 10_000
        assert layer.diff_id in cache, "who read to the end marker has the layer"
