"""Requests to one bucket by Google Cloud Storage's JSON API, through gcsfs's session and credentials.

gcsfs's own calls are not used: they retry six times with unbounded pauses, send a chunk of an upload again
without asking what the service has of it, and do not distinguish a missing object from a missing bucket.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import aiohttp

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Mapping

    from gcsfs import GCSFileSystem

    from layercache_backends.gcs.window import Body

OK, CREATED, NO_CONTENT, PARTIAL, RESUME_INCOMPLETE = 200, 201, 204, 206, 308
NOT_FOUND, PRECONDITION_FAILED = 404, 412

_READ_BUFFER = 1 << 20
"""Bytes buffered for a reader (up to twice as many): aiohttp's default of 64 KiB halves the rate."""

_PAYER = "x-goog-user-project"

_NO_OBJECT = "No such object:"
_NO_BUCKET = "The specified bucket does not exist"
"""How the service's messages about missing things begin. For a request of bytes they are not JSON."""


class RefusalError(Exception):
    """An unsuccessful response. ``known``: it has the service's format, so it is not a proxy's."""

    def __init__(self, status: int, message: str, *, known: bool) -> None:
        super().__init__(f"{status} {message}".strip())
        self.status = status
        self.message = message
        self.known = known


class NoBucketError(RefusalError):
    """The bucket does not exist."""


@dataclass(frozen=True)
class Answer:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """Parse the body as JSON. Raises `RefusalError` if it is not JSON: another server responded."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RefusalError(self.status, "the response is not the service's JSON", known=False)
        return found


class Requests:
    """``silence``: seconds without a byte before another connection is tried; ``project``: who pays."""

    def __init__(
        self,
        fs: GCSFileSystem,
        session: aiohttp.ClientSession,
        bucket: str,
        silence: float,
        project: str | None = None,
    ) -> None:
        self._before: tuple[GCSFileSystem, aiohttp.ClientSession] | None = None
        """The session before the last renewal: readers may still have its connections."""
        self._use(fs, session)
        self.paid_by = {"userProject": project} if project else {}
        """The parameter that names who pays, if it is not the bucket's owner."""
        self._asking = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
        # The service may take its time to store what was sent; the caller's timeout limits that.
        self._sending = aiohttp.ClientTimeout(total=None, sock_connect=silence)
        self.endpoint = str(fs._location)  # noqa: SLF001  # gcsfs has no public name for it
        self.objects = f"{self.endpoint}/storage/v1/b/{_quoted(bucket)}/o"
        """The URL of the listing; that of an object is below it."""
        self.uploads = f"{self.endpoint}/upload/storage/v1/b/{_quoted(bucket)}/o"

    def _use(self, fs: GCSFileSystem, session: aiohttp.ClientSession) -> None:
        self._fs = fs
        self._session = session

    async def renew(self, fs: GCSFileSystem, session: aiohttp.ClientSession) -> None:
        """Use these credentials and this session from now on."""
        if self._before:
            await self._before[1].close()
        self._before = self._fs, self._session
        self._use(fs, session)

    def object(self, name: str) -> str:
        return f"{self.objects}/{_quoted(name)}"

    async def ask(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (OK,),
        headers: Mapping[str, str] | None = None,
        body: bytes | io.BytesIO | Body | None = None,
    ) -> Answer:
        """Return the whole response. Raises `RefusalError`, `aiohttp.ClientError`, `TimeoutError`."""
        # aiohttp does not inflate responses here (see `begin`), so they must not be compressed.
        headers = {"Accept-Encoding": "identity", **(headers or {})}
        answer = await self.begin(method, url, params, accept=accept, headers=headers, body=body)
        async with answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def begin(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (OK,),
        headers: Mapping[str, str] | None = None,
        body: bytes | io.BytesIO | Body | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request; the caller reads the body and closes the response. Raises as `ask`."""
        # An upload session may be at another host, and needs no credentials: its URL is the secret.
        own = urlsplit(url).netloc == urlsplit(self.endpoint).netloc
        answer = await self._session.request(
            method,
            url,
            params={**self.paid_by, **(params or {})} if own else params,
            headers={**(await self._credentials() if own else {}), **(headers or {})},
            data=body,
            allow_redirects=False,
            read_bufsize=_READ_BUFFER,
            timeout=self._sending if body else self._asking,
        )
        if answer.status not in accept:
            async with answer:
                raise _refusal(answer.status, await answer.content.read(64 << 10))
        return answer

    async def close(self) -> None:
        """Close the connections."""
        for session in filter(None, (self._before and self._before[1], self._session)):
            await session.close()

    @property
    def anonymous(self) -> bool:
        return self.credentials is None

    @property
    def credentials(self) -> Any:
        """Those of google-auth; None if there are none."""
        return self._fs.credentials.credentials

    def token(self) -> Callable[[], str] | None:
        """A function that returns the current token, and blocks to renew it; None for anonymous requests."""
        if self.anonymous:
            return None

        def token() -> str:
            keeper = self._fs.credentials  # those of now
            keeper.maybe_refresh()
            return str(keeper.credentials.token)

        return token

    async def payer(self) -> dict[str, str]:
        """The header that names who pays, if it is not the bucket's owner."""
        if self.paid_by:
            return {_PAYER: self.paid_by["userProject"]}
        return {name: value for name, value in (await self._credentials()).items() if name.lower() == _PAYER}

    async def _credentials(self) -> dict[str, str]:
        """The headers with the token. Renewing an expired token blocks, so it happens in a thread."""
        if self.anonymous:
            return {}
        headers: dict[str, str] = await asyncio.to_thread(self._fs._get_headers, None)  # noqa: SLF001  # as above
        return headers


def used_now(**resource: str) -> bytes:
    """The JSON of an object's resource, with a custom time of now.

    Lifecycle rules can count from it (``daysSinceCustomTime``), but never match an object without one.
    https://cloud.google.com/storage/docs/metadata#custom-time
    """
    return json.dumps({**resource, "customTime": datetime.now(UTC).isoformat()}).encode()


def _refusal(status: int, body: bytes) -> RefusalError:
    text = body.decode("utf-8", "replace").strip()
    try:
        error = json.loads(text)["error"]
        message, known = str(error["message"]).strip(), int(error["code"]) == status
    except (ValueError, KeyError, TypeError):
        known = text.startswith((_NO_OBJECT, _NO_BUCKET))
        message = text if known else ""
    kind = NoBucketError if message.startswith(_NO_BUCKET) else RefusalError
    return kind(status, message, known=known)


def _quoted(name: str) -> str:
    return quote(name, safe="")
