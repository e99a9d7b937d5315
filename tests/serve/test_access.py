"""Who may read what: by the configuration, and by what the upstream says to a client."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from servers.images import noise
from servers.mirror import Mirror
from servers.received import receive
from servers.registry import PASSWORD, USER, Registry
from servers.tokens import TokenServer

import layercache
from layercache.oci.digest import Digest
from layercache.registry.settings import RegistrySettings
from layercache.serve.clients import CHECKS_AT_ONCE
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from servers.images import Sample

    Start = Callable[..., Service]

MANIFEST = "/v2/team/app/manifests/1"


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


OWNER = basic(USER, PASSWORD)
STRANGER = basic(USER, "guessed")
NOBODY: dict[str, str] = {}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start mirrors in this process, all over one cache unless other ``caches`` are named."""
    running = []

    def start(upstream: str, *, caches: Sequence[str] = ("cache",), **settings: Any) -> Service:
        urls = [f"file://{tmp_path}/{cache}" for cache in caches]
        opened = layercache.open(urls, registries=RegistrySettings(retries=0))
        running.append(Service(opened, ServeSettings(default_upstream=upstream, **settings)))
        return running[-1]

    yield start
    for service in running:
        service.close()


@pytest.fixture
def private(tmp_path: Path, sample: Sample) -> Iterator[Registry]:
    """A registry that wants USER's password, with ``team/app:1``."""
    with Registry(tmp_path / "private", basic_auth=True) as registry:
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        yield registry


@pytest.fixture
def public(registry: Registry, sample: Sample) -> Registry:
    """A registry that everybody may read, with ``team/app:1``."""
    registry.push(f"oci:{sample.layout}:image", "team/app:1")
    return registry


def everything_of(sample: Sample, name: str = "team/app") -> list[str]:
    """The paths of an image: its manifest by tag and by digest, its blobs, its layers' diff IDs, its tags."""
    image = sample.image
    names = [*image.blobs, *(layer.diff_id for layer in image.layers)]
    manifests = [f"/v2/{name}/manifests/{each}" for each in ("1", image.descriptor.digest)]
    return [*manifests, *(f"/v2/{name}/blobs/{each}" for each in names), f"/v2/{name}/tags/list"]


def statuses(service: Service, paths: list[str], headers: dict[str, str]) -> list[int]:
    return [receive(service, path, headers).status for path in paths]


def code(service: Service, path: str, headers: dict[str, str] = NOBODY) -> tuple[int, str]:
    found = receive(service, path, headers)
    return found.status, json.loads(found.body)["errors"][0]["code"]


def requests(upstream: Registry) -> int:
    return len(upstream.accesses())


# Private images


def test_the_second_user_is_refused_whatever_the_first_one_has_brought_here(
    start: Start, private: Registry, sample: Sample
) -> None:
    first, paths = start(private.host), everything_of(sample)
    assert receive(first, MANIFEST, OWNER).body == sample.image.manifest
    assert statuses(first, paths, OWNER) == [200] * len(paths)
    other = start(private.host)  # another mirror of the same cache
    for service in (first, other):
        for headers in (NOBODY, STRANGER, basic("", ""), basic("other", PASSWORD)):
            assert statuses(service, paths, headers) == [401] * len(paths)
        assert statuses(service, paths, OWNER) == [200] * len(paths)


def test_another_mirror_over_the_same_shared_store_refuses_the_second_user_as_well(
    start: Start, private: Registry, sample: Sample
) -> None:
    one, paths = start(private.host, caches=("near", "shared")), everything_of(sample)
    assert statuses(one, paths, OWNER) == [200] * len(paths)
    one.cache.flush()
    other = start(private.host, caches=("elsewhere", "shared"))
    for headers in (NOBODY, STRANGER):
        assert statuses(other, paths, headers) == [401] * len(paths)
    assert statuses(other, paths, OWNER) == [200] * len(paths)
    assert [private.fetches(digest) for digest in sample.image.blobs] == [1] * len(sample.image.blobs)


def test_a_private_image_of_a_registry_with_tokens_is_served_to_its_owner_alone(
    start: Start, tmp_path: Path, sample: Sample
) -> None:
    with (
        TokenServer(tmp_path / "tokens", anonymous=False) as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        mirror, paths = start(registry.host), everything_of(sample)
        assert statuses(mirror, paths, OWNER) == [200] * len(paths)
        for headers in (NOBODY, STRANGER):
            assert statuses(mirror, paths, headers) == [401] * len(paths)


def test_what_is_cached_of_a_private_image_is_not_given_out_through_a_public_one(
    start: Start, private: Registry, public: Registry, sample: Sample, tmp_path: Path
) -> None:
    mirror = start(public.host, upstreams=(public.host, private.host))
    name = f"{private.host}/team/secret"
    secret = noise(1000, 77)
    digest = Digest.of(secret)
    (tmp_path / "secret").write_bytes(secret)
    private.push(f"oci:{sample.layout}:index", "team/secret:1")
    children = [image.descriptor.digest for image in sample.index.images]
    blobs = [blob for image in sample.index.images for blob in image.blobs]
    paths = [*(f"manifests/{each}" for each in ("1", *children)), *(f"blobs/{each}" for each in blobs)]
    assert statuses(mirror, [f"/v2/{name}/{path}" for path in paths], OWNER) == [200] * len(paths)
    assert receive(mirror, MANIFEST).status == 200
    for path in paths[1:]:
        assert receive(mirror, f"/v2/team/app/{path}", NOBODY).status == 404
        assert receive(mirror, f"/v2/team/app/{path}", OWNER).status == 404
    assert receive(mirror, f"/v2/team/app/blobs/{digest}").status == 404


def test_credentials_are_checked_again_after_a_while_and_no_sooner(
    start: Start, private: Registry, sample: Sample
) -> None:
    mirror = start(private.host)
    assert statuses(mirror, everything_of(sample), OWNER)[0] == 200
    before = requests(private)
    assert set(statuses(mirror, everything_of(sample), OWNER)) == {200}
    assert requests(private) == before
    forgetful = start(private.host, access_age=0)
    assert receive(forgetful, MANIFEST, OWNER).status == 200
    (private._folder / "htpasswd").write_text("")
    private.stop()
    private.start()
    assert receive(forgetful, MANIFEST, OWNER).status == 401
    assert receive(mirror, MANIFEST, OWNER).status == 200


def test_a_refusal_is_remembered_for_a_moment_and_costs_the_upstream_nothing(
    start: Start, private: Registry
) -> None:
    mirror = start(private.host)
    assert receive(mirror, MANIFEST, STRANGER).status == 401
    before = requests(private)
    for _ in range(5):
        assert receive(mirror, MANIFEST, STRANGER).status == 401
        assert receive(mirror, MANIFEST).status == 401
    assert requests(private) == before


def test_many_clients_with_the_same_credentials_ask_the_upstream_once(
    start: Start, private: Registry
) -> None:
    mirror = start(private.host)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: receive(mirror, MANIFEST, OWNER).status, range(40)))
    assert set(found) == {200}
    heads = [each for each in private.accesses() if each.method == "HEAD" and each.status == 200]
    assert len(heads) == 1


def test_credentials_are_sent_to_the_upstream_that_is_asked_and_to_no_other(
    start: Start, private: Registry, public: Registry
) -> None:
    mirror = start(public.host, upstreams=(public.host, private.host))
    assert receive(mirror, MANIFEST, basic("someone", "elses")).status == 200  # public: not even looked at
    assert receive(mirror, f"/v2/{private.host}/team/app/manifests/1", basic("some", "one")).status == 401


def test_without_an_answer_of_the_upstream_a_private_image_is_not_served_and_not_denied_either(
    start: Start, private: Registry
) -> None:
    mirror = start(private.host, access_age=0, missing_age=0)
    assert receive(mirror, MANIFEST, OWNER).status == 200
    private.stop()
    assert code(mirror, MANIFEST, OWNER) == (503, "UNAVAILABLE")
    assert receive(mirror, MANIFEST).status == 401


# Public images


def test_a_public_image_stays_available_while_its_upstream_is_down(
    start: Start, public: Registry, sample: Sample
) -> None:
    mirror, paths = start(public.host, access_age=0, tag_age=0), everything_of(sample)
    assert statuses(mirror, paths, NOBODY) == [200] * len(paths)
    public.stop()
    assert statuses(mirror, paths, NOBODY) == [200] * len(paths)
    assert statuses(mirror, paths, OWNER) == [200] * len(paths)


def test_a_public_image_is_available_after_a_restart_while_its_upstream_is_down(
    start: Start, public: Registry, private: Registry, sample: Sample
) -> None:
    both = (public.host, private.host)
    mirror, paths = start(public.host, upstreams=both), everything_of(sample)
    secret = f"/v2/{private.host}/team/app/manifests/1"
    assert statuses(mirror, [*paths, secret], OWNER) == [200] * (len(paths) + 1)
    public.stop()
    private.stop()
    restarted = start(public.host, upstreams=both, tag_age=0)
    assert statuses(restarted, paths, NOBODY) == [200] * len(paths)
    for headers in (NOBODY, OWNER):
        assert receive(restarted, secret, headers).status == 503


def test_an_image_that_became_private_is_refused(start: Start, tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "changing"
    with Registry(folder) as registry:
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        mirror = start(registry.host, access_age=0, missing_age=0)
        assert receive(mirror, MANIFEST).status == 200
        registry.stop()
        closed = Registry(folder, basic_auth=True)
        closed.port = registry.port
        with closed:
            assert receive(mirror, MANIFEST).status == 401
            assert receive(mirror, MANIFEST, OWNER).status == 200
            closed.stop()
            assert receive(mirror, MANIFEST).status == 401
            assert receive(start(registry.host), MANIFEST).status == 503  # not even after a restart


def test_what_a_public_repository_does_not_have_is_absent(start: Start, public: Registry) -> None:
    mirror = start(public.host)
    assert code(mirror, "/v2/team/app/manifests/2") == (404, "MANIFEST_UNKNOWN")
    assert code(mirror, "/v2/team/none/tags/list")[0] == 404
    assert code(mirror, f"/v2/team/app/blobs/{Digest.of(b'none')}") == (404, "BLOB_UNKNOWN")


# What is listed, and rules


def test_only_listed_upstreams_and_repositories_are_asked(
    start: Start, public: Registry, private: Registry
) -> None:
    mirror, before = start(public.host, upstreams=(f"{public.host}/team/*",)), requests(private)
    assert receive(mirror, MANIFEST).status == 200
    for path in (
        "/v2/other/app/manifests/1",
        f"/v2/{private.host}/team/app/manifests/1",
        "/v2/169.254.169.254/latest/manifests/1",
        "/v2/metadata.google.internal/x/tags/list",
    ):
        assert code(mirror, path) == (403, "DENIED")
    assert requests(private) == before


def test_without_a_list_the_default_upstream_is_the_only_one(
    start: Start, public: Registry, private: Registry
) -> None:
    mirror = start(public.host)
    assert receive(mirror, MANIFEST).status == 200
    assert code(mirror, f"/v2/{private.host}/team/app/manifests/1", OWNER) == (403, "DENIED")


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


# Users of the mirror


def bcrypt_of(password: str) -> str:
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


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


def test_a_rule_for_a_user_that_there_is_not_is_refused(start: Start) -> None:
    with pytest.raises(layercache.ConfigError, match="there is no user alice"):
        start("docker.io", readers=("ghcr.io/team/*=alice",))


# Clients that can only do what Docker does


def test_docker_is_given_a_token_for_its_password_and_one_for_none(start: Start, private: Registry) -> None:
    mirror = start(private.host)
    host = {"host": "mirror.example:5000"}
    found = receive(mirror, "/v2/", host)
    assert found.status == 401
    challenge = 'Bearer realm="http://mirror.example:5000/token",service="layercache"'
    assert found.headers["www-authenticate"] == challenge
    for headers, status in ((NOBODY, 401), (OWNER, 200), (STRANGER, 401)):
        token = json.loads(receive(mirror, "/token", headers).body)["token"]
        assert receive(mirror, "/v2/", bearer(token)).status == 200
        found = receive(mirror, MANIFEST, {**bearer(token), **host})
        assert found.status == status
        if status == 401:
            assert found.headers["www-authenticate"] == f'{challenge},scope="repository:team/app:pull"'


def test_the_address_of_the_token_server_is_the_one_that_the_client_has_used(start: Start) -> None:
    mirror = start("docker.io")

    def realm(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return receive(mirror, "/v2/", named).headers["www-authenticate"].split('"')[1]

    assert realm(host="mirror:5000", x_forwarded_proto="https") == "https://mirror:5000/token"
    assert realm(host='x",service="y z') == "http://xserviceyz/token"
    assert realm() == "http://localhost/token"


def test_where_everybody_may_read_everything_nobody_is_asked_for_a_token(
    start: Start, public: Registry
) -> None:
    mirror = start(public.host, readers=("*=*",))
    assert receive(mirror, "/v2/").status == 200
    before = requests(public)
    assert receive(mirror, MANIFEST).status == 200
    assert [each.method for each in public.accesses()[before:]] == ["GET", "GET"]  # is it TLS? the manifest


# Addresses of the inside


def test_a_mirror_asks_no_token_server_of_the_inside_that_is_not_listed(
    tmp_path: Path, sample: Sample
) -> None:
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        asked = len(tokens.requests)
        with Mirror(tmp_path / "mirror", config=f'default_upstream = "{registry.host}"') as mirror:
            found = mirror.get(MANIFEST)
            assert (found.status, json.loads(found.body)["errors"][0]["code"]) == (502, "UNAVAILABLE")
            assert len(tokens.requests) == asked
