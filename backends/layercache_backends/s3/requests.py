"""Requests for the objects of one bucket: signed by botocore, and sent through its client's connections.

A call of botocore takes a millisecond of CPU (endpoint rules, validation, hooks, dates), and reads what it
sends twice, once to hash it. So we let the client prepare a request once, to learn the bucket's address, the
region and the kind of signature. That sends nothing. If the service reports that the bucket is elsewhere, the
client finds it, and we learn again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from aiobotocore.awsrequest import AioAWSResponse
from botocore.auth import UNSIGNED_PAYLOAD, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from layercache.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import ReadableBuffer

    from layercache_backends.objects.service import Payload

_NAME = "name"
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/\d{8}/([^/,]+)/s3/aws4_request,")
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301", "307"}
)
_SUM_WANTED = re.compile(r"content-?md5|x-amz-(sdk-)?checksum", re.IGNORECASE)
"""How a service demands the hash of an upload."""

_REFUSED_FIRST = 64 << 10
"""Bytes of a body from which on the service is asked first (100-continue): a refusal in the middle would
break the connection, and lose the reason.
"""

_HASHED_ASIDE = 1 << 20
"""Bytes whose hashing would block the event loop for too long."""


@dataclass(frozen=True)
class _Manner:
    """How the client sends a request to this bucket. ``region``: to sign for; None: unsigned."""

    base: str
    region: str | None
    agent: str


class Requests:
    """``client`` is aiobotocore's, ``session`` the one that made it, and knows the credentials.

    ``payer``: the client's header for who pays. ``sums``: whether the bucket has demanded the MD5 of uploads,
    as buckets with object lock do; computing it costs more than sending, so it is not done for others.
    """

    def __init__(self, client: Any, session: Any, bucket: str, *, requester_pays: bool = False) -> None:
        self.payer = {"RequestPayer": "requester"} if requester_pays else {}
        self.sums = False
        self._bucket = bucket
        self._parser = create_parser("rest-xml")
        self._learning = asyncio.Lock()  # otherwise learning could intercept another request
        self.use(client, session)

    def use(self, client: Any, session: Any) -> None:
        """Use this client from now on."""
        self.client = client
        self._session = session
        self._sender = client._endpoint.http_session  # noqa: SLF001  # its pool, proxies, TLS and errors
        self._manner: _Manner | None = None
        client.meta.events.register("before-sign.s3.CompleteMultipartUpload", _add_sum)

    async def ask(
        self,
        method: str,
        name: str,
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Payload | None = None,
    ) -> AioAWSResponse:
        """Return a successful response; the caller reads its body. Raises the client's errors."""
        for last in (False, False, True):
            summed = self.sums
            try:
                return await self._ask(method, name, params, headers, body)
            except ClientError as error:
                if last:
                    raise
                if error.response["Error"]["Code"] in _ELSEWHERE:
                    self._manner = await self._learn(truly=True)
                elif body is not None and not summed and _wants_sum(error):
                    self.sums = True
                else:
                    raise
                if body:
                    body.seek(0)
        raise AssertionError("the last try returns or raises")

    async def _ask(
        self,
        method: str,
        name: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Payload | None,
    ) -> AioAWSResponse:
        manner = await self._known()
        url = manner.base + _quoted(name) + (f"?{urlencode(params, quote_via=quote)}" if params else "")
        request = AWSRequest(method, url, {"User-Agent": manner.agent, **(headers or {})}, body)
        if self.payer:
            request.headers["x-amz-request-payer"] = "requester"
        request.stream_output = True
        size = len(body.getbuffer()) if body is not None else 0
        if body is not None:
            request.headers["Content-Length"] = str(size)
            if size > _REFUSED_FIRST:
                request.headers["Expect"] = "100-continue"
            if self.sums:
                summing = asyncio.to_thread(_md5, body) if size > _HASHED_ASIDE else None
                request.headers["Content-MD5"] = await summing if summing else _md5(body)
        if manner.region is not None:
            await self._sign(request, manner.region, body, size)
        answer: AioAWSResponse = await self._sender.send(request.prepare())
        if answer.status_code >= 300:
            raise await self._refusal(method, answer)
        return answer

    async def signed_url(self, name: str, seconds: int) -> str:
        """A URL for a GET, signed; not if nothing is signed here, since then anybody may read."""
        manner = await self._known()
        request = AWSRequest("GET", manner.base + _quoted(name))
        if self.payer:
            request.params["x-amz-request-payer"] = "requester"
        if manner.region is not None:
            S3SigV4QueryAuth(await self.credentials(), "s3", manner.region, expires=seconds).add_auth(request)
        return str(request.prepare().url)

    async def place(self) -> tuple[str, str | None]:
        """The part of an object's URL before its name, and the region to sign for; None: unsigned."""
        manner = await self._known()
        return manner.base, manner.region

    async def credentials(self) -> Any:
        """Return the current credentials, renewed if they expire soon."""
        return await (await self._session.get_credentials()).get_frozen_credentials()

    async def _known(self) -> _Manner:
        manner = self._manner or await self._learn()
        self._manner = manner
        return manner

    async def _sign(self, request: AWSRequest, region: str, body: Payload | None, size: int) -> None:
        signer = _Signer(await self.credentials(), "s3", region)
        if body is not None and is_guarded(request.url):
            signer.body_hash = UNSIGNED_PAYLOAD
        elif body is not None:
            hashing = asyncio.to_thread(_sha256, body) if size > _HASHED_ASIDE else None
            signer.body_hash = await hashing if hashing else _sha256(body)
        signer.add_auth(request)

    async def _refusal(self, method: str, answer: AioAWSResponse) -> ClientError:
        body = await answer.content
        told = {"headers": answer.headers, "status_code": answer.status_code, "body": body}
        return ClientError(await _awaited(self._parser.parse(told, None)), method)

    async def _learn(self, *, truly: bool = False) -> _Manner:
        """Learn how the client requests an object; ``truly``: let it send, so that it finds the bucket."""
        seen: list[Any] = []

        def look(request: Any, **_: object) -> AioAWSResponse | None:
            seen.append(request)
            return None if truly else AioAWSResponse(request.url, 404, {}, _Nothing())

        events = self.client.meta.events
        async with self._learning:
            events.register("before-send.s3.GetObject", look)
            try:
                await self.client.get_object(Bucket=self._bucket, Key=_NAME, Range="bytes=0-0", **self.payer)
            except ClientError:
                pass  # the response does not matter
            finally:
                events.unregister("before-send.s3.GetObject", look)
        request = seen[-1]
        signed = _text(request.headers.get("Authorization", ""))
        scope = _SCOPE.match(signed)
        url = request.url.partition("?")[0]
        if (signed and not scope) or not url.endswith(f"/{_NAME}"):
            raise BackendError(
                f"s3://{self._bucket}: requests to this bucket are signed in a way that is not supported",
                hint="use a general purpose bucket, and no signature_version other than s3v4",
            )
        agent = _text(request.headers.get("User-Agent", "layercache"))
        return _Manner(url.removesuffix(_NAME), scope[1] if scope else None, agent)


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs a request with a known hash of its body: reading the body would count as progress."""

    body_hash = hashlib.sha256().hexdigest()
    _headers: Any = None

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002  # botocore's signature
        return self.body_hash

    def headers_to_sign(self, request: AWSRequest) -> Any:
        """Computed once, because it is used twice and takes much of the work for a small object."""
        if self._headers is None:
            self._headers = super().headers_to_sign(request)
        return self._headers


class _Nothing:
    """An empty body."""

    async def read(self) -> bytes:
        return b""


def is_guarded(url: str) -> bool:
    """Whether the connection protects the bytes: TLS, or this machine. Otherwise their hash is signed."""
    place = urlsplit(url)
    host = place.hostname or ""
    try:
        return place.scheme == "https" or ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sha256(body: Payload) -> str:
    with body.getbuffer() as view:
        return hashlib.sha256(view).hexdigest()


def _md5(body: Payload) -> str:
    with body.getbuffer() as view:
        return _md5_of(view)


def _md5_of(data: ReadableBuffer) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _add_sum(request: AWSRequest, **_: object) -> None:
    """The list of an upload's parts is short, and always sent with its MD5."""
    request.headers["Content-MD5"] = _md5_of(request.body)


def _wants_sum(error: ClientError) -> bool:
    told = error.response["Error"]
    return bool(_SUM_WANTED.search(f"{told.get('Code')} {told.get('Message')}"))


def _quoted(name: str) -> str:
    return quote(name, safe="/~")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


async def _awaited(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) else value
