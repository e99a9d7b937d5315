"""Docker's configuration and its helpers are read as Docker reads them."""

from __future__ import annotations

import base64
import json
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from servers.programs import requires

from layercache.errors import SourceError
from layercache.registry.credential import Credential, UnavailableError
from layercache.registry.credential_helper import NOT_FOUND
from layercache.registry.credentials import find_login
from layercache.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "open sesame"
AUTH = base64.b64encode(f"me:{SECRET}".encode()).decode()
ME = Credential("me", SECRET)


def written(config: Any) -> bytes:
    return (config if isinstance(config, str) else json.dumps(config)).encode()


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., Credential | None]:
    """Looks a registry up in a configuration."""

    def look(config: Any, registry: str, repository: str = "") -> Credential | None:
        path = tmp_path / "config.json"
        path.write_bytes(written(config))
        return find_login(RegistrySettings(auth_files=(str(path),)), registry, repository).credential

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
    absent = (str(tmp_path / "absent.json"), str(tmp_path / "absent" / "absent.json"))
    assert find_login(RegistrySettings(), "ghcr.io").credential is None
    login = find_login(RegistrySettings(auth_files=absent), "ghcr.io")
    assert (login.credential, login.looked_in, login.problems) == (None, absent, ())


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
        ("http://ghcr.io/v2", "ghcr.io"),
        ("ghcr.io/v2/", "ghcr.io"),
        ("ghcr.io/", "ghcr.io"),
        ("GHCR.io", "ghcr.io"),
        *(
            (f"{scheme}{host}{path}", registry)
            for scheme in ("", "http://", "https://")
            for host in ("docker.io", "index.docker.io", "registry-1.docker.io")
            for path in ("", "/", "/v1", "/v1/", "/v2/")
            for registry in ("docker.io", "registry-1.docker.io")
        ),
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
    config = {"auths": {"ghcr.io": {"auth": other}, "ghcr.io/team": {"auth": AUTH}, "ghcr.io/team/a": {}}}
    assert find(config, "ghcr.io", "team/app") == ME
    assert find(config, "ghcr.io", "team") == ME
    assert find(config, "ghcr.io", "team/a") == ME, "an entry that has nothing counts for nothing"
    assert find(config, "ghcr.io", "teamwork/app") == Credential("other", "x")
    assert find(config, "ghcr.io") == Credential("other", "x")
    assert find({"auths": {"docker.io/library": {"auth": AUTH}}}, "docker.io", "library/alpine") == ME
    assert find({"auths": {"ghcr.io/team": {"auth": AUTH}}}, "ghcr.io", "other/app") is None


def test_of_several_names_of_docker_hub_the_one_that_docker_uses_counts(
    find: Callable[..., Credential | None],
) -> None:
    other = base64.b64encode(b"other:x").decode()
    auths = {
        "https://index.docker.io/v1/access-token": {"auth": other},
        "docker.io": {"auth": other},
        "https://index.docker.io/v1/": {"auth": AUTH},
    }
    assert find({"auths": auths}, "docker.io", "library/alpine") == ME


def test_base64_may_have_line_breaks_and_lack_its_padding(find: Callable[..., Credential | None]) -> None:
    long = base64.encodebytes(b"me:" + b"x" * 100).decode()
    assert "\n" in long[:-1]
    for auth in (long, long.replace("\n", "\r\n "), long.rstrip("=\n")):
        assert find({"auths": {"ghcr.io": {"auth": auth}}}, "ghcr.io") == Credential("me", "x" * 100)


def test_a_user_may_have_any_letters_and_is_sent_as_docker_sends_it(
    find: Callable[..., Credential | None],
) -> None:
    auth = base64.b64encode("zoë:pässword".encode()).decode()
    found = find({"auths": {"ghcr.io": {"auth": auth}}}, "ghcr.io")
    assert found == Credential("zoë", "pässword")
    assert found.basic == f"Basic {auth}"


@pytest.mark.parametrize(
    "broken", [None, 7, [], "x", {"auth": 7}, {"auth": "?"}, {"auth": "é"}, {"identitytoken": {}}]
)
def test_a_broken_entry_of_another_registry_does_no_harm(
    broken: Any, find: Callable[..., Credential | None]
) -> None:
    others = {"credHelpers": {"quay.io": broken}, "credsStore": None}
    auths = {"quay.io": broken, "ghcr.io/other": broken, "": broken, "ghcr.io": {"auth": AUTH}}
    assert find({"auths": auths, **others}, "ghcr.io", "team/app") == ME


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": "s3cret?"},
        {"auth": "s3cretö"},
        {"auth": base64.b64encode(b"s3cret").decode()},
        {"auth": base64.b64encode(b"\xff:s3cret").decode()},
        {"auth": {"s3cret": 1}},
        {"identitytoken": ["s3cret"]},
        "s3cret",
    ],
)
def test_the_entry_of_this_registry_that_is_broken_is_an_error_without_what_it_holds(
    entry: Any, find: Callable[..., Credential | None]
) -> None:
    with pytest.raises(SourceError, match=r"config\.json: the entry of ghcr\.io is not valid") as caught:
        find({"auths": {"ghcr.io": entry}}, "ghcr.io")
    assert "layercache login ghcr.io" in caught.value.hint
    text = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in text
    assert AUTH not in text


@pytest.mark.parametrize(
    "config",
    ["{", "[]", b"\xff", {"auths": []}, {"credsStore": 7}, {"credHelpers": "x"}, "[" * 100_000],
)
def test_a_file_that_cannot_be_used_is_passed_over_with_its_path(config: Any, tmp_path: Path) -> None:
    broken, good = tmp_path / "config.json", tmp_path / "auth.json"
    broken.write_bytes(config if isinstance(config, bytes) else written(config))
    good.write_bytes(written({"auths": {"ghcr.io": {"auth": AUTH}}}))
    login = find_login(RegistrySettings(auth_files=(str(broken), str(good))), "ghcr.io")
    assert login.credential == ME
    (problem,) = login.problems
    assert problem.message == f"{broken}: is not a valid file of credentials"


def test_a_file_that_cannot_be_read_is_passed_over_with_the_reason(tmp_path: Path) -> None:
    login = find_login(RegistrySettings(auth_files=(str(tmp_path),)), "ghcr.io")
    assert login.credential is None
    (problem,) = login.problems
    assert problem.message == f"{tmp_path}: cannot be read: Is a directory"


def test_the_first_file_with_an_entry_counts_and_the_others_are_not_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(4)]
    other = base64.b64encode(b"other:x").decode()
    files[0].write_bytes(written({"auths": {"quay.io": {"auth": other}, "ghcr.io": {}}}))
    files[2].write_bytes(written({"auths": {"ghcr.io": {"auth": AUTH}}}))
    files[3].write_text("{")
    login = find_login(RegistrySettings(auth_files=tuple(map(str, files))), "ghcr.io")
    assert login.credential == ME
    assert login.looked_in == tuple(map(str, files[:3]))
    assert not login.problems


def test_dockers_old_file_has_entries_and_nothing_around_them(tmp_path: Path) -> None:
    path = tmp_path / ".dockercfg"
    path.write_bytes(written({"https://ghcr.io/v1/": {"auth": AUTH, "email": None}}))
    assert find_login(RegistrySettings(auth_files=(str(path),)), "ghcr.io").credential == ME


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


@pytest.fixture
def failing(tmp_path: Path) -> Callable[..., UnavailableError]:
    """Why a helper could not be asked; its file has a password too, which is found all the same."""

    def look(config: dict[str, Any]) -> UnavailableError:
        path = tmp_path / "config.json"
        path.write_bytes(written({"auths": {"ghcr.io": {"auth": AUTH}}, **config}))
        login = find_login(RegistrySettings(auth_files=(str(path),)), "ghcr.io")
        assert login.credential == ME
        path.write_bytes(written(config))
        login = find_login(RegistrySettings(auth_files=(str(path),)), "ghcr.io")
        assert login.credential is None
        (problem,) = login.problems
        return problem

    return look


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            f"echo 'the keychain is locked, {SECRET}'; exit 1",
            "docker-credential-test: failed for ghcr.io with exit status 1",
        ),
        (f"echo '{SECRET}'", "docker-credential-test: did not return a valid answer for ghcr.io"),
        ("", "docker-credential-test: did not return a valid answer for ghcr.io"),
        (f"""echo '{{"Username": 1, "Secret": "{SECRET}"}}'""", "did not return a valid answer"),
        (r"""printf '{"Username": "\377", "Secret": "x"}'""", "did not return a valid answer"),
    ],
)
def test_a_helper_that_fails_is_passed_over_named_and_not_quoted(
    script: str,
    message: str,
    helper: Callable[[str], None],
    failing: Callable[..., UnavailableError],
) -> None:
    helper(script)
    problem = failing({"credsStore": "test"})
    assert message in problem.message
    assert SECRET not in "".join(traceback.format_exception(problem))


def test_a_helper_that_does_not_end_is_passed_over_after_a_time(
    helper: Callable[[str], None],
    failing: Callable[..., UnavailableError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("layercache.registry.credential_helper.HELPER_SECONDS", 0.2)
    helper(f"echo {SECRET}; exec sleep 5")
    problem = failing({"credsStore": "test"})
    assert "did not answer within 0.2 seconds" in problem.message
    assert SECRET not in "".join(traceback.format_exception(problem))


def test_a_missing_helper_is_passed_over_with_the_file_that_names_it(
    failing: Callable[..., UnavailableError],
) -> None:
    for config in ({"credsStore": "absent"}, {"credHelpers": {"ghcr.io": "absent"}}):
        problem = failing(config)
        assert problem.message == "docker-credential-absent: cannot be run: No such file or directory"
        assert "config.json names it" in problem.hint


@pytest.mark.parametrize("name", ["x/../../../tmp/evil", "a\0b", "-x", "a b", "é"])
def test_a_helper_is_a_program_in_the_path_and_no_other_file(
    name: str, failing: Callable[..., UnavailableError]
) -> None:
    assert "not the name of a program" in failing({"credsStore": name}).message


def test_an_empty_name_takes_a_registry_out_of_the_store(
    helper: Callable[[str], None], find: Callable[..., Credential | None]
) -> None:
    helper("""echo '{"Username": "stored", "Secret": "x"}'""")
    config = {"credsStore": "test", "credHelpers": {"ghcr.io": ""}, "auths": {"ghcr.io": {"auth": AUTH}}}
    assert find(config, "ghcr.io") == ME
    assert find({**config, "credHelpers": {"ghcr.io": None}}, "ghcr.io") == Credential("stored", "x")
    hub = {"credsStore": "absent", "credHelpers": {"index.docker.io": "test"}}
    assert find(hub, "docker.io", "library/alpine") == Credential("stored", "x")
