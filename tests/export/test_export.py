"""Images that go through the cache and out again: the same digests, whoever reads them then."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any, Literal

import pytest
from export.kept import damage, keep
from servers.images import (
    Image,
    ImageIndex,
    make_image,
    make_index,
    make_layer,
    noise,
    sample_layers,
    write_dir,
    write_layout,
)
from servers.programs import requires, run, skopeo_copy

import layercache
from layercache.errors import (
    ConfigError,
    DigestMismatchError,
    InvalidNameError,
    NotALayerError,
    NotFoundError,
    SourceError,
)
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry

    from layercache.cache import Cache

FOREIGN = {
    "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "digest": f"sha256:{'f' * 64}",
    "size": 7,
    "urls": ["https://example.invalid/layer"],
}


def pull(registry: Registry, folder: Path, name: str) -> Cache:
    """A cache with an image in it, opened offline; its registry may go."""
    with layercache.open(f"file://{folder}") as cache:
        for layer in cache.image(name, platform="linux/amd64").layers:
            layer.fill("compressed")
    return layercache.open(f"file://{folder}", offline=True)


def entries(layout: Path) -> dict[str, str]:
    """The digests in index.json by reference name."""
    index: dict[str, Any] = json.loads((layout / "index.json").read_bytes())
    return {
        each.get("annotations", {}).get("org.opencontainers.image.ref.name", ""): each["digest"]
        for each in index["manifests"]
    }


def blob(layout: Path, digest: Digest) -> bytes:
    return (layout / "blobs" / digest.algorithm / digest.hex).read_bytes()


def assert_holds(layout: Path, image: Image | ImageIndex) -> None:
    for digest, data in image.blobs.items():
        assert blob(layout, digest) == data
    for digest, (_, document) in image.documents.items():
        assert blob(layout, digest) == document


# Round trips


@pytest.mark.parametrize("kind", ["image", "docker"])
def test_an_image_goes_from_a_registry_through_the_cache_and_skopeo_into_another_with_its_digest(
    registry: Registry, tmp_path: Path, sample: Sample, kind: str
) -> None:
    image: Image = getattr(sample, kind)
    name = registry.push(f"dir:{write_dir(tmp_path / 'dir', image)}", "team/app:1")
    with pull(registry, tmp_path / "cache", name) as cache:
        done = cache.export(name, f"oci:{tmp_path}/layout:v1")
    assert done.digest == image.descriptor.digest
    assert done.image_id == image.config_digest
    assert_holds(tmp_path / "layout", image)
    again = f"{registry.host}/team/copy:1"
    source = f"oci:{tmp_path}/layout:v1"
    if kind == "docker":  # containers/image makes an OCI image of what it reads in a layout
        return
    skopeo_copy(source, f"docker://{again}", ["--preserve-digests", "--dest-tls-verify=false"])
    inspected = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{again}"))
    assert inspected["Digest"] == image.descriptor.digest


@pytest.mark.parametrize("kind", ["image", "docker", "index"])
def test_an_image_goes_into_another_registry_byte_for_byte(
    cache: Cache, registry: Registry, tmp_path: Path, sample: Sample, kind: str
) -> None:
    image: Image | ImageIndex = getattr(sample, kind)
    name = keep(cache, image)
    target = f"{registry.host}/team/app:2"
    done = cache.export(name, f"docker://{target}", platform="all")
    assert done.digest == image.descriptor.digest
    assert done.blobs == len(image.blobs)
    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{target}")
    assert raw.encode() == image.manifest
    skopeo_copy(f"docker://{target}", f"dir:{tmp_path}/out", ["--src-tls-verify=false"])
    again = cache.export(name, f"docker://{target}", platform="all")
    assert (again.blobs, again.bytes) == (0, 0)


def test_an_index_goes_out_with_all_its_platforms(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.index)
    assert (
        cache.export(name, f"oci:{tmp_path}/layout", platform="all").digest == sample.index.descriptor.digest
    )
    assert_holds(tmp_path / "layout", sample.index)
    skopeo_copy(f"oci:{tmp_path}/layout:1", f"oci:{tmp_path}/copy:1", ["--preserve-digests"])
    assert entries(tmp_path / "copy") == {"1": sample.index.descriptor.digest}


def test_one_platform_of_an_index_goes_out_alone(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.index)
    arm = sample.index.images[1]
    done = cache.export(name, f"oci:{tmp_path}/layout", platform="linux/arm64")
    assert done.digest == arm.descriptor.digest
    assert_holds(tmp_path / "layout", arm)
    with pytest.raises(FileNotFoundError):
        blob(tmp_path / "layout", sample.index.images[0].descriptor.digest)
    with pytest.raises(NotFoundError, match="s390x"):
        cache.export(name, f"oci:{tmp_path}/layout", platform="linux/s390x")


def test_annotations_of_others_are_kept(cache: Cache, tmp_path: Path) -> None:
    image = make_image(sample_layers(7))
    document = json.loads(image.manifest) | {"annotations": {"com.example.whatever": "kept"}, "foo": [1]}
    data = json.dumps(document, indent=3).encode()
    image = Image(image.layers, image.platform, image.config, data, image.media_type)
    done = cache.export(keep(cache, image), f"oci:{tmp_path}/layout", platform="linux/amd64")
    assert done.digest == Digest.of(data)
    assert blob(tmp_path / "layout", done.digest) == data


@pytest.mark.parametrize("kind", ["image", "docker"])
def test_an_archive_has_the_images_id_and_diff_ids(
    cache: Cache, tmp_path: Path, sample: Sample, kind: str
) -> None:
    requires("skopeo")
    image: Image = getattr(sample, kind)
    name = keep(cache, image)
    archive = tmp_path / "image.tar"
    done = cache.export(name, f"docker-archive:{archive}:team/app:9", platform="linux/amd64")
    assert done.image_id == image.config_digest
    skopeo_copy(f"docker-archive:{archive}:team/app:9", f"dir:{tmp_path}/out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["config"]["digest"] == image.config_digest
    assert [each["digest"] for each in manifest["layers"]] == [layer.diff_id for layer in image.layers]
    for layer in image.layers:
        assert (tmp_path / "out" / layer.diff_id.hex).read_bytes() == layer.tar
    with layercache.open(f"file://{tmp_path}/another") as other:
        for found, layer in zip(other.image(f"docker-archive:{archive}").layers, image.layers, strict=True):
            with found.uncompressed() as stream:
                assert stream.read() == layer.tar


def test_the_same_image_gives_the_same_archive(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.image)
    for file in ("one.tar", "two.tar"):
        cache.export(name, f"docker-archive:{tmp_path}/{file}", platform="linux/amd64")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_layer_that_an_image_has_twice_stands_once_in_an_archive(cache: Cache, tmp_path: Path) -> None:
    layer, other = sample_layers(8)[:2]
    name = keep(cache, make_image([layer, other, layer]))
    cache.export(name, f"docker-archive:{tmp_path}/a.tar", platform="linux/amd64")
    assert (tmp_path / "a.tar").stat().st_size < 2 * len(layer.tar) + len(other.tar) + 4096
    skopeo_copy(f"docker-archive:{tmp_path}/a.tar", f"dir:{tmp_path}/out")


# Whichever form is there


def test_where_only_tars_are_left_an_archive_is_made_of_them(
    cache: Cache, tmp_path: Path, sample: Sample
) -> None:
    name = keep(cache, sample.image)
    for layer in cache.image(name, platform="linux/amd64").layers:
        layer.fill("uncompressed")
    for gone in sample.image.layers[:2]:
        cache.tiers[0].blobs.delete(gone.digest)
    cache.export(name, f"docker-archive:{tmp_path}/a.tar", platform="linux/amd64")
    skopeo_copy(f"docker-archive:{tmp_path}/a.tar", f"dir:{tmp_path}/out")


@pytest.mark.parametrize("target", ["oci:{folder}/layout", "docker://{host}/team/app:1"])
def test_a_layer_of_which_only_the_tar_is_left_is_named(
    cache: Cache, registry: Registry, tmp_path: Path, sample: Sample, target: str
) -> None:
    name = keep(cache, sample.image)
    for layer in cache.image(name, platform="linux/amd64").layers:
        layer.fill("uncompressed")
    cache.tiers[0].blobs.delete(sample.image.layers[0].digest)
    place = target.format(folder=tmp_path, host=registry.host)
    with pytest.raises(NotFoundError, match="only its tar") as caught:
        cache.export(name, place, platform="linux/amd64")
    assert sample.image.layers[0].diff_id in caught.value.message
    assert "pull" in caught.value.hint
    assert not (tmp_path / "layout" / "index.json").exists()


def test_a_platform_that_was_not_pulled_is_an_error(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.index)
    missing = sample.index.images[1].descriptor.digest
    cache.tiers[0].blobs.delete(missing)
    with pytest.raises(NotFoundError, match=str(missing)):
        cache.export(name, f"oci:{tmp_path}/layout", platform="all")
    cache.export(name, f"oci:{tmp_path}/layout", platform="linux/amd64")


def test_foreign_layers_are_left_out(cache: Cache, tmp_path: Path) -> None:
    image = make_image(sample_layers(9)[:1])
    document = json.loads(image.manifest)
    document["layers"].insert(0, FOREIGN)
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"].insert(0, f"sha256:{'e' * 64}")
    text = json.dumps(config).encode()
    document["config"] |= {"digest": Digest.of(text), "size": len(text)}
    image = Image(image.layers, image.platform, text, json.dumps(document).encode(), image.media_type)
    name = keep(cache, image)
    done = cache.export(name, f"oci:{tmp_path}/layout", platform="linux/amd64")
    assert (done.layers, done.foreign) == (1, 1)
    with pytest.raises(NotFoundError, match="foreign"):
        cache.export(name, f"docker-archive:{tmp_path}/a.tar", platform="linux/amd64")
    assert not (tmp_path / "a.tar").exists()


# Whole or not at all


@pytest.mark.parametrize("target", ["oci:{folder}/out/layout", "docker-archive:{folder}/out/a.tar"])
def test_wrong_bytes_in_the_cache_are_found_out_and_leave_what_was_there(
    cache: Cache, tmp_path: Path, sample: Sample, target: str
) -> None:
    (tmp_path / "out").mkdir()
    place = target.format(folder=tmp_path)
    good = keep(cache, make_image(sample_layers(5)), "good:1")
    cache.export(good, place, platform="linux/amd64")
    files = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    name = keep(cache, sample.image)
    damage(cache, tmp_path, sample.image.layers[2].digest)
    with pytest.raises(DigestMismatchError):
        cache.export(name, f"{place}:2" if target.startswith("oci") else place, platform="linux/amd64")
    assert not list((tmp_path / "out").rglob("*.part"))
    assert {path: path.read_bytes() for path in files} == files
    bad = tmp_path / "out" / "layout" / "blobs" / "sha256" / sample.image.layers[2].digest.hex
    assert not bad.exists()


def test_a_layout_is_added_to_and_other_entries_stay(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    layout = write_layout(tmp_path / "layout", {"theirs": sample.docker, "1": sample.docker})
    index = json.loads((layout / "index.json").read_bytes()) | {"annotations": {"com.example": "kept"}}
    (layout / "index.json").write_text(json.dumps(index))
    name = keep(cache, sample.image)
    for _ in range(2):
        cache.export(name, f"oci:{layout}", platform="linux/amd64")
    assert entries(layout) == {"theirs": sample.docker.descriptor.digest, "1": sample.image.descriptor.digest}
    assert json.loads((layout / "index.json").read_bytes())["annotations"] == {"com.example": "kept"}
    assert_holds(layout, sample.docker)


def test_an_entry_of_a_layout_stays_as_it_is_whatever_its_annotations_are(
    cache: Cache, tmp_path: Path, sample: Sample
) -> None:
    layout = write_layout(tmp_path / "layout", {"theirs": sample.docker})
    odd = [{"digest": "sha256:0", "annotations": each} for each in ("x", ["y"], None, 5)]
    index = json.loads((layout / "index.json").read_bytes()) | {"manifests": odd}
    (layout / "index.json").write_text(json.dumps(index))
    cache.export(keep(cache, sample.image), f"oci:{layout}", platform="linux/amd64")
    assert json.loads((layout / "index.json").read_bytes())["manifests"][:-1] == odd


def test_many_exports_into_one_layout_at_once_are_all_listed(
    cache: Cache, tmp_path: Path, sample: Sample
) -> None:
    name = keep(cache, sample.image)
    refs = [f"v{number}" for number in range(8)]
    threads = [
        threading.Thread(
            target=cache.export,
            args=(name, f"oci:{tmp_path}/layout:{ref}"),
            kwargs={"platform": "linux/amd64"},
        )
        for ref in refs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entries(tmp_path / "layout")) == refs
    assert not list((tmp_path / "layout").glob(".*"))


# What cannot be


@pytest.mark.parametrize(
    ("name", "target", "error"),
    [
        ("absent:1", "oci:{folder}/layout", NotFoundError),
        ("oci:/somewhere", "oci:{folder}/layout", ConfigError),
        ("app:1", "oci:", ConfigError),
        ("app:1", "oci:{folder}/file", ConfigError),
        ("app:1", "oci:/dev/null", ConfigError),
        ("app:1", "oci:{folder}/layout:not a ref", InvalidNameError),
        ("app:1", "oci:{folder}", SourceError),
        ("app:1", "docker-archive:{folder}/absent/a.tar", ConfigError),
        ("app:1", "docker-archive:{folder}", ConfigError),
        ("app:1", "oci-archive:{folder}", ConfigError),
        ("app:1", "docker-daemon:Upper", InvalidNameError),
        ("app:1", "docker://localhost:1/UPPER", InvalidNameError),
        ("app:1", f"docker://localhost:1/app@sha256:{'0' * 64}", InvalidNameError),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    cache: Cache, tmp_path: Path, sample: Sample, name: str, target: str, error: type[Exception]
) -> None:
    keep(cache, sample.image)
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "file").write_text("someone's")
    with pytest.raises(error):
        cache.export(name, target.format(folder=folder), platform="linux/amd64")
    assert os.listdir(folder) == ["file"]


def test_an_archive_holds_one_platform(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.index)
    with pytest.raises(ConfigError, match="one platform"):
        cache.export(name, f"docker-archive:{tmp_path}/a.tar", platform="all")


def test_what_is_no_image_is_not_for_docker_load(cache: Cache, tmp_path: Path) -> None:
    chart = make_image([make_layer({"chart": noise(50)})])
    document = json.loads(chart.manifest)
    document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    image = Image(chart.layers, chart.platform, chart.config, json.dumps(document).encode(), chart.media_type)
    name = keep(cache, image)
    with pytest.raises(NotALayerError):
        cache.export(name, f"docker-archive:{tmp_path}/a.tar")
    assert cache.export(name, f"oci:{tmp_path}/layout").digest == image.descriptor.digest


def test_an_index_that_names_no_image_is_nothing_to_choose_from(cache: Cache, tmp_path: Path) -> None:
    name = keep(cache, make_index([]))
    with pytest.raises(NotFoundError):
        cache.export(name, f"oci:{tmp_path}/layout")


def test_progress_ends_at_the_whole(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.image)
    steps: list[tuple[int, int]] = []

    def record(done: int, whole: int) -> None:
        steps.append((done, whole))

    for target in (f"oci:{tmp_path}/layout", f"oci:{tmp_path}/layout", f"docker-archive:{tmp_path}/a.tar"):
        steps.clear()
        cache.export(name, target, platform="linux/amd64", progress=record)
        whole = sum(len(layer.blob) for layer in sample.image.layers)
        assert steps[0] == (0, whole)
        assert steps[-1] == (whole, whole)


@pytest.mark.parametrize("verify", ["size", "always"])
@pytest.mark.parametrize("target", ["docker-archive:{folder}/a.tar", "oci:{folder}/layout"])
def test_what_rotted_nearby_is_put_aside_and_made_or_taken_from_elsewhere_in_the_same_export(
    tmp_path: Path, target: str, verify: Literal["size", "always"]
) -> None:
    image = make_image(sample_layers(1))
    near, far = tmp_path / "near", tmp_path / "far"
    seen = []
    with layercache.open([f"file://{near}", f"file://{far}"], offline=True, verify=verify) as cache:
        for tier in cache.tiers:
            for data in image.blobs.values():
                tier.blobs.put(Digest.of(data), data)
        name = keep(cache, image)
        for layer in image.layers:
            cache.get(layer.digest).fill("both")
            for blob, data in ((layer.digest, layer.blob), (layer.diff_id, layer.tar)):
                changed = bytearray(data)
                changed[-7] ^= 1
                with open(near / "blobs" / blob.algorithm / blob.hex, "r+b") as file:
                    file.write(changed)
        cache.export(
            name, target.format(folder=tmp_path), progress=lambda done, total: seen.append((done, total))
        )
        assert cache.counters.failed
    assert seen[-1][0] == seen[-1][1], "bytes that were wrong are not counted"
    with layercache.open(f"file://{tmp_path}/other") as other:
        exported = other.image(f"{target.format(folder=tmp_path)}", platform=None)
        for got, layer in zip(exported.layers, image.layers, strict=True):
            with got.uncompressed() as tar:
                assert tar.read() == layer.tar


def test_a_rotten_layer_is_not_pushed(registry: Registry, tmp_path: Path) -> None:
    image = make_image(sample_layers(1))
    with layercache.open([f"file://{tmp_path}/near", f"file://{tmp_path}/far"], offline=True) as cache:
        for data in image.blobs.values():
            cache.tiers[1].blobs.put(Digest.of(data), data)
        name = keep(cache, image)
        for layer in image.layers:
            with open(tmp_path / "near/blobs" / layer.digest.algorithm / layer.digest.hex, "r+b") as file:
                file.write(b"rot")
        cache.export(name, f"docker://{registry.host}/rotten:1")
        assert cache.counters.failed == len(image.layers)
