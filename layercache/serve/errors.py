"""Errors of the cache and of upstreams, as the distribution-spec has them."""

from __future__ import annotations

import math

from layercache.errors import IntegrityError, InvalidNameError, LayercacheError, NotFoundError, SourceError
from layercache.registry.credentials import DeniedError
from layercache.registry.retry import TransientError
from layercache.serve.messages import Headers, RegistryError

RETRY_AFTER = 5.0
"""Seconds after which a client may try again, where the upstream does not say."""


def registry_error(error: LayercacheError, absent: str = "NOT_FOUND") -> RegistryError:
    """The distribution-spec's error for one of ours; ``absent``: the code for what does not exist.

    Only what an upstream or the cache itself said to be absent is a 404: clients take that for the truth.
    """
    message = error.message
    if isinstance(error, NotFoundError):
        return RegistryError(404, absent, message)
    if isinstance(error, InvalidNameError):
        return RegistryError(400, "NAME_INVALID", message)
    if isinstance(error, TransientError) and error.limited:
        return RegistryError(429, "TOOMANYREQUESTS", message, headers=retry_later(error.retry_after))
    if isinstance(error, DeniedError):
        return RegistryError(403, "DENIED", message)
    if isinstance(error, TransientError):
        return RegistryError(503, "UNAVAILABLE", message, headers=retry_later(error.retry_after))
    if isinstance(error, SourceError | IntegrityError):
        return RegistryError(502, "UNAVAILABLE", message)
    return RegistryError(500, "UNKNOWN", message)


def retry_later(seconds: float | None) -> Headers:
    """The header that asks a client to wait: at least a second, in whole ones."""
    return [("retry-after", str(max(1, math.ceil(RETRY_AFTER if seconds is None else seconds))))]
