"""The backend of fsspec+PROTOCOL://: any file system of fsspec."""

from layercache_backends.fsspec.backend import FsspecBackend, from_url

__all__ = ["FsspecBackend", "from_url"]
