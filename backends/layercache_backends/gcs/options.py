"""The options of a URL of Google Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass

from layercache_backends.objects.backend import (
    DEFAULT_TIMEOUT,
    Engine,
)

METHODS = ("anon", "cloud", "google_default")
"""Values of ``token`` other than a file: no credentials, the machine's (on Google Cloud), gcloud's."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the URL.

    ``token``: a credentials file, or one of `METHODS`; without it, what gcsfs finds. ``project``: who pays
    for the requests, if the bucket's owner does not. ``endpoint_url``: the address of another service.
    ``timeout``: seconds without progress after which an operation fails. ``engine``: what transfers small
    objects.
    """

    token: str | None = None
    project: str | None = None
    endpoint_url: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    engine: Engine = "auto"
