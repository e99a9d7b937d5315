"""Turns a registry's error answer into an error: absence, denial, a transient failure, or another failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from layercache.errors import LayercacheError, NotFoundError, SourceError
from layercache.oci.descriptor import NOT_VALID
from layercache.registry import hints
from layercache.registry.credential import login_command, printable
from layercache.registry.credentials import Login
from layercache.registry.http import read_all
from layercache.registry.redaction import redacted
from layercache.registry.retry import TransientError, retry_after
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from urllib3.response import BaseHTTPResponse

    from layercache.oci.reference import Reference

PARTS_ABSENT = frozenset({"MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})
"""The codes by which it refuses a manifest or index that names what its repository does not have."""

PASSING = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
"""Transient statuses. From 520 on they are Cloudflare's, for a server behind it that does not answer."""

READING = frozenset({"GET", "HEAD", "DELETE"})
"""Methods for which a 404 means that the named object is absent."""

BODY_MAX = 64 << 10
WORDS_MAX = 200
_NOBODY = Login()


class MissingPartError(SourceError):
    """A manifest or index was refused, since the repository lacks something that it names."""


class _Complaint(NamedTuple):
    code: str
    message: str


def refusal(
    response: BaseHTTPResponse,
    reference: Reference,
    url: str,
    *,
    method: str = "GET",
    elsewhere: bool = False,
    login: Login = _NOBODY,
    secrets: Iterable[str] = (),
) -> LayercacheError:
    """Return the error for an answer of status 3xx to 5xx. Reads the answer to its end.

    Absence is a 404 with a registry's list of errors in its body (distribution-spec, "Error Codes"),
    whatever their codes: Harbor's is NOT_FOUND, and some have none. Any other 404 may come from a proxy.
    ``elsewhere``: a server answered that the registry redirected to. ``login`` is who asked; ``secrets`` are
    removed from the registry's words.
    """
    body = _body(response)
    complaints = complaints_in(body)
    hidden = [*secrets, *login.secrets]
    words = "; ".join(quoted(f"{each.code} {each.message}".strip(), hidden) for each in complaints)
    said = f"{response.status} {words}".strip()
    asked = urlsplit(url)
    what = _what(reference, asked.path) + (", redirected to another server" if elsewhere else "")
    if response.status == 404 and complaints and method in READING:
        place = f"{asked.scheme}://{asked.netloc}{asked.path}"
        return NotFoundError(
            f"{what} is not in its registry: {words}", looked_in=[place], hint=_spelling(reference)
        )
    if method == "PUT" and any(each.code in PARTS_ABSENT for each in complaints):
        return MissingPartError(f"{what} names something that is not in its repository: {said}")
    if response.status in PASSING:
        return _transient(response, reference, f"{what}: the registry answered {said}")
    if response.status in (401, 403) and not elsewhere:
        return _denied(reference, method, login, said, response.status)
    if response.status == 404 and not complaints:
        return SourceError(
            f"{what}: answered 404, but not as a registry does",
            hint=f"is {asked.netloc} a registry, and nothing on the way that answers for it?",
        )
    if response.status == 400 and asked.scheme == "http" and wants_tls(body):
        return SourceError(
            f"{asked.netloc} speaks TLS, and was contacted without it", hint=hints.tls(reference.registry)
        )
    return SourceError(f"{what}: the registry answered {said}")


def wants_tls(body: bytes) -> bool:
    """Whether the body of a 400 complains about plain HTTP at a port for TLS."""
    # Go, nginx and Apache each have a different sentence, with this word in it.
    return b"HTTPS" in body or b"SSL-enabled" in body


def _spelling(reference: Reference) -> str:
    """A hint for an image that is not there."""
    return (
        f"check the name; layercache tags {reference.name} lists the tags"
        if reference.tag and not reference.digest
        else "check the repository and the digest"
    )


def _transient(response: BaseHTTPResponse, reference: Reference, message: str) -> TransientError:
    limited = response.status == 429
    return TransientError(
        message,
        hint=f"its limit may be higher after {login_command(reference.registry)}" if limited else "",
        retry_after=retry_after(response.headers),
        limited=limited,
    )


def _denied(reference: Reference, method: str, login: Login, said: str, status: int) -> LayercacheError:
    refused = "give" if method in ("GET", "HEAD") else "change"
    whom = f" as {login.who}" if login.credential else ""
    return login.refused(
        f"{reference.registry} refuses to {refused} {reference.repository}{whom}: {said}",
        f"{login.advice(reference.registry)}; or there is no such repository",
        status=status,
    )


def _what(reference: Reference, path: str) -> str:
    """What was asked for. Paths of uploads and of links may contain a key, so they are not printed."""
    kind, _, selector = path.removeprefix(f"/v2/{reference.repository}/").partition("/")
    if kind not in ("manifests", "blobs") or "/" in selector:
        return reference.name
    return str(reference) if selector == reference.selector else f"{reference.name}@{selector}"


def quoted(words: str, secrets: Iterable[str]) -> str:
    """A server's words, fit for a terminal and without our secrets."""
    if len(words) > WORDS_MAX:
        words = words[:WORDS_MAX].rpartition(" ")[0]  # never a part of a word, which may be part of a secret
    return printable(redacted(words, secrets))


def _body(response: BaseHTTPResponse) -> bytes:
    try:
        return read_all(response, BODY_MAX, "the refusal")
    except SourceError:
        return b""


def complaints_in(body: bytes) -> list[_Complaint]:
    """The errors that a registry's error body lists; none for any other body."""
    fields = _fields(body)
    errors = fields.get("errors")
    return [
        _Complaint(str(each.get("code") or ""), str(each.get("message") or ""))
        for each in (errors if isinstance(errors, list) else ())
        if isinstance(each, dict)
    ]


def reason_in(body: bytes) -> str:
    """Why a token server refuses, in its words, as registries write them or as others do; else nothing."""
    fields = _fields(body)
    listed = "; ".join(f"{each.code} {each.message}".strip() for each in complaints_in(body))
    named = (fields.get(name) for name in ("details", "error_description", "message", "error"))
    return listed or next((text for text in named if isinstance(text, str) and text), "")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json_decoder().decode(body)
    except NOT_VALID:
        return {}
    return fields if isinstance(fields, dict) else {}
