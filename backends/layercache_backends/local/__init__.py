"""The backend of file://: a folder on this machine. Atomic, durable, with locks."""

from layercache.errors import ConfigError

try:
    import fcntl
except ImportError as error:
    raise ConfigError(
        "file://: a cache in a folder needs Linux or macOS: this Python lacks POSIX file locks (fcntl)",
        hint="on Windows, run layercache in WSL",
    ) from error
else:
    from layercache_backends.local.backend import LocalBackend, from_url

    del fcntl

__all__ = ["LocalBackend", "from_url"]
