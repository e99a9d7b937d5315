"""Credentials as a user of the program meets them: warnings, errors, exit codes; never a secret."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from servers.lying import LyingRegistry, status
from servers.registry import PASSWORD, USER, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Sample

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def lying() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Writes the one file of credentials; gives its path."""
    path = tmp_path / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))

    def write(config: Any) -> str:
        path.write_text(json.dumps(config))
        return str(path)

    return write


def test_a_helper_that_is_missing_is_a_warning_where_the_image_is_public(
    cli: Caller, lying: LyingRegistry, sample: Sample, login: Callable[[Any], str]
) -> None:
    login({"credsStore": "absent"})
    name = lying.add_image("1", sample.image)
    lying.on("/manifests/", status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"'))
    lying.on("/token", status(200, b'{"token": "x"}'))
    called = cli("pull", name)
    warning = "warning: skipped docker-credential-absent: cannot be run: No such file or directory"
    assert called.stderr.count(warning) == 1
    assert len(called.stdout.splitlines()) == len(sample.image.layers)


def test_a_refused_password_is_reported_with_its_user_and_file(
    tmp_path: Path, cli: Caller, sample: Sample, login: Callable[[Any], str]
) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        name = registry.push(f"oci:{sample.layout}:image", "app:1")
        wrong = base64.b64encode(f"{USER}:{PASSWORD}-of-old".encode()).decode()
        path = login({"auths": {registry.host: {"auth": wrong}}})
        called = cli("--verbose", "pull", name, code=4)
        assert f"as the user {USER} (from {path}): 401" in called.stderr
        assert f"looked in  {path}" in called.stderr
        told = cli("doctor", name, code=4)
        assert f"the user {USER}, from {path}" in told.output
        assert f"refuses to give app as the user {USER}" in told.output
        assert f"looked in {path}" in told.output
        host = cli("doctor", registry.host, code=4)
        assert f"{registry.host} refuses the user {USER} (from {path}): 401" in host.output
        assert f"looked in {path}" in host.output
        for output in (called.output, told.output, host.output):
            assert PASSWORD not in output
            assert wrong not in output
        login({"auths": {registry.host: {"auth": AUTH}}})
        cli("pull", name)
        assert f"ms, the user {USER}" in cli("doctor", registry.host).output


def test_an_entry_that_is_broken_ends_with_4_and_no_trace_of_it(
    cli: Caller, lying: LyingRegistry, login: Callable[[Any], str]
) -> None:
    for auth in ("s3cretö", "s3cret\n", "s3crét"):
        path = login({"auths": {lying.host: {"auth": auth}}})
        lying.on("/manifests/", status(401, WWW_Authenticate="Basic realm=x"))
        called = cli("--verbose", "pull", f"{lying.host}/app:1", code=4)
        assert f"{path}: the entry of {lying.host} is not valid" in called.stderr
        assert "s3cr" not in called.output


@pytest.mark.parametrize("token", ["tok3n\n", "tok3n\r\nX: y", "tok3né", "tok3n x"])
def test_a_token_that_cannot_be_sent_ends_with_4_and_no_trace_of_it(
    token: str, cli: Caller, lying: LyingRegistry
) -> None:
    lying.on("/manifests/", status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"'))
    lying.on("/token", status(200, json.dumps({"token": token}).encode()))
    called = cli("--verbose", "pull", f"{lying.host}/app:1", code=4)
    assert "a token that no header can hold" in called.stderr
    assert "tok3n" not in called.output


def test_an_invalid_port_or_proxy_exits_with_2(cli: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (
        ["pull", "localhost:65536/app:1"],
        ["--cache", "oci://localhost:99999/cache", "ls"],
        ["--cache", "s3://bucket/x?endpoint_url=http://localhost:99999", "ls"],
        ["--cache", "gs://bucket/x?endpoint_url=http://localhost:99999", "ls"],
    ):
        cli(*arguments, code=2)
    for proxy in ("http://me:pa/55wd@proxy:1", "proxy:99999", "socks4://me:55wd@proxy"):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        called = cli("--verbose", "pull", "registry.example/app:1", code=2)
        assert "HTTPS_PROXY" in called.stderr
        shown = cli("config", "show")
        assert "55wd" not in called.output + shown.output


def test_doctor_warns_of_what_it_could_not_ask_and_names_where_it_looked(
    cli: Caller, lying: LyingRegistry, login: Callable[[Any], str]
) -> None:
    path = login({"credsStore": "absent"})
    told = cli.json("doctor", lying.host)
    (check,) = [each for each in told["subjects"][-1]["checks"] if each["check"] == "credentials"]
    assert check["result"] == "warning"
    assert f"looked in {path}, docker-credential-absent" in check["detail"]
    assert "docker-credential-absent: cannot be run" in check["detail"]
