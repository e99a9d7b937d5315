"""Docker's configuration and its helpers are read as Docker reads them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from servers.programs import requires

from layercache.errors import SourceError
from layercache.sources.credentials import NOT_FOUND, Credential, find_credential
from layercache.sources.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "open sesame"
AUTH = base64.b64encode(f"me:{SECRET}".encode()).decode()
ME = Credential("me", SECRET)


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., Credential | None]:
    """Looks a registry up in a configuration."""

    def look(config: Any, registry: str, repository: str = "") -> Credential | None:
        path = tmp_path / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        return find_credential(RegistrySettings(docker_config=str(path)), registry, repository)

    return look


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script into the PATH as docker-credential-test."""
    requires("sh")

    def install(script: str) -> None:
        program = tmp_path / "bin" / "docker-credential-test"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return install


def test_without_a_configuration_we_are_nobody(tmp_path: Path) -> None:
    assert find_credential(RegistrySettings(), "ghcr.io") is None
    assert find_credential(RegistrySettings(docker_config=str(tmp_path / "absent.json")), "ghcr.io") is None


@pytest.mark.parametrize("config", [{}, "", {"auths": None}, {"auths": {"ghcr.io": {}}}, {"HttpHeaders": {}}])
def test_a_configuration_that_knows_nothing_of_a_registry_leaves_us_nobody(
    config: Any, find: Callable[..., Credential | None]
) -> None:
    assert find(config, "ghcr.io") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v1/", "ghcr.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_a_registry_is_found_under_the_names_that_docker_gives_it(
    key: str, registry: str, find: Callable[..., Credential | None]
) -> None:
    assert find({"auths": {key: {"auth": AUTH}}}, registry) == ME
    assert find({"auths": {key: {"auth": AUTH}}}, "example.com") is None


def test_a_password_may_hold_a_colon_and_an_identity_token_comes_before_it(
    find: Callable[..., Credential | None],
) -> None:
    auth = base64.b64encode(b"me:a:b").decode()
    assert find({"auths": {"ghcr.io": {"auth": auth}}}, "ghcr.io") == Credential("me", "a:b")
    entry = {"auth": AUTH, "identitytoken": "it"}
    assert find({"auths": {"ghcr.io": entry}}, "ghcr.io") == Credential("me", identity_token="it")


def test_the_longest_prefix_of_the_repository_counts(find: Callable[..., Credential | None]) -> None:
    other = base64.b64encode(b"other:x").decode()
    config = {"auths": {"ghcr.io": {"auth": other}, "ghcr.io/team": {"auth": AUTH}}}
    assert find(config, "ghcr.io", "team/app") == ME
    assert find(config, "ghcr.io", "teamwork/app") == Credential("other", "x")


@pytest.mark.parametrize(
    "auth", ["?", base64.b64encode(b"no colon").decode(), base64.b64encode(b"\xff:").decode()]
)
def test_an_entry_that_is_broken_is_told_without_what_it_holds(
    auth: str, find: Callable[..., Credential | None]
) -> None:
    with pytest.raises(SourceError, match=r"no valid user and password for ghcr\.io") as caught:
        find({"auths": {"ghcr.io": {"auth": auth}}}, "ghcr.io")
    assert "docker login ghcr.io" in caught.value.hint


@pytest.mark.parametrize("config", ["{", "[]", {"auths": {"ghcr.io": {"auth": 7}}}, {"credsStore": 7}])
def test_a_configuration_that_is_broken_is_told_with_its_path(
    config: Any, find: Callable[..., Credential | None]
) -> None:
    with pytest.raises(SourceError, match=r"config\.json is not valid"):
        find(config, "ghcr.io")


def test_a_configuration_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read"):
        find_credential(RegistrySettings(docker_config=str(tmp_path)), "ghcr.io")


def test_a_helper_is_asked_with_the_servers_name(
    helper: Callable[[str], None], find: Callable[..., Credential | None]
) -> None:
    helper("""printf '{"ServerURL": "", "Username": "%s", "Secret": "%s"}' "$1" "$(cat)" """)
    config = {"credHelpers": {"ghcr.io": "test"}}
    assert find(config, "ghcr.io") == Credential("get", "ghcr.io")
    assert find(config, "quay.io") is None
    assert find({"credsStore": "test"}, "docker.io") == Credential("get", "https://index.docker.io/v1/")


def test_a_helpers_identity_token_is_known_by_its_user(
    helper: Callable[[str], None], find: Callable[..., Credential | None]
) -> None:
    helper("""echo '{"Username": "<token>", "Secret": "it"}'""")
    assert find({"credsStore": "test"}, "ghcr.io") == Credential(identity_token="it")


def test_what_a_helper_does_not_know_may_be_in_the_file(
    helper: Callable[[str], None], find: Callable[..., Credential | None]
) -> None:
    helper(f"echo '{NOT_FOUND}'; exit 1")
    assert find({"credsStore": "test"}, "ghcr.io") is None
    assert find({"credsStore": "test", "auths": {"ghcr.io": {"auth": AUTH}}}, "ghcr.io") == ME


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'the keychain is locked'; exit 1",
            "docker-credential-test failed for ghcr.io with exit status 1",
        ),
        (f"echo '{SECRET}'", "docker-credential-test gave no valid answer"),
        ("""echo '{"Username": 1}'""", "docker-credential-test gave no valid answer"),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(
    script: str, message: str, helper: Callable[[str], None], find: Callable[..., Credential | None]
) -> None:
    helper(script)
    with pytest.raises(SourceError, match=message) as caught:
        find({"credsStore": "test"}, "ghcr.io")
    assert SECRET not in str(caught.value)


def test_a_missing_helper_is_named_with_the_file_that_names_it(
    find: Callable[..., Credential | None],
) -> None:
    with pytest.raises(SourceError, match="docker-credential-absent") as caught:
        find({"credsStore": "absent"}, "ghcr.io")
    assert "config.json" in caught.value.hint


def test_a_helper_is_a_program_in_the_path_and_no_other_file(find: Callable[..., Credential | None]) -> None:
    with pytest.raises(SourceError, match="not a credential helper"):
        find({"credsStore": "x/../../../tmp/evil"}, "ghcr.io")
