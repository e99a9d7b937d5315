"""Classifies errors of Google Cloud Storage, of its credentials, and of the connection."""

from __future__ import annotations

import aiohttp
import requests
from gcsfs.retry import HttpError, NonRetryableError
from google.auth.exceptions import GoogleAuthError

from layercache_backends.gcs.requests import RESUME_INCOMPLETE, NoBucketError, RefusalError
from layercache_backends.objects.service import NO_TLS, TLS, Failure, Kind, is_no_tls

CREDENTIALS = (
    "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS (or ?token=) to the "
    "path of a service account's file; for a public bucket use ?token=anon"
)
_ENDPOINT = "check endpoint_url and STORAGE_EMULATOR_HOST, and whether the service can be reached from here"
_STRANGER = "check for a proxy in between, and that the address is that of the service"

_KINDS = {
    401: Kind.EXPIRED,
    404: Kind.ABSENT,
    412: Kind.CHANGED,
    416: Kind.PAST_END,
    501: Kind.UNSUPPORTED,
    429: Kind.LIMITED,
    **dict.fromkeys((RESUME_INCOMPLETE, 408, 500, 502, 503, 504), Kind.BUSY),
}
_HINTS = {
    401: CREDENTIALS,
    403: "the credentials do not allow this: check their roles on the bucket",
}


def meaning(error: Exception, bucket: str) -> Failure | None:
    """Classify an error; None if it is not one of these."""
    if isinstance(error, NoBucketError):
        return Failure(
            Kind.FINAL,
            f"there is no bucket {bucket}",
            "create the bucket, or check its name and endpoint_url",
        )
    if isinstance(error, RefusalError):
        return _answered(error)
    # Before broken connections: these are connection errors too.
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        if is_no_tls(error):
            return Failure(Kind.FINAL, "the service does not speak TLS there", NO_TLS)
        return Failure(Kind.FINAL, f"TLS failed: {error}", "for your own CA, set SSL_CERT_FILE")
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return Failure(Kind.FINAL, "the address of the service is invalid", _ENDPOINT)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure(Kind.UNREACHABLE, f"cannot connect: {error}", _ENDPOINT)
    if isinstance(error, (aiohttp.ClientError, ConnectionError, TimeoutError)):
        return Failure(Kind.BROKEN, f"the connection broke: {str(error) or type(error).__name__}", _ENDPOINT)
    if isinstance(error, (GoogleAuthError, HttpError, NonRetryableError, requests.RequestException)):
        return Failure(Kind.FINAL, f"no credentials: {error}", CREDENTIALS)
    return None


def _answered(error: RefusalError) -> Failure:
    kind = _KINDS.get(error.status, Kind.FINAL)
    # A 404 of another server says nothing about the object. Other statuses count, no matter who sent them.
    if kind is Kind.ABSENT and not error.known:
        return Failure(Kind.FINAL, "404 that does not come from the service", _STRANGER)
    if error.status == 400 and not error.known:
        return Failure(Kind.FINAL, "400 that does not come from the service", TLS)
    return Failure(kind, str(error), _HINTS.get(error.status, "" if error.known else _STRANGER))
