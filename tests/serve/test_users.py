"""Users of the mirror itself: passwords, tokens, and rules that let them read."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from serve.accounts import MANIFEST, NOBODY, OWNER, basic, bearer, everything_of, statuses
from servers.received import receive

import layercache
from layercache.registry.settings import RegistrySettings
from layercache.serve.clients import CHECKS_AT_ONCE
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings

if TYPE_CHECKING:
    from pathlib import Path

    from serve.accounts import Start
    from servers.images import Sample
    from servers.registry import Registry


def bcrypt_of(password: str) -> str:
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


# Rules


def test_a_rule_lets_its_users_read_with_the_mirrors_own_credentials(
    start: Start, private: Registry, tmp_path: Path, sample: Sample
) -> None:
    users = tmp_path / "users"
    users.write_text(f"# team\nalice:{bcrypt_of('opensesame')}\nbob:{bcrypt_of('other')}\n\n")
    auth = tmp_path / "auth.json"
    secret = OWNER["authorization"].removeprefix("Basic ")
    auth.write_text(json.dumps({"auths": {private.host: {"auth": secret}}}))
    cache = layercache.open(
        f"file://{tmp_path}/ruled", registries=RegistrySettings(auth_files=(str(auth),), retries=0)
    )
    settings = ServeSettings(
        default_upstream=private.host,
        htpasswd=str(users),
        readers=(f"{private.host}/team/*=alice", f"{private.host}/other/*=*"),
    )
    mirror, paths = Service(cache, settings), everything_of(sample)
    try:
        assert statuses(mirror, paths, basic("alice", "opensesame")) == [200] * len(paths)
        assert statuses(mirror, paths, basic("bob", "other")) == [403] * len(paths)
        for headers in (NOBODY, OWNER, basic("bob", "opensesame"), basic("carol", "opensesame")):
            assert statuses(mirror, paths, headers) == [401] * len(paths)
        assert receive(mirror, "/v2/_catalog", basic("bob", "other")).body == b'{"repositories":[]}'
        assert b"team/app" in receive(mirror, "/v2/_catalog", basic("alice", "opensesame")).body
    finally:
        mirror.close()


def test_a_rule_for_a_user_that_there_is_not_is_refused(start: Start) -> None:
    with pytest.raises(layercache.ConfigError, match="there is no user alice"):
        start("docker.io", readers=("ghcr.io/team/*=alice",))


# Passwords and tokens


@pytest.fixture
def guarded(start: Start, tmp_path: Path) -> Service:
    """A mirror with the users alice (a password) and ci (a token), and no upstream that answers."""
    (tmp_path / "users").write_text(f"alice:{bcrypt_of('opensesame')}\n")
    (tmp_path / "tokens").write_text(f"ci:{hashlib.sha256(b'a-long-token').hexdigest()}\n")
    return start("127.0.0.1:1", htpasswd=f"{tmp_path}/users", tokens=f"{tmp_path}/tokens")


@pytest.mark.parametrize(
    "headers",
    [
        basic("alice", "opensesame"),
        basic("ci", "a-long-token"),
        bearer("a-long-token"),
        {"authorization": "bearer   a-long-token "},
    ],
)
def test_a_mirror_with_users_lets_them_in(guarded: Service, headers: dict[str, str]) -> None:
    for path in ("/v2/", "/v2/_catalog", "/metrics"):
        assert receive(guarded, path, headers).status == 200
    assert receive(guarded, MANIFEST, headers).status == 503


@pytest.mark.parametrize(
    "headers",
    [
        NOBODY,
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("", ""),
        basic("bob", "opensesame"),
        basic("alice", "a-long-token"),
        basic("ci", "opensesame"),
        basic("alice", "opensesame\0"),
        bearer("opensesame"),
        bearer(hashlib.sha256(b"a-long-token").hexdigest()),
        bearer(""),
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic YWxpY2U="},
        {"authorization": "Basic /////w=="},
        {"authorization": "Digest username=alice"},
        {"authorization": "x" * 10_000},
    ],
)
def test_a_mirror_with_users_lets_nobody_else_in(guarded: Service, headers: dict[str, str]) -> None:
    for path in ("/v2/", MANIFEST, "/v2/_catalog", "/metrics", "/v2/team/app/tags/list"):
        found = receive(guarded, path, headers)
        assert found.status == 401
        assert found.headers["www-authenticate"] == 'Basic realm="layercache", charset="UTF-8"'
    assert receive(guarded, "/healthz", headers).status == 200


def test_a_password_is_checked_once_and_remembered(guarded: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    import bcrypt

    checked = []
    check = bcrypt.checkpw

    def counting(password: bytes, hash_: bytes) -> bool:
        checked.append(password)
        return check(password, hash_)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    for _ in range(5):
        assert receive(guarded, "/v2/", basic("alice", "opensesame")).status == 200
        assert receive(guarded, "/v2/", basic("alice", "wrong")).status == 401
        assert receive(guarded, "/v2/", basic("mallory", "wrong")).status == 401
    assert len(checked) == 3


def test_passwords_that_strangers_guess_do_not_use_up_the_processors(
    guarded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bcrypt

    running, most, lock = [0], [0], threading.Lock()

    def slow(_password: bytes, _hash: bytes) -> bool:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return False

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    with ThreadPoolExecutor(16) as pool:
        guesses = pool.map(lambda each: receive(guarded, "/v2/", basic("alice", f"{each}")).status, range(32))
        assert set(guesses) == {401}
    assert most == [CHECKS_AT_ONCE]


def test_a_password_of_any_length_is_compared_as_htpasswd_wrote_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"alice:{bcrypt_of('x' * 72)}\n")
    mirror = start("127.0.0.1:1", htpasswd=f"{tmp_path}/users")
    assert receive(mirror, "/v2/", basic("alice", "x" * 100)).status == 200
    assert receive(mirror, "/v2/", basic("alice", "x" * 71)).status == 401


@pytest.mark.parametrize(
    ("key", "lines", "said"),
    [
        ("htpasswd", "alice", "line 1 is not USER:HASH"),
        ("htpasswd", "# x\nalice:opensesame", "line 2 is not USER:HASH"),
        ("htpasswd", "alice:$apr1$x$y", "htpasswd -B"),
        ("htpasswd", ":$2y$05$" + "a" * 53, "line 1"),
        (
            "htpasswd",
            "a:$2y$05$" + "a" * 53 + "\na:$2y$05$" + "a" * 53,
            "line 2: the user a is there already",
        ),
        ("htpasswd", "\n# nobody\n", "has no users"),
        ("tokens", "ci:a-long-token", "SHA-256"),
    ],
)
def test_a_file_of_users_is_checked_when_the_mirror_starts_and_not_quoted(
    start: Start, tmp_path: Path, key: str, lines: str, said: str
) -> None:
    (tmp_path / "file").write_text(lines)
    with pytest.raises(layercache.ConfigError) as caught:
        start("docker.io", **{key: f"{tmp_path}/file"})
    assert said in str(caught.value)
    assert "opensesame" not in str(caught.value)
    assert "a-long-token" not in str(caught.value)
