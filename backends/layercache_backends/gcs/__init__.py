"""The backend of gs://: Google Cloud Storage, on gcsfs."""

from layercache_backends.gcs.backend import from_url

__all__ = ["from_url"]
