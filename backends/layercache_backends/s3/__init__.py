"""The backend of s3://: Amazon S3 and compatible stores, on s3fs."""

from layercache_backends.s3.backend import from_url

__all__ = ["from_url"]
