"""Objects that are sent to S3 in parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from layercache_backends.s3.errors import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache_backends.objects.service import Payload
    from layercache_backends.s3.requests import Requests


@dataclass(slots=True)
class S3Upload:
    """A multipart upload. ``began``: its start in seconds since the epoch; 0 for a new one."""

    requests: Requests
    bucket: str
    name: str
    id: str
    began: float = 0.0
    in_flight: int = 2
    tags: dict[int, str] | None = None

    async def send(self, number: int, offset: int, data: Payload, *, last: bool) -> None:  # noqa: ARG002  # S3 counts
        which = {"partNumber": str(number), "uploadId": self.id}
        answer = await self.requests.ask("PUT", self.name, which, body=data)
        await answer.content
        self.tags = {**(self.tags or {}), number: answer.headers["etag"]}

    async def complete(self) -> None:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted((self.tags or {}).items())]
        await self.requests.client.complete_multipart_upload(
            Bucket=self.bucket,
            Key=self.name,
            UploadId=self.id,
            MultipartUpload={"Parts": parts},
            **self.requests.payer,
        )

    async def discard(self) -> None:
        try:
            await self.requests.client.abort_multipart_upload(
                Bucket=self.bucket, Key=self.name, UploadId=self.id, **self.requests.payer
            )
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":  # another client, or an earlier attempt, has done it
                raise


@dataclass(frozen=True, slots=True)
class UploadPage:
    """A page of unfinished uploads; ``next`` as that of `Page`."""

    uploads: Sequence[S3Upload]
    next: tuple[str, str] | None
