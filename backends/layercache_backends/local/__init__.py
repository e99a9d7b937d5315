"""A folder on this machine: atomic, durable, with locks."""

from layercache_backends.local.backend import LocalBackend, from_url

__all__ = ["LocalBackend", "from_url"]
