"""Registries that want to know who asks: passwords, tokens, certificates; and who must never be told."""

from __future__ import annotations

import base64
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from servers.lying import LyingRegistry, redirect, status
from servers.programs import requires
from servers.pulling import pulled
from servers.registry import PASSWORD, USER, Registry
from servers.tokens import IDENTITY_TOKEN, TokenServer

from layercache.errors import ConfigError, NotFoundError, SourceError
from layercache.oci.reference import Reference
from layercache.registry.settings import RegistrySettings
from layercache.sources.registry import RegistryClient, RegistrySource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.certificates import Certificate
    from servers.images import Sample

BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., RegistryClient]:
    """Makes a client from Docker configuration and settings."""

    def make(config: dict[str, Any] | None = None, **settings: Any) -> RegistryClient:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config or {}))
        return RegistryClient(RegistrySettings(auth_files=(str(path),), **settings), sleep=lambda _: None)

    return make


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with TokenServer(tmp_path / "tokens") as running:
        yield running


@pytest.fixture
def guarded(tmp_path: Path, tokens: TokenServer) -> Iterator[Registry]:
    """A registry that wants tokens."""
    with Registry(tmp_path / "guarded", token_auth=tokens.registry_options) as running:
        yield running


def logged_in(registry: Registry) -> dict[str, Any]:
    return {"auths": {registry.host: {"auth": BASIC}}}


def source_of(name: str, client: RegistryClient) -> RegistrySource:
    return RegistrySource(client, Reference.parse(name))


def test_a_password_opens_a_registry_and_nothing_less(
    tmp_path: Path, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        name = registry.push(f"oci:{sample.layout}:image", "app:1")
        assert pulled(source_of(name, client(logged_in(registry)))) == sample.image.blobs
        plain = {"auths": {registry.host: {"username": USER, "password": PASSWORD}}}
        assert pulled(source_of(name, client(plain))) == sample.image.blobs
        wrong = base64.b64encode(b"someone:wrong").decode()
        for config in ({}, {"auths": {registry.host: {"auth": wrong}}}):
            with pytest.raises(SourceError, match=f"layercache login {registry.host}") as caught:
                source_of(name, client(config)).root()
            assert not isinstance(caught.value, NotFoundError)
            assert wrong not in str(caught.value)


def test_a_password_is_asked_for_once_by_many_threads(
    tmp_path: Path, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        name = registry.push(f"oci:{sample.layout}:image", "app:1")
        source = source_of(name, client(logged_in(registry)))
        source.root()
        before = len(registry.accesses())
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: source.root(), range(20)))
        assert [each.status for each in registry.accesses()[before:]] == [200] * 20


def test_anybody_gets_a_token_to_pull_one_for_each_repository(
    guarded: Registry, tokens: TokenServer, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    names = [guarded.push(f"oci:{sample.layout}:image", f"team/{app}:1") for app in ("a", "b")]
    tokens.requests.clear()
    anonymous = client()
    for name in names * 2:
        assert pulled(source_of(name, anonymous)) == sample.image.blobs
    assert [request.scopes for request in tokens.requests] == [
        ("repository:team/a:pull",),
        ("repository:team/b:pull",),
    ]
    assert all(request.who == "" for request in tokens.requests)


def test_a_token_is_fetched_once_for_many_threads(
    guarded: Registry, tokens: TokenServer, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    source = source_of(guarded.push(f"oci:{sample.layout}:image", "app:1"), client())
    tokens.requests.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: source.root(), range(16)))
    assert len(tokens.requests) == 1


def test_a_password_or_an_identity_token_is_shown_to_the_token_server(
    guarded: Registry, tokens: TokenServer, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    name = guarded.push(f"oci:{sample.layout}:image", "app:1")
    tokens.anonymous = False
    with pytest.raises(SourceError, match=f"layercache login {guarded.host}"):
        source_of(name, client()).root()
    tokens.requests.clear()
    assert source_of(name, client(logged_in(guarded))).root() == sample.image.descriptor
    identity = {"auths": {guarded.host: {"auth": BASIC, "identitytoken": IDENTITY_TOKEN}}}
    assert source_of(name, client(identity)).root() == sample.image.descriptor
    assert [(request.method, request.who) for request in tokens.requests] == [("GET", USER), ("POST", USER)]


def test_a_token_at_its_end_is_fetched_anew_before_it_is_used(
    guarded: Registry,
    tokens: TokenServer,
    sample: Sample,
    client: Callable[..., RegistryClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("layercache.registry.auth.time.monotonic", lambda: now)
    source = source_of(guarded.push(f"oci:{sample.layout}:image", "app:1"), client())
    tokens.requests.clear()
    source.root()
    now += tokens.lifetime * 0.8
    source.root()
    assert len(tokens.requests) == 1
    before = len(guarded.accesses())
    now += tokens.lifetime * 0.15
    source.root()
    assert len(tokens.requests) == 2
    assert [each.status for each in guarded.accesses()[before:]] == [200]


def test_a_lifetime_may_be_a_word_and_is_never_less_than_a_minute(
    lying: LyingRegistry,
    sample: Sample,
    client: Callable[..., RegistryClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("layercache.registry.auth.time.monotonic", lambda: now)
    source = source_of(lying.add_image("1", sample.image), client())
    lying.on("HEAD", status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token?a=b"'))
    lying.on("/token", *[status(200, b'{"access_token": "x", "expires_in": "0"}')] * 2)
    source.root()
    now += 50
    source.root()
    assert [request.path for request in lying.asked("/token")] == ["/token?a=b&scope=repository%3Aapp%3Apull"]
    now += 10
    source.root()
    assert len(lying.asked("/token")) == 2


def test_a_token_that_the_registry_does_not_take_any_more_is_replaced_once(
    guarded: Registry, tokens: TokenServer, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    name = guarded.push(f"oci:{sample.layout}:image", "app:1")
    source = source_of(name, client())
    tokens.requests.clear()
    tokens.stale = 1
    assert source.root() == sample.image.descriptor
    assert len(tokens.requests) == 2


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (500, b"", "answered 500"),
        (200, b"<html>", "something that is not a token"),
        (200, b'{"token": null}', "without a token"),
        (200, b" " * (2 << 20), "larger than"),
        (403, b"", "issued no token for .*/app"),
    ],
)
def test_a_token_server_that_fails_is_told(
    code: int, body: bytes, message: str, lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    lying.on("HEAD", *[status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"')] * 9)
    lying.on("/token", *[status(code, body)] * 9)
    with pytest.raises(SourceError, match=message):
        source_of(f"{lying.host}/app:1", client()).root()


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        ("", "unsupported authentication scheme: none"),
        ("Negotiate abc==", "unsupported authentication scheme: negotiate"),
        ("Bearer service=x", "unsupported authentication scheme: bearer"),
        ('Bearer realm="file:///etc/passwd"', "not a URL"),
        ('Bearer realm="//host/token"', "not a URL"),
        ('Bearer realm="http://[::1/token"', "not a URL"),
    ],
)
def test_a_challenge_that_cannot_be_answered_is_told(
    challenge: str, message: str, lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    lying.on("/v2/app", *[status(401, WWW_Authenticate=challenge)] * 2)
    with pytest.raises(SourceError, match=message):
        source_of(f"{lying.host}/app:1", client()).root()


def test_neither_a_redirect_nor_another_repository_sees_a_secret(
    lying: LyingRegistry, client: Callable[..., RegistryClient], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "layercache")
    blob = lying.add_blob(b"layer")
    with LyingRegistry() as storage:
        storage.add_blob(b"layer")
        lying.on("/blobs/", status(401, WWW_Authenticate="Basic realm=x"))
        lying.on("/blobs/", redirect(f"http://{storage.host}/blobs/{blob.digest}"))
        made = client({"auths": {lying.host: {"auth": BASIC}}})
        with source_of(f"{lying.host}/app:1", made).open_blob(blob) as reader:
            assert reader.read() == b"layer"
        with source_of(f"{lying.host}/other:1", made).open_blob(blob) as reader:
            assert reader.read() == b"layer"
        first, second, other = lying.asked("/blobs/")
        assert "authorization" not in first.headers
        assert second.headers["authorization"] == f"Basic {BASIC}"
        assert "authorization" not in other.headers
        assert all("authorization" not in request.headers for request in storage.requests)
        # A challenge of the storage is not answered with what the registry was told.
        lying.on("/blobs/", redirect(f"http://{storage.host}/blobs/{blob.digest}"))
        storage.on("/blobs/", status(401, WWW_Authenticate="Basic realm=y"))
        with pytest.raises(SourceError, match="redirected to another server"):
            source_of(f"{lying.host}/app:1", made).open_blob(blob)
        assert all("authorization" not in request.headers for request in storage.requests)
    assert not [record for record in caplog.records if PASSWORD in record.getMessage()]


def test_a_redirect_of_the_token_server_does_not_see_the_password(
    lying: LyingRegistry, client: Callable[..., RegistryClient], sample: Sample
) -> None:
    with LyingRegistry() as other:
        lying.on("HEAD", status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"'))
        lying.on("/token", redirect(f"http://{other.host}/token"))
        other.on("/token", status(200, b'{"access_token": "x"}'))
        known = client({"auths": {lying.host: {"auth": BASIC}}})
        assert source_of(lying.add_image("1", sample.image), known).root() == sample.image.descriptor
        (asked,) = lying.asked("/token")
        assert asked.headers["authorization"] == f"Basic {BASIC}"
        (redirected,) = other.requests
        assert "authorization" not in redirected.headers
        assert lying.asked("HEAD")[1].headers["authorization"] == "Bearer x"


def test_nothing_that_can_be_printed_holds_a_secret(client: Callable[..., RegistryClient]) -> None:
    from layercache.registry.credential import Credential

    settings = RegistrySettings(proxies={"https": "http://me:hunter2@proxy:3128"})
    credential = Credential(USER, PASSWORD, IDENTITY_TOKEN)
    printed = f"{settings!r} {settings} {credential!r} {credential}"
    assert not any(secret in printed for secret in ("hunter2", PASSWORD, IDENTITY_TOKEN))


@pytest.fixture
def secure(tmp_path: Path, certificate: Certificate) -> Iterator[Registry]:
    """A registry with TLS and a password, of an authority that nobody knows."""
    with Registry(tmp_path / "secure", basic_auth=True, tls=certificate) as running:
        yield running


def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    secure: Registry, certificate: Certificate, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    name = secure.push(f"oci:{sample.layout}:image", "app:1")
    trusting = client(logged_in(secure), ca_file=str(certificate.authority))
    assert pulled(source_of(name, trusting)) == sample.image.blobs
    with pytest.raises(SourceError, match="ca_file"):
        source_of(name, client(logged_in(secure))).root()
    insecure = client(logged_in(secure), insecure=(secure.host,))
    assert pulled(source_of(name, insecure)) == sample.image.blobs
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        source_of(name, client(ca_file="/absent.pem")).root()


def test_a_registry_that_is_listed_as_plain_http_is_never_spoken_to_by_tls(
    secure: Registry, sample: Sample, client: Callable[..., RegistryClient]
) -> None:
    with pytest.raises(SourceError, match="speaks TLS, and was contacted without it"):
        source_of(f"{secure.host}/app:1", client(plain_http=("127.0.0.1",), insecure=("127.0.0.1",))).root()


def test_plain_http_where_tls_is_wanted_gets_a_hint(
    lying: LyingRegistry, client: Callable[..., RegistryClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layercache.registry.client.is_loopback", lambda _: False)
    lying.on("", status(200))
    with pytest.raises(SourceError, match="does not speak TLS") as caught:
        source_of(f"{lying.host}/app:1", client()).root()
    assert f"--plain-http {lying.host}" in caught.value.hint
    assert "plain_http in the configuration" in caught.value.hint


def test_a_redirect_to_no_tls_and_a_token_server_without_it_are_refused(
    certificate: Certificate, client: Callable[..., RegistryClient], sample: Sample
) -> None:
    with LyingRegistry() as plain, LyingRegistry(tls=certificate) as secure:
        blob = secure.add_blob(b"layer")
        plain.add_blob(b"layer")
        target = redirect(f"http://{plain.host}/blobs/{blob.digest}")
        challenge = status(401, WWW_Authenticate=f'Bearer realm="http://{plain.host}/token"')
        secure.on("/app/blobs/", target, challenge, target)
        trusting = client({"auths": {secure.host: {"auth": BASIC}}}, ca_file=str(certificate.authority))
        for message in ("redirects to .* without TLS", "token server without TLS"):
            with pytest.raises(SourceError, match=message) as caught:
                source_of(f"{secure.host}/app:1", trusting).open_blob(blob)
            assert "insecure" in caught.value.hint
        assert not plain.requests
        insecure = client(insecure=(secure.host,))
        with source_of(f"{secure.host}/app:1", insecure).open_blob(blob) as reader:
            assert reader.read() == b"layer"


def test_a_proxy_is_used_where_it_is_named_and_gets_its_password(
    client: Callable[..., RegistryClient],
) -> None:
    with LyingRegistry() as proxy:
        proxy.on("", *[status(500)] * 9)
        made = client(
            plain_http=("registry.example",),
            retries=0,
            proxies={"http": f"http://me:hunter%32@{proxy.host}", "no": "internal.example"},
        )
        with pytest.raises(SourceError, match="answered 500"):
            source_of("registry.example/app:1", made).root()
        request = proxy.requests[0]
        assert request.path == "http://registry.example/v2/app/manifests/1"
        assert base64.b64decode(request.headers["proxy-authorization"].split()[1]) == b"me:hunter2"
    made.close()
    with pytest.raises(SourceError, match=r"proxy for registry\.example:80 failed") as caught:
        source_of("registry.example/app:1", made).root()
    assert "hunter2" not in str(caught.value)


def test_a_program_in_the_path_can_hold_the_password(
    tmp_path: Path, sample: Sample, client: Callable[..., RegistryClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    requires("sh")
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        name = registry.push(f"oci:{sample.layout}:image", "app:1")
        answer = json.dumps({"ServerURL": registry.host, "Username": USER, "Secret": PASSWORD})
        helper = tmp_path / "bin" / "docker-credential-test"
        helper.parent.mkdir()
        helper.write_text(f"#!/bin/sh\n[ \"$1 $(cat)\" = 'get {registry.host}' ] && echo '{answer}'\n")
        helper.chmod(0o755)
        monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
        for config in ({"credHelpers": {registry.host: "test"}}, {"credsStore": "test"}):
            assert pulled(source_of(name, client(config))) == sample.image.blobs
