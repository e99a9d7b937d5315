"""Real clients pull a private image by the mirror with their own credentials, and only with those."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from servers.daemons import containerd, dockerd
from servers.images import make_image, make_layer, noise, write_layout
from servers.mirror import Mirror
from servers.programs import requires, run
from servers.registry import PASSWORD, USER, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

IMAGE = make_image([make_layer({"secret": noise(100_000)}, "gzip")])


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A mirror of a registry that wants a password for ``team/app:1``."""
    folder = tmp_path_factory.mktemp("private")
    with Registry(folder / "registry", basic_auth=True) as registry:
        registry.push(f"oci:{write_layout(folder / 'layout', {'image': IMAGE})}:image", "team/app:1")
        with Mirror(folder / "mirror", config=f'default_upstream = "{registry.host}"') as running:
            yield running


def refused(*command: str) -> str:
    """Run a command that has to fail; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode
    return done.stdout + done.stderr


def test_skopeo_logs_in_at_the_mirror(mirror: Mirror, tmp_path: Path) -> None:
    requires("skopeo")
    auth, image = f"--authfile={tmp_path}/auth.json", f"docker://{mirror.host}/team/app:1"
    assert "unauthorized" in refused("skopeo", "inspect", "--raw", "--tls-verify=false", image)
    run("skopeo", "login", "--tls-verify=false", auth, "-u", USER, "-p", PASSWORD, mirror.host)
    assert run("skopeo", "inspect", "--raw", "--tls-verify=false", auth, image).encode() == IMAGE.manifest
    wrong = ("--creds", f"{USER}:guessed")
    assert "unauthorized" in refused("skopeo", "inspect", "--raw", "--tls-verify=false", *wrong, image)


def test_docker_logs_in_at_the_mirror(mirror: Mirror, tmp_path: Path) -> None:
    with dockerd() as host:
        docker = ("docker", "--config", str(tmp_path), "--host", host)
        assert "unauthorized" in refused(*docker, "pull", f"{mirror.host}/team/app:1")
        run(*docker, "login", "-u", USER, "-p", PASSWORD, mirror.host)
        run(*docker, "pull", "--quiet", f"{mirror.host}/team/app:1")
        found = run(*docker, "image", "inspect", "--format", "{{.Id}}", f"{mirror.host}/team/app:1")
        assert found.strip() == IMAGE.config_digest


def test_containerd_sends_a_password_when_it_is_asked(mirror: Mirror) -> None:
    with containerd() as address:
        pull = ("ctr", "--address", address, "content", "fetch", "--plain-http")
        assert "401" in refused(*pull, f"{mirror.host}/team/app:1")
        assert "401" in refused(*pull, "--user", f"{USER}:guessed", f"{mirror.host}/team/app:1")
        run(*pull, "--user", f"{USER}:{PASSWORD}", f"{mirror.host}/team/app:1")
