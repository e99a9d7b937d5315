"""``http://`` and ``https://`` confused in endpoint_url: the error says so, for either service."""

from __future__ import annotations

import pytest
from servers.lying import LyingRegistry, status

from layercache.backend import open_backend
from layercache.errors import BackendError

STORES = ("s3://bucket/x?region=eu&engine=fsspec", "gs://bucket/x?token=anon&engine=fsspec")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


def failure(url: str) -> BackendError:
    backend = open_backend(url)
    try:
        with pytest.raises(BackendError) as caught:
            backend.stat("key")
    finally:
        backend.close()
    return caught.value


@pytest.mark.parametrize("url", STORES)
def test_https_at_a_plain_port_is_no_matter_of_certificates(url: str, lying: LyingRegistry) -> None:
    error = failure(f"{url}&endpoint_url=https://{lying.host}")
    assert error.message.endswith("the service does not speak TLS there")
    assert "endpoint_url with http://" in error.hint


@pytest.mark.parametrize("url", STORES)
def test_http_at_a_port_for_tls_is_recognized_by_the_complaint(url: str, lying: LyingRegistry) -> None:
    # As Go's servers answer, SeaweedFS, MinIO and fake-gcs-server among them.
    lying.on("", status(400, body=b"Client sent an HTTP request to an HTTPS server.\n"))
    assert "endpoint_url with https://" in failure(f"{url}&endpoint_url=http://{lying.host}").hint
