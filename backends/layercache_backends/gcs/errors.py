"""What an error of Google Cloud Storage, of its credentials or of the way to it means."""

from __future__ import annotations

import aiohttp
import requests
from gcsfs.retry import HttpError, NonRetryableError
from google.auth.exceptions import GoogleAuthError

from layercache_backends.gcs.requests import RESUME_INCOMPLETE, NoBucketError, RefusalError
from layercache_backends.objects.service import Failure, Kind

CREDENTIALS = (
    "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS (or ?token=) with the path of "
    "a service account's file; for a public bucket ?token=anon"
)
_ENDPOINT = "check endpoint_url and STORAGE_EMULATOR_HOST, and whether the service can be reached from here"
_STRANGER = "is there a proxy between, or no such service at all?"

_KINDS = {401: Kind.EXPIRED, 404: Kind.ABSENT, 412: Kind.CHANGED, 416: Kind.PAST_END} | dict.fromkeys(
    (RESUME_INCOMPLETE, 408, 429, 500, 502, 503, 504), Kind.BUSY
)
_HINTS = {
    401: CREDENTIALS,
    403: "these credentials may not do this: check the roles that they have on the bucket",
}


def meaning(error: Exception, bucket: str) -> Failure | None:
    """The error, understood; None for one that is none of these."""
    if isinstance(error, NoBucketError):
        return Failure(
            Kind.FINAL,
            f"there is no bucket {bucket}",
            "create the bucket, or check its name and endpoint_url",
        )
    if isinstance(error, RefusalError):
        return _answered(error)
    # Before those that break: they are connection errors too.
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return Failure(Kind.FINAL, f"TLS failed: {error}", "for a CA of your own set SSL_CERT_FILE")
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return Failure(Kind.FINAL, "the address of the service is none", _ENDPOINT)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure(Kind.UNREACHABLE, f"cannot connect: {error}", _ENDPOINT)
    if isinstance(error, (aiohttp.ClientError, ConnectionError, TimeoutError)):
        return Failure(Kind.BROKEN, f"the connection broke: {str(error) or type(error).__name__}", _ENDPOINT)
    if isinstance(error, (GoogleAuthError, HttpError, NonRetryableError, requests.RequestException)):
        return Failure(Kind.FINAL, f"no credentials: {error}", CREDENTIALS)
    return None


def _answered(error: RefusalError) -> Failure:
    kind = _KINDS.get(error.status, Kind.FINAL)
    # A 404 of anybody else says nothing about the object. Any other status is what it is, whoever gave it.
    if kind is Kind.ABSENT and not error.known:
        return Failure(Kind.FINAL, "404 without the service's own error", _STRANGER)
    return Failure(kind, str(error), _HINTS.get(error.status, "" if error.known else _STRANGER))
