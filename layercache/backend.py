"""A backend: a store of named objects behind a URL. The interface that others implement.

A backend moves bytes. It never hashes, inflates or knows OCI. What a backend promises:

- What `Sink.commit` publishes appears whole or not at all, also when the process is killed, and a later
  ``open``, ``stat`` or ``scan`` sees it. Nothing of an aborted or killed write is ever visible by name.
- Publishing under a name that is taken replaces the object whole and refreshes its time: the last
  writer wins.
- Absence is `NotFoundError` and never a guess. A refused connection, a missing permission, an answer that
  the service did not give are `BackendError`, with the cause kept.
- Methods are thread-safe. A forked child gets fresh clients and never commits, aborts or flushes a sink of
  its parent.

What only some can do is in `layercache.capabilities`. `layercache.testing.BackendContract` checks all of it;
subclass it in your tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from layercache.errors import ConfigError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from _typeshed import DataclassInstance, ReadableBuffer, WriteableBuffer

OptionsT = TypeVar("OptionsT", bound="DataclassInstance")

INTERFACE = 1
"""The version of this interface. A plug-in may state as ``INTERFACE``, beside its factory, which one it was
written for: a newer one is refused when it is loaded.
"""

ENTRY_POINT_GROUP = "layercache.backends"

IN_THE_BOX: Mapping[str, str] = {
    "az": "layercache_backends.obspec:from_url",
    "azure": "layercache_backends.obspec:from_url",
    "fsspec+": "layercache_backends.fsspec:from_url",
    "file": "layercache_backends.local:from_url",
    "gcs": "layercache_backends.gcs:from_url",
    "gs": "layercache_backends.gcs:from_url",
    "memory": "layercache_backends.memory:from_url",
    "s3": "layercache_backends.s3:from_url",
}
"""Scheme to factory, for what comes in the box: a look-up without the cost of importlib.metadata.

A name that ends in "+" stands for all schemes that begin so (``fsspec+sftp``).
"""


SMALL_OBJECT = 64 << 10
"""Bytes of a fact, or of what a tag names, at most: a bigger object is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its key, its size in bytes, when it was last published (seconds since the epoch)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an unfinished write takes up. ``began``: when it did, or was last written to, in seconds since the
    epoch by the store's clock; ``size``: bytes, None where the store does not state them.
    """

    began: float
    size: int | None = None


class Reader(Protocol):
    """The bytes of an object, or of a range of it, in order."""

    @property
    def size(self) -> int | None:
        """How many bytes this reader gives in all. A backend always knows; a source may not: None."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer's start; how many bytes it took. 0 only at the end, or for an empty buffer."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that is left for -1. Empty only at the end, or when asked for 0."""

    def seekable(self) -> bool:
        """Whether ``seek`` and ``tell`` are there and work as those of `io.IOBase`."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Sink(Protocol):
    """An object being written. It appears with ``commit``, whole; without, never.

    Leaving the ``with`` block without ``commit()`` aborts, whatever the reason. ``commit`` and ``abort``
    end the sink; another ``abort`` is no error, a ``write`` or ``commit`` after the end is `BackendError`.
    """

    def write(self, data: ReadableBuffer, /) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Backend(Protocol):
    """A store of named objects. Keys match the grammar of `check_key`; the core sees to that."""

    @property
    def url(self) -> str:
        """How this store is named in messages and statistics. Holds no secret."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        """Read bytes ``start`` to ``end`` (exclusive; None: to the end of the object).

        What lies past the object's end is not there: such a range is short or empty, never an error.
        Raises `NotFoundError` now, not at the first read; `ValueError` unless 0 <= start <= end.
        """

    def create(self, key: str) -> Sink:
        """Begin to write an object."""

    def stat(self, key: str) -> Entry:
        """The object's size and time. Raises `NotFoundError`."""

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Every object below a folder (a prefix that ends in "/"), or all; lazily, in any order."""

    def delete(self, key: str) -> None:
        """Remove the object. Deleting what is not there is no error."""

    def close(self) -> None:
        """Give back connections and handles. Closing twice is no error."""


_KEY = re.compile(
    r"(?=.{1,900}\Z)[A-Za-z0-9_][A-Za-z0-9_.+:@=-]{0,254}(/[A-Za-z0-9_][A-Za-z0-9_.+:@=-]{0,254})*"
)


def is_key(text: str) -> bool:
    """Whether `check_key` would take it."""
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """The key, if it is one: 1 to 900 ASCII characters in components parted by "/".

    A component has 1 to 255 letters, digits or ``_ . + : @ = -`` and begins with a letter, a digit or
    "_": so no component is empty, hidden, "." or "..". No key is a folder of another: that is for the
    caller to keep. Raises `InvalidNameError`.
    """
    if not is_key(key):
        raise InvalidNameError(
            f"not an object name: {key!r}",
            hint="wanted components of letters, digits and _.+:@=- parted by '/', none empty or hidden",
        )
    return key


def check_prefix(prefix: str) -> None:
    """Raise `ValueError` unless it is empty or ends in "/", `InvalidNameError` unless keys may begin so."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"not a folder: {prefix!r} (wanted a prefix that ends in '/')")
        check_key(prefix[:-1])


def check_range(start: int, end: int | None) -> None:
    """Raise `ValueError` unless 0 <= start <= end."""
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"not a range: {start} to {end}")


@dataclass(frozen=True, slots=True)
class BackendURL:
    """A backend's URL in its parts: ``scheme://location?option=value``."""

    scheme: str
    netloc: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> BackendURL:
        """Take a URL apart. A path that begins with "/", "./", "../" or "~" is a local folder.

        Raises `ConfigError`.
        """
        if url.startswith(("/", "./", "../", "~")) or url in (".", ".."):
            if "?" in url:
                raise ConfigError(
                    f"a path takes no options: {url}", hint="write it as file:///path?name=value"
                )
            return cls("file", "", url)
        # What stands before an "@" may be a password: it is not repeated.
        shown = f"…@{url.rpartition('@')[2]}" if "@" in url else url
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise ConfigError(
                f"not a cache URL: {shown!r}: {error}", hint="options are written ?name=value&other=value"
            ) from error
        if not parts.scheme or not url.startswith(f"{parts.scheme}://"):
            raise ConfigError(
                f"not a cache URL: {shown!r}",
                hint="wanted scheme://location (file:///var/cache/layers) or a path (./layers)",
            )
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"a cache URL must not hold credentials: {parts.scheme}://…@{parts.hostname}{parts.path}",
                hint="give them as the store's own tools take them: environment, profile, credentials file",
            )
        if parts.fragment:
            raise ConfigError(f"not a cache URL: {url!r}", hint="a '#' in a name is written %23")
        if len(dict(pairs)) < len(pairs):
            raise ConfigError(f"not a cache URL: {url!r}", hint="each option is given once")
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
        """The URL without its options, for messages: a value given to the wrong option may be a secret."""
        if self.scheme == "file" and self.path.startswith((".", "~")):
            return self.path
        return f"{self.scheme}://{self.netloc}{quote(self.path, safe='/~:@!$&+,;=')}"

    def options(self, kind: type[OptionsT]) -> OptionsT:
        """The query as a dataclass whose fields are the known options, converted to their types.

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
                hint=f"{self.scheme}:// knows {', '.join(known) or 'no options'}",
            )
        try:
            return msgspec.convert(dict(self.query), kind, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{self.place}: {error}", hint=f"{self.scheme}:// knows {', '.join(known)}"
            ) from error


def open_backend(url: str | BackendURL, *, also: Iterable[str] = ()) -> Backend:
    """The backend that a URL names. ``also``: schemes that the caller knows, for messages.

    Raises `ConfigError`, also where a plug-in cannot be loaded or makes no backend, and `BackendError`.
    """
    parsed = BackendURL.parse(url) if isinstance(url, str) else url
    family, plus, rest = parsed.scheme.partition("+")
    names = (parsed.scheme, f"{family}+") if plus and rest else (parsed.scheme,)
    if target := next((IN_THE_BOX[name] for name in names if name in IN_THE_BOX), None):
        import importlib

        module, _, name = target.partition(":")
        backend: Backend = getattr(importlib.import_module(module), name)(parsed)
        return backend
    from layercache import plugins

    installed = plugins.installed(ENTRY_POINT_GROUP)
    for entry in installed:
        if entry.name in names:
            factory = plugins.factory_of(entry, parsed.scheme, INTERFACE)
            plugin: Backend = plugins.made(entry, partial(factory, parsed), parsed.place)
            return plugin
    known = sorted({*IN_THE_BOX, *also, *(entry.name for entry in installed)})
    raise ConfigError(
        f"unknown scheme {parsed.scheme}://", hint=f"known are {', '.join(known)}; others come by plug-in"
    )
