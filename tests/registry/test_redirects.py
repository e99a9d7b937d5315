"""Redirects, and what else names another server: followed within bounds, and without our secrets."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from registry.asking import Waits, read, repository_of, source_of
from servers.images import noise
from servers.lying import LyingRegistry, cut_off, error_body, redirect, status
from servers.pulling import pulled

from layercache.errors import NotFoundError, SourceError
from layercache.oci.descriptor import OCI_MANIFEST
from layercache.oci.digest import Digest
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.certificates import Certificate
    from servers.images import Sample
    from servers.lying import Answer, Fault, Request

BLOB = noise(700_000)


def test_a_blob_that_is_somewhere_else_is_fetched_there_without_our_secrets(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    with LyingRegistry() as storage:
        storage.add_blob(BLOB)
        signed = f"http://{storage.host}/blobs/{blob.digest}?X-Signature=secret"
        lying.on("/blobs/", redirect(signed), redirect(signed))
        storage.on("/blobs/", cut_off(300_000))
        assert read(source_of(lying, waits), blob) == BLOB
        assert [request.headers.get("range") for request in storage.requests] == [None, "bytes=300000-699999"]
        lying.on("/blobs/", *[redirect(signed)] * 2)
        storage.on("/blobs/", status(403, b"<Error>denied</Error>"), status(404))
        for _ in range(2):
            with pytest.raises(SourceError, match="redirected to another server") as caught:
                source_of(lying, waits).open_blob(blob)
            assert not isinstance(caught.value, NotFoundError)
            assert "secret" not in str(caught.value)


def test_a_relative_redirect_is_followed_and_an_endless_one_is_not(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", redirect(f"../other/blobs/{blob.digest}"))
    assert read(source_of(lying, waits), blob) == BLOB
    lying.on("/blobs/", *[redirect(f"/v2/app/blobs/{blob.digest}")] * 20)
    with pytest.raises(SourceError, match="redirects more than"):
        source_of(lying, waits).open_blob(blob)
    for odd in ("file:///etc/passwd", "http://[::1/", "http://127.0.0.1:x/", "ftp://127.0.0.1/x"):
        with LyingRegistry() as other:
            blob = other.add_blob(BLOB)
            other.on("/blobs/", redirect(odd))
            with pytest.raises(SourceError, match="not a URL of an HTTP server"):
                source_of(other, waits).open_blob(blob)


@pytest.mark.parametrize(("count", "followed"), [(4, True), (5, True), (10, True), (11, False)])
def test_ten_redirects_are_followed(count: int, followed: bool, lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[redirect(f"/v2/app/blobs/{blob.digest}")] * count)
    if followed:
        assert read(source_of(lying, waits), blob) == BLOB
    else:
        with pytest.raises(SourceError, match="redirects more than 10 times"):
            source_of(lying, waits).open_blob(blob)
    assert len(lying.asked("/blobs/")) == min(count, 10) + 1


# A registry that redirects to another registry


TOKEN = json.dumps({"token": "its-own", "access_token": None, "expires_in": None}).encode()


@pytest.fixture
def back() -> Iterator[LyingRegistry]:
    """The registry that is redirected to."""
    with LyingRegistry() as running:
        yield running


def guard(back: LyingRegistry, scheme: str = "Bearer") -> None:
    """Have it ask who comes, unless he brings what it gives."""
    realm = f"http://{back.host}/token"
    challenge = (
        f'Bearer realm="{realm}",service="s",scope="repository:app:pull"' if scheme == "Bearer" else scheme
    )

    def door(request: Request, answer: Answer) -> None:
        if request.headers.get("authorization") not in ("Bearer its-own", f"Basic {OURS}"):
            status(401, error_body("UNAUTHORIZED", "who?"), WWW_Authenticate=challenge)(request, answer)

    back.on("/v2/app/", *[door] * 99)
    back.on("/token", *[status(200, TOKEN)] * 99)


def to_back(back: LyingRegistry) -> Fault:
    def fault(request: Request, answer: Answer) -> None:
        redirect(f"http://{back.host}{request.path}")(request, answer)

    return fault


def known(tmp_path: Path, *registries: str) -> dict[str, Any]:
    path = tmp_path / "config.json"
    entries = {name: {"auth": THEIRS if not number else OURS} for number, name in enumerate(registries)}
    path.write_text(json.dumps({"auths": entries}))
    return {"auth_files": (str(path),)}


OURS = base64.b64encode(b"back:door").decode()
THEIRS = base64.b64encode(b"front:door").decode()


def test_the_challenge_of_the_other_registry_is_answered_there_once(
    lying: LyingRegistry, back: LyingRegistry, waits: Waits, sample: Sample, tmp_path: Path
) -> None:
    back.add_image("1", sample.image)
    guard(back)
    lying.on("/v2/app/", *[to_back(back)] * 99)
    assert pulled(source_of(lying, waits, **known(tmp_path, lying.host))) == sample.image.blobs
    assert len(back.asked("/token")) == 1
    assert "authorization" not in back.asked("/token")[0].headers
    shown = [request.headers.get("authorization") for request in back.asked("/v2/app/")]
    assert shown == [None] + ["Bearer its-own"] * (len(shown) - 1)
    assert not any("authorization" in request.headers for request in lying.requests)


@pytest.mark.parametrize("scheme", ["Bearer", "Basic realm=x"])
def test_each_registry_sees_our_credentials_for_it_alone(
    scheme: str, lying: LyingRegistry, back: LyingRegistry, waits: Waits, tmp_path: Path
) -> None:
    blob = lying.add_blob(BLOB)
    back.add_blob(BLOB)
    guard(back, scheme)
    lying.on("/blobs/", status(401, WWW_Authenticate="Basic realm=front"), to_back(back))
    source = source_of(lying, waits, **known(tmp_path, lying.host, back.host))
    assert read(source, blob) == BLOB
    assert {request.headers.get("authorization") for request in lying.requests} == {None, f"Basic {THEIRS}"}
    seen = {request.headers.get("authorization") for request in back.requests}
    assert seen == {None, f"Basic {OURS}", "Bearer its-own"} - (
        {"Bearer its-own"} if scheme != "Bearer" else set()
    )


def test_a_registry_that_takes_nobody_ends_in_an_error(
    lying: LyingRegistry, back: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[to_back(back)] * 9)
    back.on("/v2/", *[status(401, WWW_Authenticate=f'Bearer realm="http://{back.host}/token"')] * 99)
    back.on("/token", *[status(200, TOKEN)] * 9)
    with pytest.raises(SourceError, match="redirected to another server: the registry answered 401"):
        source_of(lying, waits).open_blob(blob)
    assert len(back.asked("/v2/")) == 2


def test_registries_that_send_each_other_around_are_answered_a_few_times(
    lying: LyingRegistry, back: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)

    def around(here: LyingRegistry, there: LyingRegistry) -> Fault:
        challenge = f'Bearer realm="http://{here.host}/token"'

        def fault(request: Request, answer: Answer) -> None:
            passing = "authorization" in request.headers
            (to_back(there) if passing else status(401, WWW_Authenticate=challenge))(request, answer)

        return fault

    for here, there in ((lying, back), (back, lying)):
        here.on("/blobs/", *[around(here, there)] * 99)
        here.on("/token", *[status(200, TOKEN)] * 9)
    with pytest.raises(SourceError, match="redirects more than 10 times"):
        source_of(lying, waits).open_blob(blob)
    assert len(lying.requests) + len(back.requests) < 20


def test_without_tls_we_are_anonymous_to_a_registry_that_nobody_listed(
    lying: LyingRegistry, back: LyingRegistry, waits: Waits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = lying.add_blob(BLOB)
    back.add_blob(BLOB)
    monkeypatch.setattr("layercache.registry.authorization.is_loopback", lambda _: False)
    settings = known(tmp_path, lying.host, back.host)
    guard(back)
    lying.on("/blobs/", *[to_back(back)] * 9)
    assert read(source_of(lying, waits, **settings), blob) == BLOB
    assert {request.headers.get("authorization") for request in back.requests} == {None, "Bearer its-own"}
    listed = source_of(lying, waits, plain_http=(back.host,), **settings)
    assert read(listed, blob) == BLOB
    assert back.asked("/token")[-1].headers["authorization"] == f"Basic {OURS}"


# Location and Link


def pushed(lying: LyingRegistry, waits: Waits, **settings: Any) -> None:
    repository_of(lying, waits, retries=0, **settings).push(Digest.of(b"x"), BytesReader(b"x"))


@pytest.mark.parametrize("redirected", [False, True], ids=["Location", "redirect"])
def test_an_upload_that_goes_on_elsewhere_shows_no_credentials_there(
    redirected: bool, lying: LyingRegistry, back: LyingRegistry, waits: Waits, tmp_path: Path
) -> None:
    elsewhere = f"http://{back.host}/v2/team/blobs/uploads/1"
    lying.on("POST", status(401, WWW_Authenticate="Basic realm=x"))
    lying.on("POST", status(202, Location="/v2/app/blobs/uploads/1" if redirected else elsewhere))
    lying.on("PUT", redirect(elsewhere))
    back.on("PUT", status(201))
    settings = known(tmp_path, lying.host, back.host)
    pushed(lying, waits, **settings)
    (put,) = back.requests
    assert "authorization" not in put.headers
    # Nor is its challenge answered: where something is written is for the user to decide.
    lying.on("POST", status(202, Location="/v2/app/blobs/uploads/1" if redirected else elsewhere))
    lying.on("PUT", redirect(elsewhere))
    back.on("PUT", status(401, WWW_Authenticate="Basic realm=y"))
    with pytest.raises(SourceError, match="redirected to another server: the registry answered 401"):
        pushed(lying, waits, **settings)
    assert not any("authorization" in request.headers for request in back.requests)


@pytest.mark.parametrize("returns", [False, True], ids=["elsewhere", "and back"])
def test_a_manifest_that_is_led_elsewhere_is_written_nowhere_in_our_name(
    returns: bool, lying: LyingRegistry, back: LyingRegistry, waits: Waits, tmp_path: Path
) -> None:
    lying.on("PUT /v2/app/", status(401, WWW_Authenticate="Basic realm=x"))
    lying.on("PUT /v2/app/", *[redirect(f"http://{back.host}/v2/team/manifests/1")] * 2)
    chosen = redirect(f"http://{lying.host}/v2/private/manifests/1")
    back.on("PUT", *[chosen if returns else status(401, WWW_Authenticate="Basic realm=y")] * 2)
    lying.on("PUT /v2/private/", *[status(401, WWW_Authenticate="Basic realm=x")] * 2)
    repository = repository_of(lying, waits, **known(tmp_path, lying.host, back.host))
    with pytest.raises(SourceError, match="401"):
        repository.put_manifest("1", b"{}", OCI_MANIFEST)
    led = [*back.requests, *lying.asked("/v2/private/")]
    assert len(led) == 1 + returns
    assert not any("authorization" in request.headers for request in led)


def test_a_page_of_tags_elsewhere_shows_no_credentials_there(
    lying: LyingRegistry, back: LyingRegistry, waits: Waits, tmp_path: Path
) -> None:
    lying.on("/tags/list", status(401, WWW_Authenticate="Basic realm=x"))
    lying.on(
        "/tags/list",
        status(200, b'{"tags": ["a"]}', Link=f'<http://{back.host}/v2/app/tags/list>; rel="next"'),
    )
    back.on("/tags/list", status(200, b'{"tags": ["b"]}'))
    assert list(repository_of(lying, waits, **known(tmp_path, lying.host)).tags()) == ["a", "b"]
    assert lying.asked("/tags/list")[1].headers["authorization"] == f"Basic {THEIRS}"
    assert "authorization" not in back.requests[0].headers


@pytest.mark.parametrize("what", ["Location", "Link"])
def test_neither_an_upload_nor_a_page_goes_on_without_tls(
    what: str, back: LyingRegistry, waits: Waits, certificate: Certificate
) -> None:
    with LyingRegistry(tls=certificate) as secure:
        page, upload = (
            f"<http://{back.host}/v2/app/tags/list>; rel=next",
            f"http://{back.host}/v2/app/blobs/uploads/1",
        )
        secure.on("POST", status(202, Location=upload))
        secure.on("/tags/list", status(200, b'{"tags": []}', Link=page))
        settings = {"ca_file": str(certificate.authority)}
        asking: dict[str, Callable[[], object]] = {
            "Location": lambda: pushed(secure, waits, **settings),
            "Link": lambda: list(repository_of(secure, waits, **settings).tags()),
        }
        with pytest.raises(SourceError, match="without TLS"):
            asking[what]()
        assert not back.requests


def test_pages_of_tags_that_never_end_are_given_up(
    lying: LyingRegistry, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layercache.registry.repository.PAGES_MAX", 20)
    pages = [
        status(200, b'{"tags": ["a"]}', Link=f"</v2/app/tags/list?last={n % 2}>; rel=next") for n in range(99)
    ]
    lying.on("/tags/list", *pages)
    with pytest.raises(SourceError, match="more than 20 pages"):
        list(repository_of(lying, waits).tags())
    assert len(lying.asked("/tags/list")) == 20


def test_the_words_of_a_token_server_are_quoted(lying: LyingRegistry, waits: Waits, tmp_path: Path) -> None:
    bodies = {
        b'{"details": "incorrect username or password"}': "401 incorrect username or password",
        b'{"error": "invalid_grant", "error_description": "too old"}': "401 too old",
        error_body("DENIED", "not you"): "401 DENIED not you",
        b"<html>": "it answered 401$",
        b'{"details": "front:door is wrong"}': r"401 front:\*\*\* is wrong",
    }
    for body, words in bodies.items():
        lying.on("HEAD", status(401, WWW_Authenticate=f'Bearer realm="http://{lying.host}/token"'))
        lying.on("/token", status(401, body))
        with pytest.raises(SourceError) as caught:
            source_of(lying, waits, **known(tmp_path, lying.host)).root()
        assert re.search(words, caught.value.message)
