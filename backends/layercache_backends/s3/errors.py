"""Classifies errors of S3, of its credentials, and of the connection."""

from __future__ import annotations

import asyncio
import http.client

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProxyConnectionError,
    ResponseStreamingError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from layercache_backends.objects.service import NO_TLS, TLS, Failure, Kind, is_no_tls

_CREDENTIALS = (
    "set AWS_PROFILE (or ?profile=), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
    "for a public bucket ?anon=true"
)
REGION = "set ?region= or AWSREGION to the region of the bucket, and ?endpoint_url= where it is not Amazon's"
_EXPIRED = "the credentials have expired: get new ones (aws sso login)"
_ENDPOINT = "check endpoint_url and region, and whether the service runs and can be reached from here"

REFUSED = ("PreconditionFailed", "412")
"""The codes of a condition that does not hold."""

_KINDS = {
    **dict.fromkeys(REFUSED, Kind.CHANGED),
    "NoSuchKey": Kind.ABSENT,
    "InvalidRange": Kind.PAST_END,
    "416": Kind.PAST_END,
    "NotImplemented": Kind.UNSUPPORTED,
    "501": Kind.UNSUPPORTED,
    "RequestTimeout": Kind.BUSY,
    "RequestTimeTooSlow": Kind.BUSY,
    "BadDigest": Kind.BUSY,
    "ConditionalRequestConflict": Kind.BUSY,
    "ExpiredToken": Kind.EXPIRED,
    "ExpiredTokenException": Kind.EXPIRED,
    "InvalidToken": Kind.EXPIRED,
    "InvalidTokenId": Kind.EXPIRED,
    "TokenRefreshRequired": Kind.EXPIRED,
    "OperationAborted": Kind.BUSY,
}
_BUSY_STATUS = frozenset({500, 502, 503, 504})
_HINTS = {
    "NoSuchBucket": "create the bucket, or check its name, region and endpoint_url",
    "InvalidBucketName": "check the name of the bucket in the URL",
    "AccessDenied": "the credentials do not allow this: check the policies of the bucket and of the user",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": f"the secret key may be wrong: {_CREDENTIALS}",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "PermanentRedirect": REGION,
    "TemporaryRedirect": REGION,
    "AuthorizationHeaderMalformed": REGION,
    "IllegalLocationConstraintException": REGION,
}
_BROKEN = (
    ConnectionClosedError,
    ConnectionResetError,
    ConnectTimeoutError,
    HTTPClientError,
    IncompleteReadError,
    ResponseParserError,
    ResponseStreamingError,
    http.client.IncompleteRead,
    aiohttp.ClientPayloadError,
    aiohttp.ClientConnectionError,
    asyncio.TimeoutError,
)


def meaning(error: Exception, bucket: str) -> Failure | None:
    """Classify an error; None if it is not one of these."""
    if isinstance(error, ClientError):
        return _answered(error, bucket)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return Failure(Kind.FINAL, f"no credentials: {error}", _CREDENTIALS)
    if isinstance(error, (CredentialRetrievalError, TokenRetrievalError, UnauthorizedSSOTokenError)):
        return Failure(Kind.FINAL, f"no credentials: {error}", "get new ones (aws sso login)")
    if isinstance(error, NoRegionError):
        return Failure(Kind.FINAL, str(error), REGION)
    if isinstance(error, SSLError):
        if is_no_tls(error):
            return Failure(Kind.FINAL, "the service does not speak TLS there", NO_TLS)
        return Failure(Kind.FINAL, f"TLS failed: {error}", "for your own CA, set AWS_CA_BUNDLE")
    if isinstance(error, (EndpointConnectionError, ProxyConnectionError)):
        return Failure(Kind.UNREACHABLE, f"cannot connect: {error}", _ENDPOINT)
    if isinstance(error, _BROKEN):
        return Failure(Kind.BROKEN, f"the connection broke: {error or type(error).__name__}", _ENDPOINT)
    if isinstance(error, BotoCoreError):
        return Failure(Kind.FINAL, str(error))
    return None


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: ClientError, bucket: str) -> Failure:
    """Classify a response of the service."""
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = error.response.get("Error", {}).get("Message", "")
    if code == "NoSuchBucket":
        return Failure(Kind.FINAL, f"there is no bucket {bucket}", _HINTS[code])
    kind = _KINDS.get(code)
    if kind is None and (status == 429 or "SlowDown" in code or "Throttl" in code):
        kind = Kind.LIMITED
    elif kind is None and status in _BUSY_STATUS:
        kind = Kind.BUSY
    if kind is not None:
        return Failure(kind, f"{code}: {said}", _EXPIRED if kind is Kind.EXPIRED else "")
    hint = _HINTS.get(code, "")
    if status == 404 and code in ("404", ""):
        return Failure(
            Kind.FINAL,
            "404 that does not come from the service",
            "check for a proxy in between, and that the address is that of an S3 service",
        )
    if status == 400 and code in ("400", ""):  # an answer without the service's own words
        hint = TLS
    if status in (401, 403) and not hint:
        hint = _HINTS["AccessDenied"]
    return Failure(Kind.FINAL, f"{code}: {said}" if said else f"status {status} {code}".rstrip(), hint)
