"""The keys of the table ``[serve]``. `layercache.serve.settings` has their meanings and defaults."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.config import values
from layercache.config.checker import key, wrong_type
from layercache.oci.repository_pattern import FORM, RepositoryPattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.config.checker import Checker, Parse

OPERATORS = "set it in your own configuration: it decides what this machine serves, and to whom"

PORTS = 65535
HEADERS_LEAST = 8 << 10

PATTERN = f"a pattern {FORM}"
PLACE = "a host, an address or a network: tokens.corp.example, 10.1.2.3, 10.0.0.0/8"
READERS = "PATTERN=USER[,USER], with * for all users: ghcr.io/team/*=ci,alice"

WRITERS = "PATTERN=USER[,USER], with * for all users: team/*=ci"
HOSTED = "repositories without a registry, with * for any characters: team/*"

_PATTERN = re.compile(r"[a-z0-9*][a-z0-9*._/-]*")

_FLAG = "true or false"
_COUNT = "an integer, at least 1"


def address(checker: Checker, value: object, _path: str) -> str:
    """An address to listen at."""
    text = checker.text(value)
    if not text or "/" in text or any(each.isspace() for each in text):
        raise ValueError(f"is {text!r}")
    return text


def port(_checker: Checker, value: object, _path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(value)
    if not 0 <= value <= PORTS:
        raise ValueError(f"is {value}")
    return value


def header_size(checker: Checker, value: object, path: str) -> int:
    """A size of headers: the server below takes no less."""
    found = values.size(checker, value, path)
    if found < HEADERS_LEAST:
        raise ValueError(f"is {found} bytes")
    return found


def texts(check: Callable[[str], object], wanted: str) -> Parse:
    """An array of strings, each of which ``check`` accepts, or raises `ValueError` for."""

    def parse(checker: Checker, value: object, path: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise wrong_type(value)

        def item(each: object, _number: int) -> str:
            text = checker.text(each)
            check(text)
            return text

        return checker.each(value, path, item, wanted)

    return parse


def place(text: str) -> None:
    """Check a host, an address or a network of the inside. Raises `ValueError`."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        if "/" in text:
            raise ValueError(f"not a network: {text!r}") from None
        values.registry(text)


def split_readers(text: str) -> tuple[RepositoryPattern, frozenset[str]]:
    """Whose rule it is that may read which repositories; "*" stands for all users. Raises `ValueError`."""
    pattern, equals, users = text.partition("=")
    found = frozenset(each.strip() for each in users.split(","))
    if not equals or "" in found:
        raise ValueError(f"is {text!r}")
    return RepositoryPattern.parse(pattern.strip()), found


def split_writers(text: str) -> tuple[str, frozenset[str]]:
    """Whose rule it is that may push to which hosted repositories. Raises `ValueError`."""
    pattern, _, _ = text.partition("=")
    _, users = split_readers(text)
    return _pattern(pattern.strip()), users


def patterns(checker: Checker, value: object, path: str) -> tuple[str, ...]:
    """Patterns of repositories that have no registry."""
    if not isinstance(value, list):
        raise wrong_type(value)
    return checker.each(value, path, lambda item, _: _pattern(checker.text(item)), HOSTED)


def _pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError(f"is {text!r}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeTable:
    """What the mirror is set up to do."""

    address: str | None = key(address, "an address of this machine: 127.0.0.1, ::, a host's name")
    port: int | None = key(port, "an integer from 0 (any free port) to 65535")
    workers: int | None = key(values.whole(1), _COUNT)
    tls_certificate: str | None = key(values.file, "a file of PEM certificates, the server's first")
    tls_key: str | None = key(values.file, "a file with the private key, PEM")
    default_upstream: str | None = key(values.upstream, "a registry: HOST or HOST:PORT")
    upstreams: tuple[str, ...] | None = key(
        texts(RepositoryPattern.parse, PATTERN), f"an array, each {PATTERN}"
    )
    inside: tuple[str, ...] | None = key(texts(place, PLACE), f"an array, each {PLACE}")
    htpasswd: str | None = key(values.file, "a file of lines USER:HASH, as htpasswd -B writes them")
    tokens: str | None = key(values.file, "a file of lines USER:HASH, each the SHA-256 of a token in hex")
    readers: tuple[str, ...] | None = key(texts(split_readers, READERS), f"an array, each {READERS}")
    access_age: float | None = key(values.age, f"0, or {values.SECONDS}")
    tag_age: float | None = key(values.age, f"0, or {values.SECONDS}")
    missing_age: float | None = key(values.age, f"0, or {values.SECONDS}")
    upstream_timeout: float | None = key(values.seconds, values.SECONDS)
    redirect: bool | None = key(values.flag, _FLAG)
    writable: bool | None = key(values.flag, _FLAG)
    hosted: tuple[str, ...] | None = key(patterns, f"an array: {HOSTED}")
    writers: tuple[str, ...] | None = key(texts(split_writers, WRITERS), f"an array, each {WRITERS}")
    uploads: str | None = key(values.folder, "a folder")
    max_uploads: int | None = key(values.whole(1), _COUNT)
    max_upload_size: int | None = key(values.size, values.SIZE)
    upload_age: float | None = key(values.seconds, values.SECONDS)
    page: bool | None = key(values.flag, _FLAG)
    access_log: str | None = key(values.choice("text", "json", "off"), "text, json or off")
    max_connections: int | None = key(values.whole(1), _COUNT)
    max_requests: int | None = key(values.whole(1), _COUNT)
    max_streams: int | None = key(values.whole(1), _COUNT)
    max_header_size: int | None = key(header_size, "a size of 8KiB or more")
    header_timeout: float | None = key(values.seconds, values.SECONDS)
    stall_timeout: float | None = key(values.seconds, values.SECONDS)
    stop_timeout: float | None = key(values.seconds, values.SECONDS)
