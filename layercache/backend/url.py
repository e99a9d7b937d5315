"""The URL of a store, and its options."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance


OptionsT = TypeVar("OptionsT", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class BackendURL:
    """A parsed URL of a backend: ``scheme://location?option=value``."""

    scheme: str
    netloc: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> BackendURL:
        """Parse a URL. A path that begins with "/", "./", "../" or "~" is a local folder.

        Raises `ConfigError`.
        """
        if url.startswith(("/", "./", "../", "~")) or url in (".", ".."):
            if "?" in url:
                raise ConfigError(
                    f"a path cannot have options: {url}", hint="write it as file:///path?name=value"
                )
            return cls("file", "", url)
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
                hint="expected scheme://location (file:///var/cache/layers) or a path (./layers)",
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
        return cls(parts.scheme, parts.netloc, unquote(parts.path), dict(pairs))

    def __str__(self) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.place}{query}"

    @property
    def host(self) -> str:
        """The host of ``scheme://host:port/``, without the brackets of an IPv6 address; empty if none."""
        return urlsplit(f"//{self.netloc}").hostname or ""

    @property
    def port(self) -> int | None:
        """The port of ``scheme://host:port/``; None if none is given. Raises `ConfigError`."""
        try:
            return urlsplit(f"//{self.netloc}").port
        except ValueError as error:
            raise ConfigError(f"{self.place}: {error}", hint="a port is a number up to 65535") from error

    @property
    def place(self) -> str:
        """The URL without its options, for messages: their values may be secrets."""
        if self.scheme == "file" and self.path.startswith((".", "~")):
            return self.path
        return f"{self.scheme}://{self.netloc}{quote(self.path, safe='/~:@!$&+,;=')}"

    def options(self, kind: type[OptionsT]) -> OptionsT:
        """Convert the query to a dataclass whose fields are the known options.

        Raises `ConfigError` for an unknown option or a value of the wrong type, listing the known ones.
        """
        if not self.query:
            return kind()
        import msgspec

        known = [item.name for item in fields(kind)]
        unknown = [name for name in self.query if name not in known]
        if unknown:
            raise ConfigError(
                f"{self.place}: unknown option {', '.join(unknown)}",
                hint=f"options of {self.scheme}://: {', '.join(known) or 'none'}",
            )
        try:
            return msgspec.convert(dict(self.query), kind, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{self.place}: {error}", hint=f"options of {self.scheme}://: {', '.join(known)}"
            ) from error
