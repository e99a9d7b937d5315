"""Real clients pull through the mirror, set up as docs/mirror.md says: cold, warm, the upstream stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.pages import ROOT, blocks
from servers.daemons import containerd, dockerd
from servers.images import make_image, make_layer, noise, write_layout
from servers.mirror import Mirror
from servers.programs import requires, run, trusting_policy
from servers.registry import PASSWORD, USER, Registry
from servers.stores import make_bucket
from servers.tokens import TokenServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.certificates import Certificate

pytestmark = pytest.mark.slow

IMAGE = make_image(
    [make_layer({"etc/os-release": b"NAME=Alpine\n"}), make_layer({"more": noise(300_000)}, "gzip")]
)
BLOBS = [IMAGE.config_digest, *(layer.digest for layer in IMAGE.layers)]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("layout"), {"image": IMAGE})


@pytest.fixture
def hub(tmp_path: Path, layout: Path) -> Iterator[Registry]:
    """Docker Hub, with one image."""
    with Registry(tmp_path / "hub") as running:
        running.push(f"oci:{layout}:image", "library/alpine:latest")
        yield running


@pytest.fixture
def mirror(tmp_path: Path, hub: Registry) -> Iterator[Mirror]:
    config = f'default_upstream = "{hub.host}"\ntag_age = 0\nupstream_timeout = 2\naccess_age = 1'
    with Mirror(tmp_path / "mirror", config=config) as running:
        yield running


def settings(heading: str, mirror: Mirror) -> str:
    """The settings that docs/mirror.md has below a heading, for this mirror."""
    (found,) = [each.text for each in blocks(ROOT / "docs" / "mirror.md") if each.heading == heading]
    assert "mirror.example.com:5000" in found
    return found.replace("mirror.example.com:5000", mirror.host)


def pulled_three_times(pull: Callable[[], str], hub: Registry) -> None:
    """Cold, warm, and from a mirror whose upstream is gone: the same image, each blob fetched once."""
    for _ in range(2):
        assert pull() == IMAGE.config_digest
    assert [hub.fetches(blob) for blob in BLOBS] == [1] * len(BLOBS)
    hub.stop()
    assert pull() == IMAGE.config_digest


def test_skopeo_copies_an_image(mirror: Mirror, hub: Registry, tmp_path: Path) -> None:
    requires("skopeo")

    def pull() -> str:
        source = f"docker://{mirror.host}/library/alpine:latest"
        target = f"dir:{tmp_path / 'copied'}"
        run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", source, target)
        manifest = json.loads((tmp_path / "copied" / "manifest.json").read_text())
        return str(manifest["config"]["digest"])

    pulled_three_times(pull, hub)


@pytest.fixture
def storage(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Settings of podman and buildah, by which they ask the mirror for Docker Hub; options for folders."""
    conf = tmp_path / "registries.conf"
    conf.write_text(settings("podman, buildah, skopeo", mirror))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "containers").mkdir(parents=True)
    trusting_policy(tmp_path / "config" / "containers")
    run_root = tempfile.mkdtemp(prefix="lc-")  # podman wants a name of 50 characters at most
    yield ["--root", str(tmp_path / "storage"), "--runroot", run_root, "--storage-driver", "vfs"]
    shutil.rmtree(run_root, ignore_errors=True)


@pytest.mark.parametrize("program", ["podman", "buildah"])
def test_podman_and_buildah_pull_from_docker_hub_by_the_mirror(
    program: str, hub: Registry, storage: list[str], tmp_path: Path
) -> None:
    requires(program)
    policy = ["--signature-policy", str(tmp_path / "config" / "containers" / "policy.json")]

    def pull() -> str:
        run(program, *storage, "rmi", "--all", "--force")
        run(program, *storage, "pull", *policy, "--quiet", "docker.io/library/alpine:latest")
        listed = run(program, *storage, "images", "--quiet", "--no-trunc").strip()
        return f"sha256:{listed.removeprefix('sha256:')}"

    pulled_three_times(pull, hub)


def test_docker_pulls_from_docker_hub_by_the_mirror(mirror: Mirror, hub: Registry, tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text(settings("Docker", mirror))
    with dockerd(f"--config-file={tmp_path}/daemon.json") as host:

        def docker(*command: str) -> str:
            return run("docker", "--host", host, *command).strip()

        def pull() -> str:
            if docker("images", "--quiet"):
                docker("rmi", "--force", "alpine")
            docker("pull", "--quiet", "alpine")
            return docker("image", "inspect", "--format", "{{.Id}}", "alpine")

        pulled_three_times(pull, hub)


def test_buildkit_in_the_docker_daemon_takes_base_images_by_the_mirror(
    hub: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the registry of each request. The client is Debian's, which has no need of buildx."""
    client = "/usr/bin/docker"
    requires(client)
    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM alpine\nCOPY Dockerfile /\n")
    docker_hub = f'[registries."docker.io"]\nmirrors = ["{hub.host}"]'
    with Mirror(
        tmp_path / "mirror",
        more_config=docker_hub,
        config='inside = ["127.0.0.1"]\nreaders = ["docker.io/*=*"]',
    ) as mirror:
        (tmp_path / "daemon.json").write_text(settings("Docker", mirror))
        with dockerd(f"--config-file={tmp_path}/daemon.json") as host:
            run(client, "--host", host, "build", "--tag", "built", str(context))
            format = '{{join .RootFS.Layers " "}}'
            layers = run(client, "--host", host, "image", "inspect", "--format", format, "built").split()
    assert layers[:-1] == [layer.diff_id for layer in IMAGE.layers]
    assert [hub.fetches(blob) for blob in BLOBS] == [1] * len(BLOBS)


def test_containerd_names_the_registry_of_each_request(mirror: Mirror, hub: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "certs.d" / hub.host
    folder.mkdir(parents=True)
    text = settings("containerd", mirror).replace("https://ghcr.io", f"http://{hub.host}")
    (folder / "hosts.toml").write_text(text)
    name = f"{hub.host}/library/alpine:latest"
    with containerd() as address:

        def ctr(*command: str) -> str:
            return run("ctr", "--address", address, *command)

        def pull() -> str:
            ctr("images", "rm", "--sync", name)
            hosts = ["--hosts-dir", str(tmp_path / "certs.d"), "--snapshotter", "native"]
            ctr("images", "pull", "--plain-http", *hosts, name)
            manifest = json.loads(ctr("content", "get", IMAGE.descriptor.digest))
            return str(manifest["config"]["digest"])

        pulled_three_times(pull, hub)


def test_curl_continues_a_blob_where_it_ended(mirror: Mirror, tmp_path: Path) -> None:
    requires("curl")
    layer, part = IMAGE.layers[1], tmp_path / "part"
    mirror.get("/v2/library/alpine/manifests/latest")
    part.write_bytes(layer.blob[:1000])
    url = f"http://{mirror.host}/v2/library/alpine/blobs/{layer.digest}"
    run("curl", "--silent", "--fail", "--continue-at", "-", "--output", str(part), url)
    assert part.read_bytes() == layer.blob


@pytest.mark.parametrize("kind", ["basic", "token", "tls"])
def test_upstreams_with_credentials_and_tls_are_fetched_with_the_mirrors_own(
    kind: str, tmp_path: Path, layout: Path, certificate: Certificate
) -> None:
    requires("skopeo")
    with TokenServer(tmp_path / "tokens", anonymous=False) as tokens:
        options = {
            "basic": {"basic_auth": True},
            "token": {"token_auth": tokens.registry_options},
            "tls": {"tls": certificate},
        }[kind]
        with Registry(tmp_path / "registry", **options) as registry:  # type: ignore[arg-type]
            registry.push(f"oci:{layout}:image", "team/app:1")
            auth = tmp_path / "auth.json"
            login = {"username": USER, "password": PASSWORD}
            auth.write_text(json.dumps({"auths": {registry.host: login}}))
            config = f'default_upstream = "{registry.host}"\nreaders = ["*=*"]\ninside = ["127.0.0.1"]'
            more = f'[registries."{registry.host}"]\n'
            more += f'ca_file = "{certificate.authority}"' if kind == "tls" else ""
            environment = {"REGISTRY_AUTH_FILE": str(auth)}
            with Mirror(
                tmp_path / "mirror", config=config, more_config=more, environment=environment
            ) as mirror:
                source = f"docker://{mirror.host}/team/app:1"
                for number in range(2):
                    target = f"dir:{tmp_path / str(number)}"
                    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", source, target)
                assert [registry.fetches(blob) for blob in BLOBS] == [1] * len(BLOBS)


def test_fifty_clients_of_two_mirrors_with_one_bucket_cost_one_fetch(
    tmp_path: Path, hub: Registry, seaweedfs_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mirror with two workers; the layer is big enough for a lease."""
    requires("curl")
    big = make_image([make_layer({"big": noise(6_000_000, 7)}, "gzip")])
    folder = write_layout(tmp_path / "big", {"image": big})
    hub.push(f"oci:{folder}:image", "library/big:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    bucket = make_bucket(seaweedfs_endpoint)
    digest = big.layers[0].digest

    def mirror(name: str) -> Mirror:
        near = f"file://{tmp_path}/{name}/cache"
        tiers = [near, f"s3://{bucket}/cache?endpoint_url={seaweedfs_endpoint}"]
        config = f'default_upstream = "{hub.host}"\nworkers = 2'
        return Mirror(tmp_path / name, config=config, tiers=tiers)

    with mirror("one") as one, mirror("two") as two, ThreadPoolExecutor(50) as clients:

        def pull(number: int) -> bytes:
            asked = (one, two)[number % 2]
            assert asked.get("/v2/library/big/manifests/1").status == 200
            return asked.get(f"/v2/library/big/blobs/{digest}").body

        assert set(clients.map(pull, range(50))) == {big.layers[0].blob}
    assert hub.fetches(digest) == 1


def test_a_worker_that_is_killed_while_it_fetches_costs_its_clients_and_nobody_else(
    tmp_path: Path, hub: Registry
) -> None:
    requires("curl", "pgrep")
    big = make_image([make_layer({"big": noise(8_000_000, 8)}, "gzip")])
    hub.push(f"oci:{write_layout(tmp_path / 'big', {'image': big})}:image", "library/big:1")
    digest, blob = big.layers[0].digest, big.layers[0].blob
    with Mirror(tmp_path / "mirror", config=f'default_upstream = "{hub.host}"') as mirror:
        assert mirror.get("/v2/library/big/manifests/1").status == 200
        path = f"/v2/library/big/blobs/{digest}"
        begun = subprocess.Popen(
            ["curl", "--silent", "--limit-rate", "1M", "--output", "/dev/null", f"http://{mirror.host}{path}"]
        )
        (worker,) = map(int, run("pgrep", "-P", str(mirror.pid)).split())
        os.kill(worker, 9)
        begun.wait()
        deadline = 50
        while deadline:
            deadline -= 1
            try:
                if mirror.get(path).body == blob:
                    break
            except OSError:
                continue
        assert deadline, "another worker serves it"
        stored = tmp_path / "mirror" / "cache" / "blobs" / "sha256" / digest.hex
        assert stored.read_bytes() == blob
    assert not list(mirror.folder.glob("layercache-serve-*")), "what it left goes with the mirror"
