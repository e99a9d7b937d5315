"""Google Cloud Storage."""

from layercache_backends.gcs.backend import from_url

__all__ = ["from_url"]
