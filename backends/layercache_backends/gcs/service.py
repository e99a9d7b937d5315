"""Google Cloud Storage as an object service, one request per method. Imports gcsfs, so import it lazily.

https://cloud.google.com/storage/docs/json_api
"""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gcsfs import GCSFileSystem

from layercache.backend import Entry
from layercache.errors import ConfigError
from layercache_backends.gcs.errors import CREDENTIALS, meaning
from layercache_backends.gcs.requests import (
    NO_CONTENT,
    NOT_FOUND,
    OK,
    PARTIAL,
    PRECONDITION_FAILED,
    NoBucketError,
    RefusalError,
    Requests,
    used_now,
)
from layercache_backends.gcs.upload import ResumableUpload
from layercache_backends.objects.service import Direct, Kind, Page, Payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import aiohttp

    from layercache_backends.gcs.options import Options
    from layercache_backends.objects.service import Failure

_RESOURCE = "name,size,updated,customTime,generation"
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


class GCSService:
    """A bucket. As `layercache_backends.objects.service.Service`."""

    def __init__(self, bucket: str, options: Options, requests: Requests) -> None:
        self._bucket = bucket
        self._options = options
        self._requests = requests

    @classmethod
    async def connect(cls, bucket: str, options: Options) -> GCSService:
        """Create a client and find its credentials. Contacts only their issuer. Raises `ConfigError`."""
        files, session = await cls._new_client(bucket, options)
        # Half of the time for one connection, so that another one can be tried after a silent one.
        requests = Requests(files, session, bucket, options.timeout / 2, options.project)
        return cls(bucket, options, requests)

    async def renew(self) -> None:
        await self._requests.renew(*await self._new_client(self._bucket, self._options))

    @staticmethod
    async def _new_client(bucket: str, options: Options) -> tuple[GCSFileSystem, aiohttp.ClientSession]:
        try:
            files = await asyncio.to_thread(
                GCSFileSystem,
                asynchronous=True,
                endpoint_url=options.endpoint_url and options.endpoint_url.rstrip("/"),
                session_kwargs={"auto_decompress": False},  # bytes as they are stored
                skip_instance_cache=True,
                token=options.token and os.path.expanduser(options.token),
                use_listings_cache=False,
            )
        except Exception as error:  # google.auth has many errors, and a wrong file causes others
            raise ConfigError(
                f"gs://{bucket}: no credentials: {type(error).__name__}", hint=CREDENTIALS
            ) from error
        session = await files._set_session()  # noqa: SLF001  # gcsfs has no public name for it
        # Each open reader has a connection; a limit could deadlock readers that wait for each other.
        session.connector._limit = 0  # noqa: SLF001  # a connector of our own would lose gcsfs's mutual TLS
        # aiohttp must not send a chunk again before we have asked the service what it has.
        session._retry_connection = False  # noqa: SLF001  # as aiohttp's own test client does
        return files, session

    async def get(self, name: str, start: int, end: int | None, version: str | None) -> GCSBody:
        params = {"alt": "media", **({"generation": version} if version else {})}
        # Otherwise the service inflates objects stored as gzip by other programs, without ranges.
        headers = {"Accept-Encoding": "gzip"}
        if ranged := bool(start) or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        url, accept = self._requests.object(name), (PARTIAL,) if ranged else (OK,)
        try:
            answer = await self._requests.begin("GET", url, params, accept=accept, headers=headers)
        except RefusalError as error:
            if error.status != NOT_FOUND:
                raise
            await self._missing(name, version, error)
            # It is there: written since, or the 404 was another server's, whose next one is passed on.
            answer = await self._requests.begin("GET", url, params, accept=accept, headers=headers)
        return GCSBody(answer)

    async def _missing(self, name: str, version: str | None, error: RefusalError) -> None:
        """Raise the meaning of a 404 to a request for bytes; return if the object is there.

        The service answers with a line of text. If the text is not the service's, the object is asked for
        again, with JSON.
        """
        if isinstance(error, NoBucketError):
            raise error
        if not error.known:
            try:
                found = await self._resource(name)
            except RefusalError as other:
                if not (version and other.status == NOT_FOUND and other.known):
                    raise
            else:
                if version in (None, found["generation"]):
                    return
        if version:
            raise RefusalError(
                PRECONDITION_FAILED, "it was replaced or deleted while it was read", known=True
            ) from error
        raise error

    async def head(self, name: str) -> Entry:
        return _entry(await self._resource(name))

    async def _resource(self, name: str) -> dict[str, Any]:
        answer = await self._requests.ask("GET", self._requests.object(name), {"fields": _RESOURCE})
        return answer.document()

    async def put(self, name: str, data: Payload, *, version: str | None = None) -> None:
        # Two parts, a resource and the bytes: the resource has the object's time of use.
        boundary = uuid.uuid4().hex
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        wanted = {} if version is None else {"ifGenerationMatch": version or "0"}
        params = {"uploadType": "multipart", **wanted}
        data = _two_parts(boundary, name, data)
        with _of_the_bucket():
            await self._requests.ask("POST", self._requests.uploads, params, headers=headers, body=data)

    async def honours_conditions(self, prefix: str) -> bool:
        """As `Service.honours_conditions`: a write of a generation that never was, which leaves nothing.

        One object for all clients would be asked for more often than the service allows.
        """
        name = f"{prefix}.conditions-{uuid.uuid4().hex}"
        try:
            await self.put(name, Payload(), version="1")
        except RefusalError as error:
            if error.status != PRECONDITION_FAILED:
                raise
            return True
        await self.delete(name)
        return False

    async def begin(self, name: str) -> ResumableUpload:
        with _of_the_bucket():
            return await ResumableUpload.begin(self._requests, name)

    async def page(self, prefix: str, after: str | None) -> Page:
        params = {"fields": f"nextPageToken,items({_RESOURCE})", "prefix": prefix}
        if after:
            params["pageToken"] = after
        with _of_the_bucket():
            answer = await self._requests.ask("GET", self._requests.objects, params)
        found = answer.document()
        return Page([_entry(item) for item in found.get("items", ())], found.get("nextPageToken"))

    async def delete(self, name: str) -> None:
        await self._requests.ask("DELETE", self._requests.object(name), accept=(OK, NO_CONTENT))

    async def touch(self, name: str) -> None:
        await self._requests.ask(
            "PATCH",
            self._requests.object(name),
            {"fields": "name"},
            headers={"Content-Type": "application/json"},
            body=used_now(),
        )

    async def signed_url(self, name: str, seconds: int) -> str | None:
        if self._requests.anonymous:
            return f"{self._requests.endpoint}/{self._bucket}/{quote(name, safe='/~')}"
        from layercache_backends.gcs.signing import sign

        return await asyncio.to_thread(
            sign,
            self._requests.credentials,
            self._requests.endpoint,
            self._bucket,
            name,
            seconds,
            self._requests.paid_by,
        )

    async def direct(self, seconds: float) -> Direct:
        from layercache_backends.obstore.stores import gcs_store

        # As in `get`: bytes as they are stored.
        headers = {"Accept-Encoding": "gzip", **await self._requests.payer()}
        endpoint = self._requests.endpoint
        store = gcs_store(self._bucket, endpoint, self._requests.token(), headers, seconds)
        # obstore cannot set the custom time of an object, without which a lifecycle rule never deletes it.
        return Direct(store, writes=False, version="version")

    def failure(self, error: Exception) -> Failure | None:
        failure = meaning(error, self._bucket)
        if failure and failure.kind is Kind.EXPIRED and self._requests.anonymous:
            return replace(failure, kind=Kind.FINAL)  # anonymous requests have nothing to renew
        return failure

    async def close(self) -> None:
        await self._requests.close()


class GCSBody:
    """The bytes of one GET."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.version = answer.headers.get("X-Goog-Generation", "")
        self.start = 0
        if answer.status == PARTIAL:
            found = _SPAN.fullmatch(answer.headers.get("Content-Range", ""))
            self.start = int(found[1]) if found else -1  # -1: not the requested range
        if answer.content_length is None:
            answer.close()
            raise RefusalError(answer.status, "the response has no length", known=False)
        self.size = answer.content_length

    @property
    def modified(self) -> float | None:
        """The later one of the object's time and its custom time, as far as the service gives them."""
        times = []
        if stated := self._answer.headers.get("X-Goog-Custom-Time"):
            with suppress(ValueError):
                times.append(datetime.fromisoformat(stated).timestamp())
        if stated := self._answer.headers.get("Last-Modified"):
            with suppress(ValueError):
                times.append(parsedate_to_datetime(stated).timestamp())
        return max(times, default=None)

    async def read(self, size: int, /) -> bytes:
        return await self._answer.content.read(size)

    def close(self) -> None:
        self._answer.close()  # after the last byte the connection is already back in the pool


def _two_parts(boundary: str, name: str, data: Payload) -> Payload:
    """The body of a multipart upload (RFC 2387): the object's resource as JSON, and its bytes."""
    start = f"--{boundary}\r\nContent-Type: ".encode()
    resource = start + b"application/json\r\n\r\n" + used_now(name=name) + b"\r\n"
    media = start + b"application/octet-stream\r\n\r\n"
    whole = Payload(resource + media + data.getvalue() + f"\r\n--{boundary}--\r\n".encode())
    # Each attempt has a body of its own, and a byte that an earlier one has sent does not count as progress.
    whole.furthest = data.furthest

    def progress() -> None:
        data.furthest = whole.furthest
        data.progress()

    whole.progress = progress
    return whole


@contextmanager
def _of_the_bucket() -> Iterator[None]:
    """In a request without an object, a 404 means the bucket."""
    try:
        yield
    except RefusalError as error:
        if error.status == NOT_FOUND and error.known:
            raise NoBucketError(error.status, error.message, known=True) from error
        raise


def _entry(resource: Mapping[str, Any]) -> Entry:
    times = [resource["updated"], resource.get("customTime") or resource["updated"]]
    modified = max(datetime.fromisoformat(time).timestamp() for time in times)
    return Entry(resource["name"], int(resource["size"]), modified)
