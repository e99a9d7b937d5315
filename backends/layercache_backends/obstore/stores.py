"""obstore's stores, for one try at a time. Imports obstore, so import this at the first use only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from obstore.store import AzureStore, GCSStore, S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KNOWN = timedelta(minutes=1)
"""How long credentials are cached. They are renewed some minutes before they expire."""

_ONCE: Any = {"max_retries": 0, "retry_timeout": timedelta(0)}


def s3_store(
    bucket: str,
    base: str,
    region: str | None,
    credentials: Callable[[], Mapping[str, str | None]],
    seconds: float,
    more: Mapping[str, object],
) -> S3Store:
    """``base``: what stands before a name in its URL; ``region``: to sign for, None: nothing is signed.

    ``credentials`` returns ``access_key_id``, ``secret_access_key`` and ``token``, in the asking thread;
    ``more``: keys of obstore's S3 configuration. None is left to obstore's environment variables, which our
    other requests do not heed.
    """
    config: Any = {
        "endpoint": base.rstrip("/"),
        "aws_endpoint_url_s3": base.rstrip("/"),
        "virtual_hosted_style_request": True,  # the bucket stands in the endpoint, wherever that is
        "region": region or "us-east-1",
        "skip_signature": region is None,
        "s3_express": False,
        "conditional_put": "etag",
        **more,
    }

    def provide() -> Any:
        return {**credentials(), "expires_at": datetime.now(UTC) + _KNOWN}

    return S3Store(
        bucket,
        config=config,
        client_options=_client(seconds, {}),
        retry_config=_ONCE,
        credential_provider=None if region is None else provide,
    )


def gcs_store(
    bucket: str, base: str, token: Callable[[], str] | None, headers: Mapping[str, str], seconds: float
) -> GCSStore:
    """``base``: the URL of the service; ``token`` says the bearer's token, None: nobody asks."""

    def provide() -> Any:
        assert token is not None
        return {"token": token(), "expires_at": datetime.now(UTC) + _KNOWN}

    config: Any = {"base_url": base, "skip_signature": token is None}
    return GCSStore(
        bucket,
        config=config,
        client_options=_client(seconds, headers),
        retry_config=_ONCE,
        credential_provider=provide if token else None,
    )


def azure_store(container: str, account: str | None, endpoint: str | None, seconds: float) -> AzureStore:
    """Credentials are those of ``AZURE_STORAGE_*``; ``account`` and ``endpoint`` None: those too."""
    config: Any = {
        **({"account_name": account} if account else {}),
        **({"endpoint": endpoint} if endpoint else {}),
    }
    return AzureStore(container, config=config, client_options=_client(seconds, {}), retry_config=_ONCE)


def _client(seconds: float, headers: Mapping[str, str]) -> Any:
    """Fail after ``seconds`` of silence; the total time is not limited."""
    return {
        "allow_http": True,
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=seconds),
        "read_timeout": timedelta(seconds=seconds),
        "timeout": timedelta(days=365),
        "default_headers": dict(headers),
    }
