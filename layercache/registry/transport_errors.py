"""Turns transport failures into errors that say what to do."""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING

from urllib3.exceptions import (
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
)

from layercache.errors import SourceError
from layercache.registry import hints
from layercache.registry.retry import TransientError
from layercache.registry.settings import API_HOSTS
from layercache.registry.urls import place

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_NOT_HTTP = "the answer is not HTTP"


def translated(error: Exception, url: SplitResult) -> SourceError:
    """What a failure to get an answer means, in words that name host and port but no path and no secret."""
    where = place(url)
    if isinstance(error, ProxyError):
        return TransientError(f"the proxy for {where} failed: {reason(error.original_error)}")
    if isinstance(error, SSLError | ssl.SSLError):
        return _tls_error(error, url)
    if isinstance(error, NameResolutionError):
        cause = error.__cause__
        if not isinstance(cause, socket.gaierror) or cause.errno != socket.EAI_AGAIN:
            return SourceError(f"{_called(url)}: {reason(error)}", hint=hints.UNREACHABLE)
    if isinstance(error, LocationValueError):
        return SourceError(f"not a URL of a server: {where}")
    if isinstance(error, NewConnectionError):
        return TransientError(f"cannot connect to {where}: {reason(error)}", hint=hints.UNREACHABLE)
    # The way of TLS servers that do not know HTTP: they hang up, or answer with a TLS alert.
    hung_up = url.scheme == "http" and isinstance(error, ProtocolError)
    hint = f"if it speaks TLS, {hints.tls(url.netloc)}" if hung_up else hints.UNREACHABLE
    return TransientError(f"no answer from {where}: {reason(error)}", hint=hint)


def _called(url: SplitResult) -> str:
    """Names a host that was not found, and the registry that users know by another name."""
    registry = next((name for name, host in API_HOSTS.items() if host == url.hostname), "")
    return f"there is no host {url.hostname}" + (f", which serves {registry}" if registry else "")


def unquoted(error: Exception) -> Exception:
    """The error, to be kept as a cause; another of its kind where its text holds a URL or what a server sent,
    which may be a secret.
    """
    if isinstance(error, LocationValueError):
        return LocationValueError("not a URL of a server")
    if isinstance(error, ProtocolError) and reason(error) == _NOT_HTTP:
        return ProtocolError(_NOT_HTTP)
    return error


def _tls_error(error: Exception, url: SplitResult) -> SourceError:
    text, where = str(error), place(url)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return SourceError(
            f"the certificate of {where} is not trusted: {reason(error)}",
            hint=hints.certificate(url.netloc),
        )
    # OpenSSL's messages for an answer that is not a TLS record, by version.
    if any(word in text for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")):
        return SourceError(
            f"{where} does not speak TLS",
            hint=hints.no_tls(url.netloc),
        )
    return TransientError(f"no TLS connection to {where}: {reason(error)}")


def reason(error: BaseException) -> str:
    """The shortest true words for it: the operating system's, where it has any."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if isinstance(error, IncompleteRead | RemoteDisconnected):
            return "the connection was closed"
        if isinstance(error, HTTPException):
            return _NOT_HTTP
        inner = next((each for each in error.args if isinstance(each, BaseException)), error.__cause__)
    # urllib3 puts the connection's repr in front.
    return str(error).rpartition("): ")[2] or type(error).__name__
