"""The URL of a store, and its options."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec
from msgspec import field

from layercache.errors import ConfigError, did_you_mean
from layercache.value import Value, convert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance


OptionsT = TypeVar("OptionsT", bound="DataclassInstance")

_PATHS = ("/", "./", "../", "~")
_SAFE = "/~:@!$&+,;="

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-~")
"""Characters that a URL never quotes. With these alone, a path and options need no urllib.parse, whose import
takes as long as reading a cached layer.
"""


def quoted(path: str, safe: str = _SAFE) -> str:
    """The path as it stands in a URL."""
    if _PLAIN.issuperset(path):
        return path
    from urllib.parse import quote

    return quote(path, safe=safe)


def is_path(text: str, folder: str = "") -> bool:
    """Whether the text is the path of a folder and not a URL; one in ``folder`` may be named without "./"."""
    if text.startswith(_PATHS) or text in (".", ".."):
        return True
    return (
        ":" not in text and bool(text) and (text.endswith("/") or os.path.isdir(os.path.join(folder, text)))
    )


class BackendURL(Value, frozen=True):
    """A parsed URL of a backend: ``scheme://location?option=value``.

    ``tier_options``: names of the options that the tier handles, so that error messages list them, too.
    """

    scheme: str
    netloc: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    tier_options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, url: str) -> BackendURL:
        """Parse a URL. A path that begins with "/", "./", "../" or "~" is a local folder.

        A name without a ":" is one as well if it ends in "/" or if there is such a folder. Raises
        `ConfigError`.
        """
        if is_path(url):
            if "?" in url:
                raise ConfigError(
                    f"a path cannot have options: {url}", hint="write it as file:///path?name=value"
                )
            path = url if url.startswith(_PATHS) or url in (".", "..") else f"./{url}"
            return cls("file", "", _checked_path(path))
        if (plain := _plain_folder(url)) is not None:
            path, options = plain
            return cls("file", "", _checked_path(path), options)
        from urllib.parse import parse_qsl, unquote, urlsplit

        # The part before an "@" may be a password, so it is not repeated.
        shown = f"…@{url.rpartition('@')[2]}" if "@" in url else url
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise ConfigError(
                f"not a cache URL: {shown!r}: {error}", hint="write options as ?name=value&other=value"
            ) from error
        if not parts.scheme or not url.startswith(f"{parts.scheme}://"):
            raise ConfigError(
                f"not a cache URL: {shown!r}",
                hint=f"expected scheme://location (file:///var/cache/layers), or a path: {_as_folder(shown)}",
            )
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"a cache URL must not hold credentials: {parts.scheme}://…@{parts.hostname}{parts.path}",
                hint="supply them as for the store's own tools: environment, profile, credentials file",
            )
        if parts.fragment:
            raise ConfigError(f"not a cache URL: {url!r}", hint="write a '#' in a name as %23")
        if len(dict(pairs)) < len(pairs):
            raise ConfigError(f"not a cache URL: {url!r}", hint="give each option once")
        netloc, path = parts.netloc, unquote(parts.path)
        if parts.scheme == "file" and netloc.startswith("~"):  # file://~/layers, file://~user/layers
            netloc, path = "", netloc + path
        return cls(parts.scheme, netloc, _checked_path(path) if parts.scheme == "file" else path, dict(pairs))

    def __str__(self) -> str:
        if not self.query:
            return self.place
        place = f"file://{quoted(self.path)}" if self.place.startswith("~") else self.place
        return f"{place}?{_encoded(self.query)}"

    @property
    def host(self) -> str:
        """The host of ``scheme://host:port/``, without the brackets of an IPv6 address; empty if none."""
        from urllib.parse import urlsplit

        return urlsplit(f"//{self.netloc}").hostname or ""

    @property
    def port(self) -> int | None:
        """The port of ``scheme://host:port/``; None if none is given. Raises `ConfigError`."""
        from urllib.parse import urlsplit

        try:
            return urlsplit(f"//{self.netloc}").port
        except ValueError as error:
            raise ConfigError(f"{self.place}: {error}", hint="a port is a number up to 65535") from error

    @property
    def place(self) -> str:
        """The URL without its options, for messages: their values may be secrets."""
        if self.scheme == "file" and self.path.startswith((".", "~")):
            return self.path
        return f"{self.scheme}://{self.netloc}{quoted(self.path)}"

    def options(self, kind: type[OptionsT]) -> OptionsT:
        """Convert the query to a dataclass, or a `msgspec.Struct`, whose fields are the known options.

        Raises `ConfigError` for an unknown option or a value of the wrong type, listing the known ones.
        """
        if not self.query:
            return kind()
        known = _names(kind)
        unknown = [name for name in self.query if name not in known]
        hint = f"options of {self.scheme}://: {', '.join(known) or 'none'}"
        if self.tier_options:
            hint += f"; of every tier: {', '.join(self.tier_options)}"
        if unknown:
            similar = did_you_mean(unknown[0], [*known, *self.tier_options])
            raise ConfigError(f"{self.place}: unknown option {', '.join(unknown)}", hint=similar + hint)
        try:
            return cast("OptionsT", convert(dict(self.query), kind, strict=False))
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.place}: {error}", hint=hint) from error


def _names(kind: type[DataclassInstance]) -> list[str]:
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    from dataclasses import fields  # takes as long to import as all that is needed of a tier on a disk

    return [item.name for item in fields(kind)]


def _plain_folder(url: str) -> tuple[str, dict[str, str]] | None:
    """Path and options of a file:/// URL in which nothing is quoted; None of any other, or a wrong one."""
    path, _, query = url.removeprefix("file://").partition("?")
    if not url.startswith("file:///") or not _PLAIN.issuperset(path):
        return None
    pairs = [pair.split("=") for pair in query.split("&")] if query else []
    if not all(len(pair) == 2 and _PLAIN.issuperset(pair[0] + pair[1]) for pair in pairs):
        return None
    options = dict(pairs)
    return (path, options) if len(options) == len(pairs) else None


def _encoded(options: Mapping[str, str]) -> str:
    if all(_PLAIN.issuperset(text) and "/" not in text for pair in options.items() for text in pair):
        return "&".join(f"{name}={value}" for name, value in options.items())
    from urllib.parse import urlencode

    return urlencode(options)


def _checked_path(path: str) -> str:
    """Refuse what no file system has, and a folder ~ in the root of the disk: the home folder is meant."""
    if "\0" in path:
        raise ConfigError(f"not the path of a folder: {path!r}", hint="a path has no NUL byte")
    if path.startswith("/~"):
        raise ConfigError(
            f"{path} is a folder in the root of the disk, not below a home folder",
            hint=f"write file://{path[1:]} or {path[1:]}",
        )
    return path


def _as_folder(text: str) -> str:
    """How to write a text that is not a URL, if it was meant as a new folder."""
    return f"./{text}" if text and not set(text) & set(":?#@…") else "./layers"
