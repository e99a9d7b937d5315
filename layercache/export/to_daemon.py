"""Exports an image into a Docker daemon, over its socket: ``POST /images/load`` of the Engine API.

The archive is sent while it is made. Podman's service answers the same request.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import ssl
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast
from urllib.parse import urlsplit

from layercache.errors import ConfigError, SourceError
from layercache.export.to_archive import DockerArchive
from layercache.oci.reference import without_user
from layercache.streams.named_file import NamedFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

    from layercache.export.contents import Contents

CONNECT_TIMEOUT = 10.0
"""Seconds. The answer has no limit: a daemon unpacks the layers before it answers."""

ANSWER_MAX = 1 << 20
"""Bytes of the daemon's answer that are read."""

PORT = 2375
TLS_PORT = 2376


@dataclass(frozen=True, slots=True)
class DockerAddress:
    """Where the daemon listens, as ``$DOCKER_HOST`` has it: ``unix://PATH`` or ``tcp://HOST[:PORT]``.

    ``certificates``: the folder with ca.pem, cert.pem and key.pem for TLS; "" for none.
    """

    host: str = "unix:///var/run/docker.sock"
    certificates: str = ""


class DaemonTarget:
    """The images of a Docker daemon."""

    one_platform: ClassVar[bool] = True

    def __init__(self, address: DockerAddress, tag: str) -> None:
        self._address = address
        self._connection = _connection(address)
        self._tag = tag

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Send the archive; return how many files it has, and how many bytes they have."""
        archive = DockerArchive(contents, self._tag)
        with closing(self._connection) as connection:
            self._connect()
            connection.putrequest("POST", "/images/load?quiet=1")
            connection.putheader("Content-Type", "application/x-tar")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            body = _ChunkedBody(connection)
            found = 0, 0
            with suppress(BrokenPipeError):  # it has answered already, and hung up
                found = archive.write(NamedFile(cast("BinaryIO", body), self._name, rewindable=False), seen)
                body.end()
            self._check_answer(connection)
        return found

    @property
    def _name(self) -> str:
        return f"the Docker daemon at {without_user(self._address.host)}"

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except OSError as error:
            hint = "start it, or name another one in DOCKER_HOST"
            if isinstance(error, PermissionError):
                hint = "run this as root or as a member of the group docker"
            raise SourceError(
                f"cannot connect to {self._name}: {error.strerror or error}", hint=hint
            ) from error
        assert self._connection.sock is not None
        self._connection.sock.settimeout(None)

    def _check_answer(self, connection: http.client.HTTPConnection) -> None:
        """Raise `SourceError` unless the daemon has taken the image."""
        try:
            response = connection.getresponse()
            answer = response.read(ANSWER_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"{self._name} closed the connection: {error}") from error
        problems = []
        for line in answer.splitlines():
            with suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    problems += [str(message[key]) for key in ("error", "message") if message.get(key)]
        if response.status != http.client.OK or problems:
            reason = "; ".join(problems) or f"it answered {response.status} {response.reason}"
            raise SourceError(f"{self._name} did not load {self._tag}: {reason}")


class _ChunkedBody(io.RawIOBase):
    """The body of a request whose length is not known beforehand (RFC 9112, 7.1)."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        if view.nbytes:  # an empty chunk would end the body
            self._send(b"".join((b"%x\r\n" % view.nbytes, view, b"\r\n")))
        return view.nbytes

    def end(self) -> None:
        self._send(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise BrokenPipeError(*error.args) from error


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the socket of a path."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT)
        self.sock.connect(self._path)


def _connection(address: DockerAddress) -> http.client.HTTPConnection:
    scheme = host = path = ""
    port = None
    try:
        parts = urlsplit(address.host)
        host, path, port = parts.hostname or "", parts.path, parts.port
        host.encode("idna")  # as connecting does
        scheme = parts.scheme
    except ValueError:
        pass
    if scheme == "unix" and path:
        return _UnixConnection(path)
    if scheme != "tcp" or not host or not host.isprintable() or " " in host:
        raise ConfigError(
            f"DOCKER_HOST is {without_user(address.host)!r}",
            hint="wanted unix://PATH or tcp://HOST:PORT; else: layercache export IMAGE - | docker load",
        )
    if not address.certificates:
        return http.client.HTTPConnection(host, port or PORT, timeout=CONNECT_TIMEOUT)
    context = _tls(address.certificates)
    return http.client.HTTPSConnection(host, port or TLS_PORT, timeout=CONNECT_TIMEOUT, context=context)


def _tls(folder: str) -> ssl.SSLContext:
    """As Docker's client reads ``$DOCKER_CERT_PATH``."""
    certificate, key = (os.path.join(folder, name) for name in ("cert.pem", "key.pem"))
    try:
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        if os.path.exists(certificate):
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigError(
            f"cannot read the certificates for the Docker daemon in {folder}: {error}",
            hint="DOCKER_CERT_PATH names the folder with ca.pem, cert.pem and key.pem",
        ) from error
    return context
