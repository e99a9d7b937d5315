"""S3 and compatible stores: ``s3://bucket/prefix?region=eu-central-1&endpoint_url=https://…``

Built on s3fs, which finds credentials as the AWS tools do (environment, profile, files, the machine's role),
and whose aiobotocore client is used directly. It is imported at the first use, not when the URL is opened.
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from layercache.backend import Leftover, is_key
from layercache.errors import ConfigError
from layercache_backends.objects.backend import (
    ObjectBackend,
    bucket_and_prefix,
    refuse_secrets,
    require,
    require_engine,
)
from layercache_backends.s3.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import BackendURL
    from layercache_backends.objects.service import Service
    from layercache_backends.s3.service import S3Service
    from layercache_backends.s3.upload import S3Upload, UploadPage


def from_url(url: BackendURL) -> S3Backend:
    """Return the backend of ``s3://bucket/prefix``. Imports and connects nothing yet."""
    # A key's id is not a secret.
    refuse_secrets(replace(url, query={name: "" for name in url.query if name != "sse_kms_key_id"}))
    bucket, prefix = bucket_and_prefix(url)
    options = url.options(Options)
    if options.sse_kms_key_id and options.sse is None:
        options = dataclasses.replace(options, sse="aws:kms")
    _check(url, options)
    require("s3fs", "s3", url)
    require_engine(options.engine, "s3", url)
    return S3Backend(bucket, prefix, options)


class S3Backend(ObjectBackend):
    """Objects of a bucket whose names begin with ``prefix`` ("" or ending in "/")."""

    def __init__(self, bucket: str, prefix: str, options: Options) -> None:
        async def connect() -> S3Service:
            from layercache_backends.s3.service import S3Service

            return await S3Service.connect(bucket, options)

        super().__init__(
            f"s3://{bucket}/{prefix}".rstrip("/"), prefix, options.timeout, connect, options.engine
        )

    def remove_leftovers(self, older_than: float) -> int:
        """As `Leftovers.remove_leftovers`: unfinished multipart uploads below the prefix."""
        count = 0
        for upload in self._unfinished():
            # A start in the future counts as now: it was set by another clock.
            if max(time.time() - upload.began, 0) >= older_than:
                self.call(f"removing an unfinished upload of {upload.name}", partial(_discard, upload=upload))
                count += 1
        return count

    def leftovers(self) -> Iterator[Leftover]:
        """As `CountedLeftovers.leftovers`, without sizes, which would take a request for each."""
        return (Leftover(upload.began) for upload in self._unfinished())

    def _unfinished(self) -> Iterator[S3Upload]:
        """Yield our unfinished uploads: those whose names are keys below the prefix."""
        after = None
        while True:
            page = self.call("listing unfinished uploads", partial(self._uploads, after=after))
            for upload in page.uploads:
                if is_key(upload.name.removeprefix(self._prefix)):
                    yield upload
            after = page.next
            if after is None:
                return

    async def _uploads(self, service: Service, after: tuple[str, str] | None) -> UploadPage:
        from layercache_backends.s3.service import S3Service

        assert isinstance(service, S3Service)
        return await service.uploads(self._prefix, after)


async def _discard(_: Service, upload: S3Upload) -> None:
    await upload.discard()


def _check(url: BackendURL, options: Options) -> None:
    if options.timeout <= 0:
        raise ConfigError(f"{url.place}: timeout must be a positive number of seconds")
    if options.sse_kms_key_id and options.sse == "AES256":
        raise ConfigError(
            f"{url.place}: sse_kms_key_id is not for sse=AES256",
            hint="expected sse=aws:kms or sse=aws:kms:dsse",
        )
    if options.endpoint_url is None:
        return
    try:
        endpoint = urlsplit(options.endpoint_url)
        sound = endpoint.scheme in ("http", "https") and endpoint.hostname and endpoint.port != 0
    except ValueError:
        sound = False
        endpoint = urlsplit("")
    if endpoint.username is not None or endpoint.password is not None or endpoint.query:
        raise ConfigError(
            f"{url.place}: endpoint_url must not hold credentials",
            hint="supply them as for the store's own tools: environment, profile, credentials file",
        )
    if not sound:
        raise ConfigError(f"{url.place}: endpoint_url is not a URL", hint="expected https://host:port")
