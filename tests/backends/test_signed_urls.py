"""URLs that are signed for clients without credentials. The contract reads by them; this is their content."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.config import Config
from botocore.session import get_session
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from servers.google import Google

from layercache.backend import open_backend
from layercache.backend.capabilities import SignedURL
from layercache_backends.gcs.signing import sign

if TYPE_CHECKING:
    from pathlib import Path

KEY = "blobs/sha256/00ff"
SECONDS = 600
S3 = "s3://layers/team?endpoint_url=https://s3.example.com&region=eu-central-1&addressing=path"


def signed(url: str) -> str:
    with closing(open_backend(url)) as backend:
        assert isinstance(backend, SignedURL)
        found = backend.signed_url(KEY, SECONDS)
    assert found is not None
    return found


def query_of(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


def signed_at(url: str) -> str:
    """The second in which it was signed."""
    return query_of(url)["X-Amz-Date"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def test_an_s3_url_has_the_signature_of_awss_own_library() -> None:
    place = {"endpoint_url": "https://s3.example.com", "region_name": "eu-central-1"}
    settings = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    client = get_session().create_client("s3", **place, config=settings)
    wanted = {"Bucket": "layers", "Key": f"team/{KEY}"}
    pairs = ((signed(S3), client.generate_presigned_url("get_object", wanted, SECONDS)) for _ in range(10))
    found, theirs = next(pair for pair in pairs if signed_at(pair[0]) == signed_at(pair[1]))
    assert found.partition("?")[0] == theirs.partition("?")[0]
    assert query_of(found) == query_of(theirs)
    assert query_of(found)["X-Amz-Expires"] == str(SECONDS)
    assert "a-secret" not in found


def test_a_url_says_who_pays_without_a_header_that_clients_would_have_to_send() -> None:
    query = query_of(signed(f"{S3}&requester_pays=true"))
    assert (query["x-amz-request-payer"], query["X-Amz-SignedHeaders"]) == ("requester", "host")


def test_without_credentials_a_url_is_that_of_a_public_object() -> None:
    found = signed("s3://layers/team?endpoint_url=https://s3.example.com&anon=true&addressing=path")
    assert found == f"https://s3.example.com/layers/team/{KEY}"


def test_a_google_url_is_signed_by_the_key_of_the_service_account(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    with Google() as server:
        account.write_text(json.dumps(server.account()))
        url = f"gs://layers/team?endpoint_url={server.url}&token={account}&project=payer"
        found = signed(url)
        assert found.startswith(f"{server.url}/layers/team/{KEY}?")
    query = query_of(found)
    assert query["X-Goog-Credential"].startswith("me@example.com/")
    assert (query["X-Goog-Expires"], query["userProject"]) == (str(SECONDS), "payer")
    assert len(query["X-Goog-Signature"]) == 512


class Machine:
    """A machine's credentials, whose issuer does not respond."""

    service_account_email = "default"
    valid = False

    def refresh(self, _: object) -> None:
        raise RefreshError("no metadata server")  # type: ignore[no-untyped-call]  # it has no types


@pytest.mark.parametrize("cannot", [Credentials("a-token"), Machine()])  # type: ignore[no-untyped-call]
def test_credentials_that_cannot_sign_give_no_url(cannot: Any) -> None:
    assert sign(cannot, "https://storage.googleapis.com", "layers", KEY, SECONDS, {}) is None
