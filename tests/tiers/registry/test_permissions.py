"""Who may use a cache in a registry: passwords, tokens, TLS, deletes; which URLs name one."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from servers.registry import PASSWORD, USER, Registry
from servers.tokens import TokenServer
from tiers.contract import GZIP, PLAIN, copy, fact_of, read
from tiers.registry.caches import far_tier, impatient

from layercache.errors import BackendError, ConfigError
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificates import Certificate


def credentials(folder: Path, host: str) -> str:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return str(folder / "config.json")


def test_a_password_opens_it_and_nothing_less(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        settings = impatient(auth_files=(credentials(tmp_path / "docker", registry.host),))
        tier = far_tier(registry.host, settings=settings)
        copy(tier, GZIP.blob)
        tier.facts.record(fact_of())
        assert read(tier, GZIP.digest) == GZIP.blob
        stranger = far_tier(registry.host)
        for attempt in (lambda: copy(stranger, GZIP.blob), lambda: stranger.facts.about(GZIP.digest)):
            with pytest.raises(BackendError, match="user and password"):
                attempt()
        tier.close()
        stranger.close()


def test_a_token_to_push_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        settings = impatient(auth_files=(credentials(tmp_path / "docker", registry.host),))
        tier = far_tier(registry.host, settings=settings)
        assert not tier.blobs.has(GZIP.digest)
        copy(tier, GZIP.blob)
        tier.facts.record(fact_of())
        tier.blobs.delete(PLAIN.digest)
        assert any("push" in scope for request in tokens.requests for scope in request.scopes)
        stranger = far_tier(registry.host)
        assert read(stranger, GZIP.digest) == GZIP.blob
        assert stranger.facts.made_from(GZIP.diff_id) == [fact_of()]
        with pytest.raises(BackendError, match="refuses to change"):
            copy(stranger, PLAIN.blob)
        tier.close()
        stranger.close()


def test_tls_is_checked_by_the_authority_that_the_url_names(tmp_path: Path, certificate: Certificate) -> None:
    with Registry(tmp_path / "registry", tls=certificate) as registry:
        tier = far_tier(registry.host, options=f"?ca_file={certificate.authority}")
        copy(tier, GZIP.blob)
        assert read(tier, GZIP.digest) == GZIP.blob
        unchecked = far_tier(registry.host, options="?insecure=true")
        assert unchecked.blobs.has(GZIP.digest)
        stranger = far_tier(registry.host)
        with pytest.raises(BackendError, match="not trusted"):
            stranger.blobs.has(GZIP.digest)
        for each in (tier, unchecked, stranger):
            each.close()


def test_a_registry_that_allows_no_deletes_is_an_error_that_says_so(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", deletes=False) as registry:
        tier = far_tier(registry.host)
        copy(tier, GZIP.blob)
        with pytest.raises(BackendError, match="does not allow") as caught:
            tier.blobs.delete(GZIP.digest)
        assert "switched off" in caught.value.hint
        assert read(tier, GZIP.digest) == GZIP.blob
        tier.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("oci://localhost:5000/team/cache:1", "not a repository"),
        ("oci://localhost:5000/Team", "lower case"),
        ("oci://localhost:5000", "not a"),
        ("oci:///team/cache", "not a registry"),
        ("oci://user:secret@localhost:5000/a", "must not hold credentials"),
        ("oci://localhost:5000/a?password=secret", "unknown option"),
        ("oci://localhost:5000/a?timeout=soon", "timeout"),
        ("ocy://localhost:5000/a", "known schemes: .*oci"),
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_asked(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_tier(url, nearest=False)
    assert "secret" not in str(caught.value)
