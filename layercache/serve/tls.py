"""The certificate and the key that the mirror shows to its clients."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

Identity = tuple[int, int, int, int]


class Certificate(Value, frozen=True):
    """A certificate and its key that belong together, as files that do not change.

    A worker reads them when it starts, also one that follows a crashed one, weeks later: that must not depend
    on what has been written into the configured files since. ``descriptors``: to close when no worker can
    need them any more.
    """

    certificate: str
    key: str
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        for each in self.descriptors:
            os.close(each)


def load(certificate: str, key: str) -> Certificate:
    """Read both files. Raises `ConfigError` if they cannot be read, or do not belong together."""
    copies = [_copy(certificate), _copy(key)]
    loaded = Certificate(copies[0][0], copies[1][0], tuple(fd for _, fd in copies if fd >= 0))
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # With an empty password, a key that is encrypted is an error, and not a question on the terminal.
        context.load_cert_chain(loaded.certificate, loaded.key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        loaded.close()
        raise ConfigError(
            f"{certificate} and {key} are not a certificate and its key: {_reason(error)}",
            hint="expected PEM: the server's certificate first, then intermediate ones; no encrypted key",
        ) from error
    return loaded


def identities(files: Iterable[str | None]) -> list[Identity | None]:
    """What changes when a file is written or replaced, also behind a link; None for a missing one."""
    return [None if each is None else _identity(each) for each in files]


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _copy(path: str) -> tuple[str, int]:
    """The path of a copy in memory, and its descriptor. Where that does not exist, the path itself and -1."""
    if not hasattr(os, "memfd_create"):  # macOS
        return path, -1
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    descriptor = os.memfd_create("layercache-tls")
    os.write(descriptor, data)
    return f"/proc/self/fd/{descriptor}", descriptor


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
