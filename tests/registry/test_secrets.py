"""No message, trace, event or repr holds a token, a password or a signature, or a part of one."""

from __future__ import annotations

import base64
import json
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.lying import LyingRegistry, error_body, redirect, status

from layercache.errors import ConfigError, LayercacheError, SourceError
from layercache.oci.reference import Reference
from layercache.registry.client import RegistryClient
from layercache.registry.redaction import HIDDEN, PART, redacted
from layercache.registry.settings import RegistrySettings
from layercache.registry.urls import server_url
from layercache.sources.registry import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSWORD = "open-Sesame-4711"
AUTH = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
TOKEN = "eyJhbGciOiJFUzI1NiJ9.tok3n"
SECRETS = (PASSWORD, AUTH, TOKEN)


@pytest.fixture
def lying() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., RegistryClient]:
    def make(config: dict[str, Any] | None = None, **settings: Any) -> RegistryClient:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config or {}))
        settings = {"auth_files": (str(path),), "retries": 0, **settings}
        return RegistryClient(RegistrySettings(**settings), sleep=lambda _: None)

    return make


def root(name: str, client: RegistryClient) -> LayercacheError:
    with pytest.raises(LayercacheError) as caught:
        RegistrySource(client, Reference.parse(name)).root()
    return caught.value


def everything(error: BaseException) -> str:
    """All that --verbose prints."""
    return "".join(traceback.format_exception(error))


def assert_hidden(error: BaseException, *secrets: str) -> None:
    text = everything(error)
    for secret in secrets:
        for start in range(len(secret) - PART + 1):
            assert secret[start : start + PART] not in text


@pytest.mark.parametrize("odd", ["\n", "\r\nX: y", "\0", " ", "é", "\u2028", "\x7f"])
@pytest.mark.parametrize("place", ["{0}{1}", "{1}{0}", "{0}{1}{0}"])
def test_a_token_that_no_header_can_hold_is_an_error_without_it(
    odd: str, place: str, lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    lying.on("HEAD", *[status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"')] * 9)
    lying.on("/token", *[status(200, json.dumps({"token": place.format(TOKEN, odd)}).encode())] * 9)
    error = root(f"{lying.host}/app:1", client())
    assert isinstance(error, SourceError)
    assert "token that no header can hold" in error.message
    assert_hidden(error, TOKEN)
    assert len(lying.asked("/manifests/")) == 1


@pytest.mark.parametrize("code", [400, 403, 404, 429])
@pytest.mark.parametrize("part", [slice(None), slice(3, None), slice(-PART, None), slice(2, 12)])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_server_that_repeats_what_it_was_sent_is_not_quoted(
    secret: str, part: slice, code: int, lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    scheme = f'Bearer realm="http://{lying.host}/token"' if secret == TOKEN else "Basic realm=x"
    lying.on("HEAD", status(401, WWW_Authenticate=scheme), status(404))
    lying.on("/token", status(200, json.dumps({"token": TOKEN}).encode()))
    body = error_body("NAME_UNKNOWN", f"not with <{secret[part]}>, which ends at noon")
    lying.on("GET /v2/app", status(code, body))
    error = root(f"{lying.host}/app:1", client({"auths": {lying.host: {"auth": AUTH}}}))
    assert f"NAME_UNKNOWN not with <{HIDDEN}>, which ends at noon" in str(error)
    assert_hidden(error, *SECRETS)


def test_a_word_that_is_cut_may_be_a_piece_of_a_secret_and_is_left_out(
    lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    lying.on("HEAD", status(401, WWW_Authenticate="Basic realm=x"), status(404))
    lying.on("GET /v2/app", status(403, error_body("DENIED", f"{'x' * 186} {PASSWORD}")))
    error = root(f"{lying.host}/app:1", client({"auths": {lying.host: {"auth": AUTH}}}))
    assert error.message.endswith("x" * 186)


def test_a_redirects_signature_and_password_are_in_no_message(
    lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    signature = "X-Amz-Signature=4af3c0ffee4af3c0ffee"
    targets = [
        f"http://me:{PASSWORD}@{lying.host}/there?{signature}",
        f"http://me:{PASSWORD}@127.0.0.1:9/there?{signature}",
        f"http://me:{PASSWORD}@127.0.0.1:99999/there?{signature}",
        f"http://me:{PASSWORD}@[::1/there?{signature}",
        f"http://{lying.host}/th ere?{signature}\x00",
        f"ftp://me:{PASSWORD}@host/there?{signature}",
        f"http://me:{PASSWORD}@{'x' * 70}.example/there?{signature}",
    ]
    for target in targets:
        lying.on("/v2/app/manifests", redirect(target))
        error = root(f"{lying.host}/app:1", client())
        assert_hidden(error, PASSWORD, signature)
    for url in targets[:2]:
        assert server_url(url, "it").username is None


def test_an_answer_that_is_not_http_is_not_quoted(client: Callable[..., RegistryClient]) -> None:
    """An echo server sends the request back, and its first line has the query of a signed URL."""
    import socket
    import threading

    signature = "X-Amz-Signature=4af3c0ffee4af3c0ffee"
    with socket.create_server(("127.0.0.1", 0)) as echo, LyingRegistry() as lying:

        def answer() -> None:
            connection, _ = echo.accept()
            with connection:
                connection.sendall(connection.recv(4096))

        threading.Thread(target=answer, daemon=True).start()
        target = f"http://127.0.0.1:{echo.getsockname()[1]}/there?{signature}"
        lying.on("/v2/app/manifests", redirect(target))
        error = root(f"{lying.host}/app:1", client())
        assert "the answer is not HTTP" in error.message
        assert_hidden(error, signature)


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://me:{PASSWORD}/x@127.0.0.1:9",
        f"http://me:x/{PASSWORD}@127.0.0.1:9",
        f"me:{PASSWORD}#@127.0.0.1:9",
        f"http://me:{PASSWORD}@127.0.0.1:99999",
        f"http://me:{PASSWORD}@127.0.0.1:port",
        f"http://me:{PASSWORD}@[::1",
        f"socks5://me:{PASSWORD}@127.0.0.1:9",
        f"http://me:{PASSWORD}@",
        f"http://me:{PASSWORD}@127.0.0.1:9/path",
        f"://{PASSWORD}",
    ],
)
def test_a_proxy_that_is_not_a_url_is_a_configuration_error_without_it(
    proxy: str, client: Callable[..., RegistryClient]
) -> None:
    error = root("registry.example/app:1", client(proxies={"https": proxy}))
    assert isinstance(error, ConfigError)
    assert "HTTPS_PROXY" in error.message
    assert_hidden(error, PASSWORD)


@pytest.mark.parametrize("proxy", ["http://me:{}@127.0.0.1:9", "me:{}@127.0.0.1:9", "http://me:{}@[::1]:9/"])
def test_a_proxy_that_fails_is_named_without_its_password(
    proxy: str, client: Callable[..., RegistryClient]
) -> None:
    error = root("registry.example/app:1", client(proxies={"https": proxy.format(PASSWORD)}))
    assert "registry.example:443" in error.message
    assert not isinstance(error, ConfigError)
    assert_hidden(error, PASSWORD)


@pytest.mark.parametrize(
    ("known", "scheme", "token", "refusal", "message"),
    [
        (True, "Basic", 0, 401, "refuses to give app as the user me (from {path}): 401"),
        (False, "Basic", 0, 401, "requires a user and password"),
        (True, "Bearer", 401, 0, "to the user me (from {path}): it answered 401"),
        (False, "Bearer", 401, 0, "/app: it answered 401"),
        (True, "Bearer", 200, 403, "refuses to give app as the user me (from {path}): 403"),
        (False, "Bearer", 200, 403, "refuses to give app: 403"),
    ],
)
def test_a_registry_that_refuses_is_reported_with_user_and_files_but_no_password(
    known: bool,
    scheme: str,
    token: int,
    refusal: int,
    message: str,
    lying: LyingRegistry,
    client: Callable[..., RegistryClient],
    tmp_path: Path,
) -> None:
    path, absent = str(tmp_path / "config.json"), str(tmp_path / "absent")
    challenge = f'{scheme} realm="http://{lying.host}/token"'
    lying.on("/token", *[status(token, json.dumps({"token": TOKEN}).encode())] * 9)
    lying.on("/manifests/", status(401, WWW_Authenticate=challenge))
    lying.on("/manifests/", *[status(refusal, WWW_Authenticate=challenge)] * 9)
    config = {"auths": {lying.host: {"auth": AUTH}}} if known else {}
    error = root(f"{lying.host}/app:1", client(config, auth_files=(absent, path)))
    assert isinstance(error, SourceError)
    assert message.format(path=path) in error.message
    assert error.looked_in == (absent, path)
    assert f"layercache login {lying.host}" in error.hint
    assert_hidden(error, *SECRETS)


def test_where_a_registry_refuses_a_helper_that_failed_is_the_error(
    lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    lying.on("HEAD", status(401, WWW_Authenticate="Basic realm=x"))
    error = root(f"{lying.host}/app:1", client({"credsStore": "absent"}))
    assert "docker-credential-absent: cannot be run: No such file or directory" in error.message
    assert "install the program" in error.hint
    assert "docker-credential-absent" in error.looked_in


def test_what_a_failed_helper_costs_is_one_warning_for_all_repositories(
    lying: LyingRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credsStore": "absent"}))
    warned: list[tuple[str, str]] = []
    made = RegistryClient(
        RegistrySettings(auth_files=(str(path),)),
        passed_over=lambda place, error: warned.append((place, error.message)),
    )
    for app in ("a", "b"):
        lying.on(f"HEAD /v2/{app}", status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"'))
        lying.on("/token", status(200, b'{"token": "x"}'))
        blob = lying.add_manifest("1", "application/vnd.oci.image.manifest.v1+json", b"{}")
        assert RegistrySource(made, Reference.parse(f"{lying.host}/{app}:1")).root() == blob
    assert [place for place, _ in warned] == ["docker-credential-absent"]


def test_an_upload_elsewhere_is_not_named_in_full(
    lying: LyingRegistry, client: Callable[..., RegistryClient]
) -> None:
    """Where an upload goes on is a key to it: a registry may put it into the path."""
    import io

    from layercache.oci.digest import Digest
    from layercache.registry.repository import Repository

    lying.on("POST /v2/app/blobs/uploads", status(202, Location=f"/there/{TOKEN}?state={PASSWORD}"))
    lying.on("/there/", *[status(400)] * 9)
    with pytest.raises(SourceError) as caught:
        Repository(client(), lying.host, "app").push(Digest.of(b"x"), io.BytesIO(b"x"))
    assert "the registry answered 400" in caught.value.message
    assert_hidden(caught.value, TOKEN, PASSWORD)


@given(
    st.text(st.characters(codec="ascii"), min_size=1, max_size=40),
    st.text(max_size=30),
    st.text(max_size=30),
    st.integers(0, 40),
)
def test_no_part_of_a_secret_gets_through(secret: str, before: str, after: str, start: int) -> None:
    shown = redacted(before + secret[start:] + after, [secret])
    for place in range(len(secret) - PART + 1):
        window = secret[place : place + PART]
        assert window not in shown.replace(HIDDEN, "") or HIDDEN in window
    assert redacted("nothing of it", ["s3cret-s3cret"]) == "nothing of it"
    assert redacted("a pw b", ["pw", ""]) == f"a {HIDDEN} b"
