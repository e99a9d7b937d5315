"""login and logout: what is checked, what is stored, and where; against a registry with passwords."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.calling import PROGRAM, Caller, on_terminal
from servers.lying import LyingRegistry, status
from servers.programs import requires, run
from servers.registry import PASSWORD, USER, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HUB = "https://index.docker.io/v1/"

# A helper that keeps logins in a file beside it, as docker-credential-helpers' protocol has it.
HELPER = """#!/usr/bin/env python3
import json, os, sys
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kept.json")
kept = json.load(open(path)) if os.path.exists(path) else {}
data = sys.stdin.read()
if sys.argv[1] == "store":
    kept[json.loads(data)["ServerURL"]] = json.loads(data)
elif sys.argv[1] == "erase":
    del kept[data.strip()]
elif data.strip() in kept:
    print(json.dumps(kept[data.strip()]))
else:
    print("credentials not found in native keychain")
    sys.exit(1)
json.dump(kept, open(path, "w"))
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("guarded"), basic_auth=True) as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's empty home folder, with a folder for podman's file of the session."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "runtime"))
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts ``docker-credential-kept`` on the PATH; the file that it keeps logins in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-kept"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "kept.json"


def log_in(cli: Caller, host: str, *options: str, password: str = PASSWORD, code: int = 0) -> str:
    called = cli(
        "login", host, "-u", USER, "--password-stdin", *options, stdin=f"{password}\n".encode(), code=code
    )
    assert PASSWORD not in called.output
    assert AUTH not in called.output
    return called.stderr


def dockers(home: Path) -> Any:
    return json.loads((home / ".docker" / "config.json").read_text())


def test_a_login_is_stored_in_dockers_file_and_used(
    cli: Caller, guarded: Registry, home: Path, layout: str
) -> None:
    name = guarded.push(layout, "app:1")
    assert f"layercache login {guarded.host}" in cli("pull", name, code=4).stderr
    said = log_in(cli, guarded.host)
    path = home / ".docker" / "config.json"
    assert said == f"logged in to {guarded.host} as {USER}, stored in {path}\n"
    assert dockers(home) == {"auths": {guarded.host: {"auth": AUTH}}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    cli("pull", name)
    assert cli("logout", guarded.host).stderr == f"removed the login for {guarded.host} from {path}\n"
    assert dockers(home) == {"auths": {}}
    assert "there is no login for" in cli("logout", guarded.host, code=1).stderr


def test_a_wrong_password_is_refused_and_nothing_is_stored(
    cli: Caller, guarded: Registry, home: Path
) -> None:
    said = log_in(cli, guarded.host, password="wrong", code=4)
    assert f"{guarded.host} refuses the user {USER}: 401" in said
    assert list(home.iterdir()) == []
    log_in(cli, guarded.host)
    log_in(cli, guarded.host, password="wrong", code=4)
    assert dockers(home) == {"auths": {guarded.host: {"auth": AUTH}}}


def test_a_stored_login_does_not_stand_in_for_the_typed_one(
    cli: Caller, guarded: Registry, home: Path
) -> None:
    log_in(cli, guarded.host)
    called = cli("login", guarded.host, "-u", "other", "--password-stdin", stdin=b"x", code=4)
    assert "refuses the user other" in called.stderr


def test_what_else_is_in_the_file_stays_and_a_link_stays_a_link(
    cli: Caller, guarded: Registry, home: Path, tmp_path: Path
) -> None:
    kept = {
        "HttpHeaders": {"User-Agent": "x"},
        "auths": {"ghcr.io": {"auth": "YTpi"}},
        "detachKeys": "ctrl-e",
    }
    real = tmp_path / "dotfiles.json"
    real.write_text(json.dumps(kept))
    real.chmod(0o644)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").symlink_to(real)
    log_in(cli, guarded.host)
    assert (home / ".docker" / "config.json").is_symlink()
    written = json.loads(real.read_text())
    assert written.pop("auths") == {"ghcr.io": {"auth": "YTpi"}, guarded.host: {"auth": AUTH}}
    assert written == {name: value for name, value in kept.items() if name != "auths"}
    assert list(json.loads(real.read_text())) == list(kept), "in their order"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    cli("logout", guarded.host)
    assert json.loads(real.read_text()) == kept
    assert sorted(each.name for each in (home / ".docker").iterdir()) == ["config.json"]


def test_the_file_that_has_an_entry_is_the_one_that_is_changed(
    cli: Caller, guarded: Registry, home: Path
) -> None:
    podmans = home / "runtime" / "containers" / "auth.json"
    podmans.parent.mkdir(parents=True)
    podmans.write_text(json.dumps({"auths": {guarded.host: {"auth": "b2xkOm9sZA=="}}}))
    assert f"stored in {podmans}\n" in log_in(cli, guarded.host)
    assert json.loads(podmans.read_text()) == {"auths": {guarded.host: {"auth": AUTH}}}
    assert not (home / ".docker").exists()


def test_the_file_of_the_environment_is_the_only_one(
    cli: Caller, guarded: Registry, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "deep" / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert f"stored in {named}\n" in log_in(cli, guarded.host)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_stores_the_login_and_the_file_holds_no_secret(
    cli: Caller, guarded: Registry, home: Path, helper: Path, key: str
) -> None:
    value: object = "kept" if key == "credsStore" else {guarded.host: "kept"}
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(
        json.dumps({"auths": {f"https://{guarded.host}/v1/": {"auth": AUTH}}, key: value})
    )
    assert "stored in docker-credential-kept\n" in log_in(cli, guarded.host)
    assert json.loads(helper.read_text())[guarded.host]["Secret"] == PASSWORD
    assert dockers(home) == {"auths": {guarded.host: {}}, key: value}
    said = cli("logout", guarded.host).stderr
    assert "from docker-credential-kept" in said
    assert json.loads(helper.read_text()) == {}
    assert dockers(home) == {"auths": {}, key: value}


def test_a_helper_that_is_missing_or_fails_is_an_error_without_a_trace_of_the_secret(
    cli: Caller, guarded: Registry, home: Path, helper: Path
) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credsStore": "absent"}))
    assert "docker-credential-absent: cannot be run" in log_in(cli, guarded.host, code=4)
    (helper.parent / "docker-credential-kept").write_text("#!/bin/sh\ncat; exit 1\n")
    (home / ".docker" / "config.json").write_text(json.dumps({"credsStore": "kept"}))
    assert "failed to store the login" in log_in(cli, guarded.host, code=4)
    assert dockers(home) == {"credsStore": "kept"}


def test_a_broken_file_is_not_replaced(cli: Caller, guarded: Registry, home: Path) -> None:
    (home / ".docker").mkdir()
    path = home / ".docker" / "config.json"
    unseen = (b'{"a": "\xff"}', b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}")  # only a writer looks there
    for data in (b'{"auths": ', b"[]", b'{"auths": []}', *unseen):
        path.write_bytes(data)
        assert "is not a valid file of credentials" in log_in(cli, guarded.host, code=4)
        assert path.read_bytes() == data


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_password_that_is_not_text_is_refused_and_not_shown(
    cli: Caller, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", f"utf-8:{errors}")  # as in locales of UTF-8, and in C
    arguments = ["login", "localhost:1", "-u", "a", "--password-stdin"]
    called = cli(*arguments, stdin=b"secret\xff\n", code=2)
    assert "is not UTF-8 text" in called.stderr
    assert "secret" not in called.output


def test_docker_hub_has_dockers_name_in_dockers_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from layercache.registry import login
    from layercache.registry.credential import Credential
    from layercache.registry.credentials import find_login
    from layercache.registry.settings import RegistrySettings

    config, auth = str(tmp_path / "config.json"), str(tmp_path / "auth.json")
    for name in ("docker.io", "index.docker.io", HUB, "https://registry-1.docker.io"):
        assert login.parse_registry(name) == "docker.io"
    for path, key in ((config, HUB), (auth, "docker.io")):
        settings = RegistrySettings(auth_files=(path,))
        login.store(settings, "docker.io", Credential("a", "b"), path)
        assert list(json.loads((tmp_path / path).read_text())["auths"]) == [key]
        assert find_login(settings, "docker.io").credential == Credential("a", "b")
        assert login.forget(settings, "docker.io") == [path]


def test_podman_reads_what_is_written_and_its_logins_can_be_removed(
    cli: Caller, guarded: Registry, home: Path
) -> None:
    requires("podman")
    log_in(cli, guarded.host)
    assert run("podman", "login", "--get-login", guarded.host).strip() == USER
    cli("logout", guarded.host)
    run(
        "podman", "login", "--tls-verify=false", "-u", USER, "-p", PASSWORD,
        "--authfile", f"{home}/runtime/containers/auth.json", guarded.host,
    )  # fmt: skip
    assert f"from {home}/runtime/containers/auth.json" in cli("logout", guarded.host).stderr


def test_logins_at_the_same_time_do_not_lose_each_other(home: Path, tmp_path: Path) -> None:
    from layercache.registry import login
    from layercache.registry.credential import Credential
    from layercache.registry.settings import RegistrySettings

    path = str(tmp_path / "config.json")
    settings = RegistrySettings(auth_files=(path,))

    def work(number: int) -> None:
        login.store(settings, f"host{number}:5000", Credential("a", "b"), path)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "config.json").read_text())["auths"]) == 12


def test_a_registry_without_logins_gets_a_warning(cli: Caller, lying: LyingRegistry, home: Path) -> None:
    assert "requires no login, so the password was not checked" in log_in(cli, lying.host)
    assert lying.host in dockers(home)["auths"]


def test_a_token_server_that_refuses_is_an_error(cli: Caller, lying: LyingRegistry, home: Path) -> None:
    lying.on("/v2/", *[status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"')] * 3)
    lying.on("/token", status(401, b'{"details": "incorrect username or password"}'))
    said = log_in(cli, lying.host, code=4)
    assert f"to the user {USER}: it answered 401 incorrect username or password" in said
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["login", "localhost:1", "-u", "a"], "there is no terminal"),
        (["login", "localhost:1", "--password-stdin"], "needs --username"),
        (["login", "localhost:1", "-u", "a", "-p", "b", "--password-stdin"], "exclude each other"),
        (["login", "localhost:1", "-u", "a:b", "--password-stdin"], "no ':' in it"),
        (["login", "localhost:1", "-u", "a", "-p", ""], "a password are needed"),
        (["login", "ghcr.io/team", "-u", "a", "-p", "b"], "not a registry: 'ghcr.io/team'"),
        (["login", "ghcr", "-u", "a", "-p", "b"], "not a registry: 'ghcr'"),
        (["login", "--offline", "ghcr.io", "-u", "a", "-p", "b"], "leave out --offline"),
        (["logout", "a b"], "not a registry"),
    ],
)
def test_wrong_arguments_are_usage_errors(cli: Caller, arguments: list[str], said: str) -> None:
    assert said in cli(*arguments, stdin=b"x", code=2).stderr


def test_a_password_among_the_arguments_gets_a_warning(cli: Caller, guarded: Registry) -> None:
    said = cli("login", guarded.host, "-u", USER, "-p", PASSWORD).stderr
    assert "--password can be seen by other users" in said


def test_on_a_terminal_user_and_password_are_asked_for_and_the_password_is_not_shown(
    cli: Caller, guarded: Registry, home: Path
) -> None:
    # The terminal gives both lines to the program as it asks for them.
    code, seen = on_terminal(
        [*PROGRAM, "login", guarded.host, "-u", USER],
        when=lambda shown: f"{PASSWORD}\n".encode() if b"Password" in shown else b"",
    )
    assert code == 0, seen
    assert PASSWORD not in seen
    assert guarded.host in dockers(home)["auths"]


def test_a_killed_login_leaves_the_file_as_it_was(cli: Caller, guarded: Registry, home: Path) -> None:
    """The file is replaced by a complete one: there is no moment in which it is empty."""
    log_in(cli, guarded.host)
    before = (home / ".docker" / "config.json").read_bytes()
    inode = (home / ".docker" / "config.json").stat().st_ino
    log_in(cli, guarded.host)
    assert (home / ".docker" / "config.json").read_bytes() == before
    assert (home / ".docker" / "config.json").stat().st_ino != inode
