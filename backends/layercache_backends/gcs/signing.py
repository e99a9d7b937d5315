"""URLs of Google Cloud Storage that are signed (V4), by Google's own library. Import it lazily.

https://cloud.google.com/storage/docs/access-control/signed-urls
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.auth.credentials import AnonymousCredentials, Signing
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("layercache.gcs")


def sign(
    credentials: Any, endpoint: str, bucket: str, name: str, seconds: int, query: Mapping[str, str]
) -> str | None:
    """Sign a URL for a GET, with the key of the credentials or by the IAM service.

    The service signs for a service account without a key, such as a machine's, that may do that (Service
    Account Token Creator). None for others. Waits for the service.
    """
    signer: dict[str, Any] = {}
    if not isinstance(credentials, Signing):
        if not hasattr(credentials, "service_account_email"):
            return None
        try:
            if not credentials.valid:
                credentials.refresh(Request())
        except GoogleAuthError as error:
            log.warning("gs://%s: no URL can be signed: %s", bucket, error)
            return None
        signer = {
            "service_account_email": credentials.service_account_email,
            "access_token": credentials.token,
        }
    # The client sends nothing: it is the way to the public method of an object.
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # it has no types
    blob = Client(project="none", credentials=nobody).bucket(bucket).blob(name)
    try:
        url = blob.generate_signed_url(
            timedelta(seconds=seconds),
            api_access_endpoint=endpoint,
            credentials=credentials,
            query_parameters=dict(query),
            version="v4",
            **signer,
        )
    except GoogleAuthError as error:
        log.warning("gs://%s: no URL can be signed: %s", bucket, error)
        return None
    return str(url)
