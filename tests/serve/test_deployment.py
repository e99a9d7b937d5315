"""docs/mirror: what starts the mirror as a service has a valid configuration, and does what pages promise."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fixtures.pages import ROOT

from layercache.config.opening import load
from layercache.serve.routes import route
from layercache.serve.settings import PORT, ServeSettings, settings_of
from layercache.units import parse_age, parse_size

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller

FOLDER = ROOT / "docs" / "mirror"
MANIFESTS = ("deployment.yaml", "daemonset.yaml")


def documents(name: str) -> dict[str, Any]:
    """The documents of a file, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / name).read_text())}


def pod_of(name: str) -> dict[str, Any]:
    found = documents(name)
    pod: dict[str, Any] = (found.get("Deployment") or found["DaemonSet"])["spec"]["template"]["spec"]
    return pod


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(FOLDER / name)
    return found


def test_every_file_of_the_folder_is_known_here_and_to_the_page() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {
        "config.toml",
        "layercache.socket",
        "layercache.service",
        "Containerfile",
        "compose.yaml",
        *MANIFESTS,
    }
    page = (ROOT / "docs" / "mirror.md").read_text()
    assert {name for name in files if f"(mirror/{name})" not in page} == set()


@pytest.mark.parametrize("name", ["config.toml", *MANIFESTS])
def test_the_configurations_are_valid_and_listen_beyond_loopback(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text()
    if name in MANIFESTS:
        text = documents(name)["ConfigMap"]["data"]["config.toml"]
    (tmp_path / "config.toml").write_text(text)
    configuration = load(tmp_path / "config.toml")
    settings = settings_of(configuration.serve())
    assert settings.address == "0.0.0.0"
    assert settings.default_upstream in settings.upstreams
    nearest = configuration.choose().tiers[0].value
    assert nearest.startswith("file:///var/cache/layercache?max_size=")
    if name in MANIFESTS:
        volumes = {each["name"]: each for each in pod_of(name)["volumes"]}
        room = parse_size(volumes["cache"]["emptyDir"]["sizeLimit"].replace("Gi", "GiB"))
        assert room > parse_size(nearest.partition("max_size=")[2])


def test_the_commands_are_those_of_the_program(cli: Caller, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    shutil.copy(FOLDER / "config.toml", config)
    lines = [unit("layercache.service")["Service"]["ExecStart"].partition(" ")[2].split()]
    entry = re.search(r'^ENTRYPOINT \["\S*/layercache", "(\w+)"\]$', containerfile(), re.MULTILINE)
    assert entry
    command = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["mirror"]["command"]
    lines.append([entry[1], *command])
    lines += [[entry[1], *pod_of(name)["containers"][0]["args"]] for name in MANIFESTS]
    for line in lines:
        assert line.count("/etc/layercache/config.toml") == 1
        arguments = [str(config) if each.startswith("/etc/") else each for each in line]
        assert cli(*arguments, "--check").stdout == "OK\n"


def test_each_waits_longer_for_the_end_than_the_mirror_for_its_clients() -> None:
    waits = [
        float(unit("layercache.service")["Service"]["TimeoutStopSec"]),
        parse_age(
            yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["mirror"]["stop_grace_period"]
        ),
        *(pod_of(name)["terminationGracePeriodSeconds"] for name in MANIFESTS),
    ]
    assert min(waits) > ServeSettings().stop_timeout


def containerfile() -> str:
    return (FOLDER / "Containerfile").read_text()


def test_containers_run_as_a_user_with_a_root_that_is_read_only() -> None:
    assert len(re.findall(r"^FROM ", containerfile(), re.MULTILINE)) == 2
    user = re.search(r"^USER (\d+):\d+$", containerfile(), re.MULTILINE)
    assert user
    assert int(user[1]) > 0
    assert f"EXPOSE {PORT}" in containerfile()
    mirror = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["mirror"]
    assert mirror["read_only"]
    assert "/tmp" in mirror["tmpfs"]
    for name in MANIFESTS:
        pod, (container,) = pod_of(name), pod_of(name)["containers"]
        assert pod["securityContext"]["runAsUser"] == int(user[1])
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
        assert writable == {"/var/cache/layercache", "/tmp"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_probes_and_ports_are_those_of_the_mirror(name: str) -> None:
    (container,) = pod_of(name)["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == PORT
    for probe, kind in (("readinessProbe", "ready"), ("livenessProbe", "health")):
        get = container[probe]["httpGet"]
        found = route(get["path"])
        assert found is not None
        assert (found.kind, get["port"]) == (kind, port["name"])
    if "DaemonSet" in documents(name):
        assert port["hostIP"] == "127.0.0.1", "other machines have a mirror of their own"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert unit("layercache.socket")["Socket"]["ListenStream"] == str(PORT)
    assert unit("layercache.service")["Service"]["KillMode"] == "mixed"
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze (Debian: systemd), not installed here")
    for name in ("layercache.socket", "layercache.service"):
        text = (FOLDER / name).read_text().replace("/opt/layercache/bin/layercache", "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
