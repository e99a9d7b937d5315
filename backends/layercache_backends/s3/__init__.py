"""S3, and what speaks its protocol."""

from layercache_backends.s3.backend import from_url

__all__ = ["from_url"]
