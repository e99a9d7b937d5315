"""What may stand after the "?" of a URL of Google Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass

from layercache_backends.objects.backend import (
    DEFAULT_TIMEOUT,
    Engine,
)

METHODS = ("anon", "cloud", "google_default")
"""What ``token`` may be beside a file: no credentials, the machine's own on Google Cloud, gcloud's."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand after the "?" of the URL.

    ``token``: a file of credentials, or one of `METHODS`; without it, what gcsfs finds. ``project``: who pays
    for the requests, where the bucket's owner does not. ``endpoint_url``: where the service is, if not at
    Google. ``timeout``: seconds without progress after which an operation fails. ``engine``: what small
    objects are moved by.
    """

    token: str | None = None
    project: str | None = None
    endpoint_url: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    engine: Engine = "auto"
