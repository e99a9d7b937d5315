"""Google Cloud Storage: ``gs://bucket/prefix`` (or ``gcs://``) ``?project=…&token=anon``

Built on gcsfs, which finds credentials as Google's tools do (environment, gcloud, the machine), renews tokens
and manages connections. It is imported at the first use, not when the URL is opened.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from layercache.errors import ConfigError
from layercache_backends.gcs.options import METHODS, Options
from layercache_backends.objects.backend import (
    ObjectBackend,
    bucket_and_prefix,
    refuse_secrets,
    require,
    require_engine,
)
from layercache_backends.objects.sink import PART, ObjectSink

if TYPE_CHECKING:
    from layercache.backend import BackendURL, Sink
    from layercache_backends.objects.service import Service

CHUNK = 32 << 20
"""Bytes of a chunk of an object whose size is not known in advance: a multiple of 256 KiB."""


def from_url(url: BackendURL) -> ObjectBackend:
    """Return the backend of ``gs://bucket/prefix``. Connects nothing yet. Raises `ConfigError`."""
    refuse_secrets(replace(url, query={name: "" for name in url.query if name != "token"}))
    bucket, prefix = bucket_and_prefix(url)
    options = url.options(Options)
    _check(url, options)
    require("gcsfs", "gcs", url)
    require_engine(options.engine, "gcs", url)

    async def connect() -> Service:
        # If this is set, gcsfs asks for the kind of each bucket over gRPC, which emulators do not answer.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        from layercache_backends.gcs.service import GCSService

        return await GCSService.connect(bucket, options)

    place = f"gs://{bucket}/{prefix}".rstrip("/")
    return GCSBackend(place, prefix, options.timeout, connect, options.engine)


class GCSBackend(ObjectBackend):
    """An `ObjectBackend` that sends objects of known size as one request each."""

    def create(self, key: str) -> ObjectSink:
        return ObjectSink(self._session, self._name(key), f"writing {key}", lambda _: CHUNK)

    def create_sized(self, key: str, size: int) -> Sink:
        """As `SizedWrites.create_sized`. Small objects are sent when they are complete, without a session."""
        if size <= PART:
            return ObjectSink(self._session, self._name(key), f"writing {key}", size=size)
        from layercache_backends.gcs.sized_sink import SizedSink

        return SizedSink(self._session, self._name(key), f"writing {key}", size)


def _check(url: BackendURL, options: Options) -> None:
    """Raise `ConfigError` for wrong options. Their values may be secrets, so messages do not repeat them."""
    if options.timeout <= 0:
        raise ConfigError(f"{url.place}: timeout must be a positive number of seconds")
    token = options.token
    if token is not None and token not in METHODS and not os.path.isfile(os.path.expanduser(token)):
        raise ConfigError(
            f"{url.place}: token is not a file or a known way to find credentials",
            hint=f"expected the path of a credentials file, or {', '.join(METHODS)}; never a secret itself",
        )
    if options.endpoint_url is not None and not _is_address(options.endpoint_url):
        raise ConfigError(
            f"{url.place}: endpoint_url is not an address",
            hint="expected https://host:port, without a path or credentials",
        )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    more = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
    return sound and not more
