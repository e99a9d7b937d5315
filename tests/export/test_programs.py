"""Docker, podman, containerd and others take images out of the cache, by the commands of docs/images.md.

The programs are the real ones, each with folders of the test's own.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from fixtures.pages import ROOT, blocks
from fixtures.workplace import LAUNCHERS, Workplace
from servers.daemons import containerd, dockerd
from servers.images import make_image, make_layer, noise, sample_layers, write_dir, write_layout
from servers.programs import requires
from servers.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.slow

IMAGE = make_image(
    [make_layer({"etc/os-release": b"NAME=Alpine\n"}), make_layer({"more": noise(50_000)}, "none")]
)
ALPINE = "docker.io/library/alpine:latest"


def commands(heading: str, page: str = "images.md") -> str:
    """The shell blocks below a heading of a page."""
    found = [each.text for each in blocks(ROOT / "docs" / page) if each.heading == heading]
    assert found
    return "\n".join(f"({text})" for text in found if text)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Docker Hub, with one image."""
    folder = tmp_path_factory.mktemp("hub")
    layout = write_layout(folder / "layout", {"image": IMAGE})
    with Registry(folder / "registry") as running:
        running.push(f"oci:{layout}:image", "library/alpine:latest")
        yield running


@pytest.fixture
def workplace(tmp_path: Path, hub: Registry) -> Workplace:
    """A reader who has pulled alpine, and whose programs are the real ones."""
    made = Workplace.with_programs(tmp_path, hub.host)
    made.run("layercache pull alpine && layercache index")
    return made


@pytest.fixture(scope="module")
def docker_host() -> Iterator[str]:
    with dockerd() as host:
        yield host


@pytest.fixture(scope="module")
def containerd_address() -> Iterator[str]:
    with containerd() as address:
        yield address


def test_docker_has_the_image_with_its_id(workplace: Workplace, docker_host: str) -> None:
    workplace.environment["DOCKER_HOST"] = docker_host
    assert workplace.run(commands("Docker")).count("Loaded image: alpine:latest") == 1
    for name in ("alpine:latest", "my/alpine:1"):
        (found,) = json.loads(workplace.run(f"docker image inspect {name}"))
        assert found["Id"] == IMAGE.config_digest
        assert found["RootFS"]["Layers"] == [layer.diff_id for layer in IMAGE.layers]
    workplace.run("docker rmi --force alpine my/alpine:1")
    workplace.run("layercache export alpine oci-archive:- | docker load")
    (found,) = json.loads(workplace.run("docker image inspect alpine"))
    assert found["Id"] == IMAGE.config_digest


def test_what_docker_saves_comes_back_with_its_layers(workplace: Workplace, docker_host: str) -> None:
    workplace.environment["DOCKER_HOST"] = docker_host
    workplace.run("layercache export alpine docker-daemon:saved:1")
    workplace.run("docker save saved:1 | layercache --cache ./other pull docker-archive:-")
    for layer in IMAGE.layers:
        printed = workplace.run(f"layercache --cache ./other get {layer.diff_id} | sha256sum")
        assert printed.startswith(layer.diff_id.hex)


def podman_images(workplace: Workplace) -> dict[str, tuple[str, str]]:
    """Digest and ID of each image of podman, by name."""
    listed = json.loads(workplace.run("podman images --format json"))
    return {name: (each["Digest"], f"sha256:{each['Id']}") for each in listed for name in each["Names"]}


@pytest.fixture
def podman(workplace: Workplace) -> Workplace:
    requires("podman", "skopeo")
    return workplace


def test_podman_has_the_image_with_its_digest(podman: Workplace) -> None:
    podman.run("layercache export alpine containers-storage:")
    podman.run("layercache export alpine containers-storage:localhost/my/alpine:1")
    wanted = IMAGE.descriptor.digest, IMAGE.config_digest
    assert podman_images(podman) == {ALPINE: wanted, "localhost/my/alpine:1": wanted}


def test_each_way_into_podman_works(podman: Workplace) -> None:
    printed = podman.run(commands("podman and buildah"))
    assert printed.count(f"Loaded image: {ALPINE}") == 2
    assert IMAGE.config_digest.hex in printed
    assert {found for _, found in podman_images(podman).values()} == {IMAGE.config_digest}


def test_skopeo_takes_podmans_place_where_it_is_alone(podman: Workplace, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(LAUNCHERS / "layercache", alone)
    for program in ("skopeo", "sh", "bash"):
        (alone / program).symlink_to(shutil.which(program) or "/absent")
    path, podman.environment["PATH"] = podman.environment["PATH"], str(alone)
    podman.run("layercache export alpine containers-storage:by/skopeo:1")
    podman.environment["PATH"] = path
    wanted = IMAGE.descriptor.digest, IMAGE.config_digest
    assert podman_images(podman) == {"docker.io/by/skopeo:1": wanted}
    (alone / "skopeo").unlink()
    podman.environment["PATH"] = str(alone)
    with pytest.raises(AssertionError, match="needs podman or skopeo"):
        podman.run("layercache export alpine containers-storage:")


def test_an_image_of_dockers_schema_goes_to_podman_too(
    podman: Workplace, tmp_path: Path, hub: Registry
) -> None:
    image = make_image(sample_layers(docker=True), docker=True)
    hub.push(f"dir:{write_dir(tmp_path / 'docker', image)}", "library/old:1")
    podman.run("layercache pull old:1 && layercache export old:1 containers-storage:")
    assert podman_images(podman)["docker.io/library/old:1"][1] == image.config_digest


def test_what_podman_refuses_is_reported_in_its_words(podman: Workplace) -> None:
    (podman.home / ".config" / "containers" / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    with pytest.raises(AssertionError, match=r"podman did not load .*alpine:latest: [\s\S]*reject"):
        podman.run("layercache export alpine containers-storage:")


def test_other_tools_read_the_cache_in_the_users_folder(podman: Workplace) -> None:
    requires("umoci", "buildah")
    printed = podman.run(commands("Other tools read it", "layout.md"))
    assert printed.count(f"\n{IMAGE.config_digest.hex}\n") == 2
    assert (podman.project / "bundle" / "rootfs" / "etc" / "os-release").exists()


def test_containerd_has_the_image_with_its_digest(workplace: Workplace, containerd_address: str) -> None:
    workplace.environment |= {
        "CONTAINERD_ADDRESS": containerd_address,
        "CONTAINERD_SNAPSHOTTER": "native",
    }
    workplace.run(commands("containerd"))
    listed = workplace.run("ctr image ls").splitlines()[1:]
    found = {line.split()[0]: line.split()[2] for line in listed}
    assert found == dict.fromkeys((ALPINE, ALPINE.replace("latest", "edge")), IMAGE.descriptor.digest)


def test_an_archive_brings_the_image_to_another_machine(workplace: Workplace) -> None:
    workplace.run(commands("Another machine"))
    for cache in ("./other", "./third"):
        for layer in IMAGE.layers:
            printed = workplace.run(f"layercache --cache {cache} get {layer.digest} | sha256sum")
            assert printed.startswith(layer.digest.hex)
