"""The backend of file://: a folder on this machine. Atomic, durable, with locks."""

from layercache_backends.local.backend import LocalBackend, from_url

__all__ = ["LocalBackend", "from_url"]
