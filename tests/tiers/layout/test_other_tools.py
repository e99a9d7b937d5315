"""Other programs read a cache as the OCI image layout that it is, also while it is written to: layout.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise, sample_layers, write_dir
from servers.programs import requires, run, skopeo_copy, trusting_policy
from tiers.layout.caches import adopted, named

import layercache
from layercache.oci.descriptor import DOCKER_MANIFEST, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Image, Sample
    from servers.registry import Registry

pytestmark = pytest.mark.slow

NAME = "registry.example:5000/team/app:1.0"


@pytest.fixture
def image() -> Image:
    return make_image([make_layer({"etc/name": b"lower"}), make_layer({"noise": noise(9000)})])


_WRITER = """
import io, sys
import layercache
from servers.images import make_layer
number = 0
while number < 40:
    with layercache.open(sys.argv[1]) as cache:
        cache.put(io.BytesIO(make_layer({"name": f"{sys.argv[2]} {number}".encode()}).blob))
    if not number:
        print("begun", flush=True)
    number += 1
"""


@pytest.fixture
def busy(tmp_path: Path, image: Image) -> Iterator[Path]:
    """A cache with an image, to which twenty processes write all the time."""
    folder = adopted(
        tmp_path / "busy", {NAME: image, "registry.example/other:1": make_image(sample_layers(7))}
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), str(number)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
        )
        for number in range(20)
    ]
    try:
        assert writers[0].stdout is not None
        assert writers[0].stdout.readline() == b"begun\n"
        yield folder
        assert all(writer.poll() in (None, 0) for writer in writers)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_skopeo_copies_and_inspects_while_twenty_processes_write(
    busy: Path, tmp_path: Path, image: Image
) -> None:
    for number in range(5):
        skopeo_copy(f"oci:{busy}:{NAME}", f"dir:{tmp_path}/{number}", ["--preserve-digests"])
        assert (tmp_path / str(number) / "manifest.json").read_bytes() == image.manifest
        told = json.loads(run("skopeo", "inspect", f"oci:{busy}:{NAME}"))
        assert told["Digest"] == image.descriptor.digest


def test_umoci_unpacks_while_twenty_processes_write(busy: Path, tmp_path: Path) -> None:
    requires("umoci")
    for number in range(3):
        run("umoci", "unpack", "--rootless", "--image", f"{busy}:{NAME}", f"{tmp_path}/{number}")
        assert (tmp_path / str(number) / "rootfs" / "etc" / "name").read_bytes() == b"lower"


def test_buildah_and_podman_pull_while_twenty_processes_write(
    busy: Path, tmp_path: Path, image: Image
) -> None:
    requires("buildah", "podman")
    configuration = tmp_path / "containers.conf"  # not the machine's: all that podman writes stays here
    configuration.write_text(
        f'[engine]\ntmp_dir = "{tmp_path}/libpod"\nevents_logger = "none"\nlock_type = "file"\n'
        f'[network]\nnetwork_config_dir = "{tmp_path}/networks"\n'
    )
    pull = ["pull", "--quiet", f"--signature-policy={trusting_policy(tmp_path)}", f"oci:{busy}:{NAME}"]

    def call(program: str, *arguments: str) -> str:
        # podman takes no --runroot of more than 50 characters: it is named as seen from the folder
        stores = ["--storage-driver", "vfs", "--root", f"{tmp_path}/{program}", "--runroot", f"{program}-run"]
        settings = f"CONTAINERS_CONF={configuration}"
        return run("env", settings, program, *stores, *arguments, cwd=str(tmp_path)).strip()

    assert call("buildah", *pull) == image.config_digest.hex
    assert call("podman", *pull) == image.config_digest.hex
    (told,) = json.loads(call("podman", "image", "inspect", image.config_digest.hex))
    assert (told["Id"], told["Digest"]) == (image.config_digest.hex, image.descriptor.digest)
    assert told["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]


@pytest.mark.parametrize("which", ["image", "index"])
def test_from_a_registry_through_the_cache_and_skopeo_to_a_registry_all_digests_stay(
    registry: Registry, sample: Sample, tmp_path: Path, which: str
) -> None:
    made = sample.image if which == "image" else sample.index
    name = registry.push(f"oci:{sample.layout}:{which}", "team/app:1")
    with layercache.open(tmp_path / "cache") as cache:
        for image in cache.platforms(name):
            for layer in image.layers:
                layer.fill("both")
    assert named(tmp_path / "cache") == {name: made.descriptor.digest}
    back = registry.push(f"oci:{tmp_path}/cache:{name}", "team/back:1")
    with layercache.open(tmp_path / "second") as cache:
        images = cache.platforms(back)
        wanted = [sample.image] if which == "image" else sample.index.images
        assert [image.digest for image in images] == [each.descriptor.digest for each in wanted]
        for image, each in zip(images, wanted, strict=True):
            assert [layer.digest for layer in image.layers] == [layer.digest for layer in each.layers]
        root = next(cache.tiers[0].images.scan())[1]
        assert root.digest == made.descriptor.digest


def test_what_skopeo_copies_into_a_cache_becomes_its_own(tmp_path: Path, image: Image) -> None:
    folder = adopted(tmp_path / "cache", {NAME: make_image(sample_layers(7))})
    skopeo_copy(
        f"oci:{adopted(tmp_path / 'other', {'app': image})}:app",
        f"oci:{folder}:registry.example/skopeo:1",
        ["--preserve-digests"],
    )
    with layercache.open(folder, offline=True) as cache:
        cache.put(_file(tmp_path, b"a change"))
    assert set(named(folder)) == {NAME, "registry.example/skopeo:1"}
    with layercache.open(folder, offline=True) as cache:
        assert cache.image("registry.example/skopeo:1").digest == image.descriptor.digest
        assert cache.get(image.layers[0].diff_id).digest == image.layers[0].digest


def test_an_image_of_dockers_schema_2_is_kept_and_listed_as_it_is(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"dir:{write_dir(tmp_path / 'docker', sample.docker)}", "team/docker:2")
    with layercache.open(tmp_path / "cache") as cache:
        for layer in cache.image(name).layers:
            layer.fill("compressed")
    digest = sample.docker.descriptor.digest
    assert named(tmp_path / "cache") == {name: digest}
    assert (tmp_path / "cache" / "blobs" / "sha256" / digest.hex).read_bytes() == sample.docker.manifest
    entries = json.loads((tmp_path / "cache" / "index.json").read_bytes())["manifests"]
    types = {entry["mediaType"] for entry in entries}
    assert DOCKER_MANIFEST in types
    assert OCI_MANIFEST not in types


def _file(folder: Path, text: bytes) -> Path:
    path = folder / "layer.tar.gz"
    path.write_bytes(make_layer({"name": text}).blob)
    return path
