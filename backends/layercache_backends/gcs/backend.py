"""Google Cloud Storage: ``gs://bucket/prefix`` (or ``gcs://``) ``?project=…&token=anon``

On gcsfs, which finds the credentials as Google's tools do (environment, gcloud, the machine's own), renews
tokens and holds the connections. It is imported at the first use, not when the URL is opened.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from layercache.errors import ConfigError
from layercache_backends.gcs.options import METHODS, Options
from layercache_backends.objects.backend import (
    ObjectBackend,
    bucket_and_prefix,
    refuse_secrets,
    require,
    require_engine,
)

if TYPE_CHECKING:
    from layercache.backend import BackendURL
    from layercache_backends.objects.service import Service


def from_url(url: BackendURL) -> ObjectBackend:
    """The backend of ``gs://bucket/prefix``. Nothing is imported or connected yet. Raises `ConfigError`."""
    refuse_secrets(replace(url, query={name: "" for name in url.query if name != "token"}))
    bucket, prefix = bucket_and_prefix(url)
    options = url.options(Options)
    _check(url, options)
    require("gcsfs", "gcs", url)
    require_engine(options.engine, "gcs", url)

    async def connect() -> Service:
        # With this on, gcsfs asks over gRPC what kind each bucket is: an emulator leaves that unanswered.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        from layercache_backends.gcs.service import GCSService

        return await GCSService.connect(bucket, options)

    place = f"gs://{bucket}/{prefix}".rstrip("/")
    return ObjectBackend(place, prefix, options.timeout, connect, options.engine)


def _check(url: BackendURL, options: Options) -> None:
    """Raise `ConfigError`. What stands in the wrong place may be a secret: it is not repeated."""
    if options.timeout <= 0:
        raise ConfigError(f"{url.place}: timeout must be more than 0 seconds")
    token = options.token
    if token is not None and token not in METHODS and not os.path.isfile(os.path.expanduser(token)):
        raise ConfigError(
            f"{url.place}: token is neither a file nor a known way to find credentials",
            hint=f"wanted the path of a file of credentials, or {', '.join(METHODS)}; never a secret itself",
        )
    if options.endpoint_url is not None and not _is_address(options.endpoint_url):
        raise ConfigError(
            f"{url.place}: endpoint_url is no address",
            hint="wanted https://host:port and no more: no path, no credentials",
        )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    more = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
    return sound and not more
