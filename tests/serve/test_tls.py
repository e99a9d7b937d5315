"""TLS of the mirror: its certificate is renewed while it runs, and a wrong one is not used."""

from __future__ import annotations

import shutil
import ssl
from typing import TYPE_CHECKING

import pytest
from fixtures.leases import until
from servers.certificates import make_certificate
from servers.mirror import Mirror

from layercache.errors import ConfigError
from layercache.serve import tls

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificates import Certificate


def test_a_renewed_certificate_is_used_without_a_restart_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    first, second = (make_certificate(tmp_path / name) for name in ("first", "second"))
    in_use = tmp_path / "in use"
    shutil.copytree(first.folder, in_use)
    used = make_paths(first, in_use)
    with Mirror(tmp_path / "mirror", tls=used) as mirror:
        assert mirror.get("/healthz").status == 200
        used.key.write_bytes(second.key.read_bytes())  # not yet its certificate
        until(lambda: "are not a certificate and its key" in mirror.log)
        assert mirror.get("/healthz").status == 200
        used.certificate.write_bytes(second.certificate.read_bytes())
        until(lambda: "the configuration was read again" in mirror.log)
        until(lambda: len(mirror.workers()) == 1)
        with pytest.raises(ssl.SSLCertVerificationError):
            mirror.get("/healthz")
        mirror.context = ssl.create_default_context(cafile=str(second.authority))
        assert mirror.get("/healthz").status == 200
        assert "PRIVATE" not in mirror.log


def make_paths(certificate: Certificate, folder: Path) -> Certificate:
    """The same files in another folder."""
    names = (certificate.authority, certificate.certificate, certificate.key)
    return type(certificate)(folder, *(folder / path.name for path in names))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "are not a certificate and its key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "are not a certificate"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_certificate_is_an_error(
    certificate: Certificate, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        tls.load(str(path), str(certificate.key))


def test_an_encrypted_key_is_an_error_and_not_a_question(certificate: Certificate, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    encrypted = tmp_path / "key.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="no encrypted key"):
        tls.load(str(certificate.certificate), str(encrypted))
