"""The options of a URL of S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from layercache_backends.objects.backend import (
    DEFAULT_TIMEOUT,
    Engine,
)

Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the URL.

    ``endpoint_url``: the address of another service; ``region``: that of the bucket; ``profile``: a section
    of the AWS configuration; ``anon``: do not sign, for public buckets; ``addressing``: the bucket's name in
    the path or in the host name; ``timeout``: seconds without progress after which an operation fails;
    ``engine``: what transfers small objects; ``requester_pays``: pay instead of the bucket's owner; ``sse``
    and ``sse_kms_key_id``: how the service encrypts what is written, and with which of its keys.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    anon: bool = False
    addressing: Literal["auto", "path", "virtual"] = "auto"
    timeout: float = DEFAULT_TIMEOUT
    engine: Engine = "auto"
    requester_pays: bool = False
    sse: Encryption | None = None
    sse_kms_key_id: str | None = None
