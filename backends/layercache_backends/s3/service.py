"""S3 as an object service, one request per method. Imports s3fs, so import it lazily."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import s3fs
from aiobotocore.response import AioStreamingBody
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError

from layercache.backend import Entry
from layercache.errors import ConfigError
from layercache_backends.objects.service import FREE, Direct, Page, Payload
from layercache_backends.s3.errors import REFUSED, REGION, code_of, meaning
from layercache_backends.s3.requests import Requests, is_guarded
from layercache_backends.s3.upload import S3Upload, UploadPage

if TYPE_CHECKING:
    from aiobotocore.awsrequest import AioAWSResponse

    from layercache_backends.objects.service import Failure
    from layercache_backends.s3.options import Options

READ_AHEAD = 1 << 20
"""Bytes buffered from a connection (up to twice as many)."""

COPY_MAX = 5 << 30
"""Bytes that the service copies in one request."""

_TOO_LARGE = ("InvalidRequest", "EntityTooLarge")
"""How it refuses to copy more."""


_PROBE = b"layercache overwrites this to find out whether the service heeds conditions\n"
_NO_TAG = "0" * 32
"""No object has this tag. It has no quotes, so it is sent once."""


@cache
def _data_files(search_path: str | None) -> Loader:
    """The data of botocore about S3. Loading it takes 0.1 s of CPU, so the clients of a process share it."""
    return create_loader(search_path)


class S3Service:
    """A bucket, through the client of an s3fs file system. As `objects.service.Service`."""

    def __init__(self, bucket: str, options: Options, client: Any, session: Any) -> None:
        self._bucket = bucket
        self._options = options
        self._requests = Requests(client, session, bucket, requester_pays=options.requester_pays)
        self._before: Any = None
        """The client before the last renewal: readers may still have its connections."""
        self._tags = ""
        """How the service compares tags: "quoted" or "bare"; "" until a condition with one has held."""
        self._encryption = {
            name: value
            for name, value in (
                ("x-amz-server-side-encryption", options.sse),
                ("x-amz-server-side-encryption-aws-kms-key-id", options.sse_kms_key_id),
            )
            if value
        }

    @classmethod
    async def connect(cls, bucket: str, options: Options) -> S3Service:
        """Create a client for the bucket, without contacting it. Raises `ConfigError`."""
        return cls(bucket, options, *await cls._new_client(bucket, options))

    async def renew(self) -> None:
        client, session = await self._new_client(self._bucket, self._options)
        if self._before:
            await self._before.close()
        self._before = self._requests.client
        self._requests.use(client, session)

    @staticmethod
    async def _new_client(bucket: str, options: Options) -> tuple[Any, Any]:
        """Create a client, and the session that has its credentials."""
        config: dict[str, Any] = {
            # The session retries, because it knows about progress.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "connect_timeout": options.timeout,
            "read_timeout": options.timeout,
            # Each open reader has a connection; a limit could deadlock readers that wait for each other.
            "max_pool_connections": 1000,
            # Compatible services lack trailing checksums. Plain HTTP uploads are signed with their sha256.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": options.addressing},
        }
        try:
            session = AioSession(profile=options.profile)
            session.register_component("data_loader", _data_files(session.get_config_variable("data_path")))
            files = s3fs.S3FileSystem(
                anon=options.anon,
                endpoint_url=options.endpoint_url,
                session=session,
                client_kwargs={"region_name": options.region} if options.region else {},
                config_kwargs=config,
                asynchronous=True,
                loop=asyncio.get_running_loop(),
                skip_instance_cache=True,
                use_listings_cache=False,
            )
            return await files.set_session(), session
        except ProfileNotFound as error:
            raise ConfigError(
                f"s3://{bucket}: {error}", hint="use a profile of ~/.aws/config, or omit the option"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"s3://{bucket}: {error}", hint=REGION) from error

    async def get(self, name: str, start: int, end: int | None, version: str | None) -> S3Body:
        wanted: dict[str, str] = {}
        if start or end is not None:
            wanted["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if version is not None:
            wanted["If-Match"] = version
        return S3Body(await self._requests.ask("GET", name, headers=wanted))

    async def head(self, name: str) -> Entry:
        """Get one byte: unlike a HEAD, that distinguishes a missing object from other 404s."""
        try:
            body = S3Body(await self._requests.ask("GET", name, headers={"Range": "bytes=0-0"}))
        except ClientError as error:
            if code_of(error) not in ("InvalidRange", "416"):
                raise
            # It exists and is empty.
            answer = await self._requests.client.head_object(
                Bucket=self._bucket, Key=name, **self._requests.payer
            )
            return Entry(name, answer["ContentLength"], answer["LastModified"].timestamp())
        try:
            if body.size <= 1:
                await body.read(1)
        finally:
            body.close()
        return Entry(name, body.total, body.modified)

    async def put(self, name: str, data: Payload, *, version: str | None = None) -> None:
        bare = (version or "").strip('"')
        try:
            await self._put(name, data, bare if self._tags == "bare" else version)
        except ClientError as error:
            # Some services compare a condition with the tag without its quotes.
            if self._tags or version in (None, bare) or code_of(error) not in REFUSED:
                raise
            data.seek(0)
            await self._put(name, data, bare)
            self._tags = "bare"
        else:
            self._tags = self._tags or ("quoted" if version else "")

    async def _put(self, name: str, data: Payload, version: str | None) -> None:
        condition = {"If-None-Match": "*"} if version == FREE else {"If-Match": version} if version else {}
        answer = await self._requests.ask("PUT", name, headers={**self._encryption, **condition}, body=data)
        await answer.content

    async def honours_conditions(self, prefix: str) -> bool:
        """As `Service.honours_conditions`, with one object for all clients.

        It stays, since who may not delete would leave one each time, and its name is not a key.
        """
        name = f"{prefix}.conditions"
        taken = await self._refuses(name, FREE) or await self._refuses(name, FREE)
        return taken and await self._refuses(name, _NO_TAG)

    async def _refuses(self, name: str, version: str) -> bool:
        try:
            await self.put(name, Payload(_PROBE), version=version)
        except ClientError as error:
            if code_of(error) not in (*REFUSED, "NoSuchKey"):
                raise
            return True
        return False

    async def begin(self, name: str) -> S3Upload:
        answer = await self._requests.client.create_multipart_upload(
            Bucket=self._bucket, Key=name, **self._sse(), **self._requests.payer
        )
        return S3Upload(self._requests, self._bucket, name, answer["UploadId"])

    def _sse(self) -> dict[str, str]:
        """The client's parameters for how the service encrypts what is written."""
        more = {"ServerSideEncryption": self._options.sse, "SSEKMSKeyId": self._options.sse_kms_key_id}
        return {option: value for option, value in more.items() if value}

    async def page(self, prefix: str, after: str | None) -> Page:
        more = {"ContinuationToken": after} if after else {}
        answer = await self._requests.client.list_objects_v2(
            Bucket=self._bucket, Prefix=prefix, **more, **self._requests.payer
        )
        if "IsTruncated" not in answer:
            raise ResponseParserError(
                "a truncated listing"
            )  # an empty response would parse as an empty listing
        entries = [
            Entry(item["Key"], item["Size"], item["LastModified"].timestamp())
            for item in answer.get("Contents", ())
        ]
        return Page(entries, answer.get("NextContinuationToken") if answer["IsTruncated"] else None)

    async def delete(self, name: str) -> None:
        answer = await self._requests.ask("DELETE", name)
        await answer.content

    async def touch(self, name: str) -> None:
        """Copy the object onto itself, which S3 allows only if something of it is replaced: its metadata.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
        """
        try:
            await self._requests.client.copy_object(
                Bucket=self._bucket,
                Key=name,
                CopySource={"Bucket": self._bucket, "Key": name},
                MetadataDirective="REPLACE",
                **self._sse(),
                **self._requests.payer,
            )
        except ClientError as error:
            if code_of(error) not in _TOO_LARGE or (entry := await self.head(name)).size <= COPY_MAX:
                raise
            await self._touch_in_parts(entry)

    async def _touch_in_parts(self, entry: Entry) -> None:
        upload = await self.begin(entry.key)
        try:
            tags = {}
            for number, start in enumerate(range(0, entry.size, COPY_MAX), 1):
                answer = await self._requests.client.upload_part_copy(
                    Bucket=self._bucket,
                    Key=entry.key,
                    UploadId=upload.id,
                    PartNumber=number,
                    CopySource={"Bucket": self._bucket, "Key": entry.key},
                    CopySourceRange=f"bytes={start}-{min(start + COPY_MAX, entry.size) - 1}",
                    **self._requests.payer,
                )
                tags[number] = answer["CopyPartResult"]["ETag"]
            upload.tags = tags
            await upload.complete()
        except BaseException:
            await upload.discard()
            raise

    async def signed_url(self, name: str, seconds: int) -> str:
        return await self._requests.signed_url(name, seconds)

    async def uploads(self, prefix: str, after: tuple[str, str] | None) -> UploadPage:
        """List a page of unfinished uploads."""
        more = {"KeyMarker": after[0], "UploadIdMarker": after[1]} if after else {}
        answer = await self._requests.client.list_multipart_uploads(
            Bucket=self._bucket, Prefix=prefix, **more, **self._requests.payer
        )
        uploads = [
            S3Upload(
                self._requests, self._bucket, item["Key"], item["UploadId"], item["Initiated"].timestamp()
            )
            for item in answer.get("Uploads", ())
        ]
        following = (answer.get("NextKeyMarker", ""), answer.get("NextUploadIdMarker", ""))
        return UploadPage(uploads, following if answer.get("IsTruncated") else None)

    async def direct(self, seconds: float) -> Direct:
        from layercache_backends.obstore.stores import s3_store

        base, region = await self._requests.place()
        loop = asyncio.get_running_loop()

        def credentials() -> dict[str, str | None]:
            asked = asyncio.run_coroutine_threadsafe(self._requests.credentials(), loop)
            found = asked.result(seconds)
            return {
                "access_key_id": found.access_key,
                "secret_access_key": found.secret_key,
                "token": found.token,
            }

        options = self._options
        more = {
            "unsigned_payload": is_guarded(base),  # as our own requests
            "request_payer": options.requester_pays,
            "checksum_algorithm": "sha256" if self._requests.sums else None,
            "server_side_encryption": options.sse,
            "sse_kms_key_id": options.sse_kms_key_id,
        }
        more = {key: value for key, value in more.items() if value is not None}
        store = s3_store(self._bucket, base, region, credentials, seconds, more)
        return Direct(store, writes=True, version="e_tag")

    def failure(self, error: Exception) -> Failure | None:
        return meaning(error, self._bucket)

    async def close(self) -> None:
        for client in filter(None, (self._before, self._requests.client)):
            await client.close()


class S3Body:
    """The bytes of one GET. ``total``: the size of the object; ``modified``: when it was published."""

    def __init__(self, answer: AioAWSResponse) -> None:
        headers = answer.headers
        # aiohttp would read 64 KiB, and wait until they are consumed.
        answer.raw.content.set_read_chunk_size(READ_AHEAD)
        self._stream = AioStreamingBody(answer.raw, headers["content-length"])
        self._modified = headers["last-modified"]
        self.size = int(headers["content-length"])
        self.version: str = headers.get("etag", "")
        # "bytes 5-9/100"
        span, _, total = headers.get("content-range", f"bytes 0-/{self.size}").partition("/")
        self.start = int(span.removeprefix("bytes ").partition("-")[0])
        self.total = int(total)

    @property
    def modified(self) -> float:
        return parsedate_to_datetime(self._modified).timestamp()

    async def read(self, size: int, /) -> bytes:
        data: bytes = await self._stream.read(size)
        return data

    def close(self) -> None:
        self._stream.close()
