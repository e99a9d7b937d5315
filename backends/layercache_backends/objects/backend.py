"""A backend on an object service (S3, GCS): the part that all of them share.

To add a service write a `Service` for its SDK (`layercache_backends.objects.service` has the contract), and a
factory that reads the URL's options and returns ``ObjectBackend(url, prefix, timeout, connect)``; ``connect``
is an async function that imports the SDK and returns the service. It is called at the first use, on the event
loop of the session, once in each process, so a forked child gets its own client. Its exceptions reach the
caller, so it raises `ConfigError` or `BackendError`.

Retries, timeouts and messages are the session's (`Session.insist`), streams and ranges ahead the reader's,
parts the sink's. A subclass adds what only its service can do, with ``self.call``.
"""

from __future__ import annotations

import re
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from layercache.backend import (
    SMALL_OBJECT,
    Entry,
    PerProcess,
    check_key,
    check_prefix,
    check_range,
    install_hint,
    is_key,
    not_small,
)
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache_backends.objects.conditions import (
    ConditionalWrite,
    UnsupportedError,
    are_honoured,
    create_by_looking,
)
from layercache_backends.objects.deadline import Deadline
from layercache_backends.objects.reader import ObjectReader, Stream
from layercache_backends.objects.service import FREE, Outcome
from layercache_backends.objects.session import Session
from layercache_backends.objects.sink import ObjectSink
from layercache_backends.obstore.fast_path import FastPath, can_go

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from layercache.backend import BackendURL
    from layercache_backends.objects.service import Page, Service, VersionedReader

_T = TypeVar("_T")

_SECRET = re.compile(r"key|secret|token|passw|passphrase|credential|signature|\bsas|^sas|auth", re.IGNORECASE)

Engine = Literal["auto", "fsspec", "obstore"]
"""What transfers small objects: obstore if it is installed and works, only fsspec's SDKs, or obstore."""

DEFAULT_TIMEOUT = 10.0
"""Seconds without any progress after which an operation fails, retries included."""


class ObjectBackend:
    """Objects named ``prefix`` and key. ``prefix`` is empty or ends in "/"; ``timeout`` is in seconds."""

    def __init__(
        self,
        url: str,
        prefix: str,
        timeout: float,
        connect: Callable[[], Coroutine[Any, Any, Service]],
        engine: Engine = "auto",
    ) -> None:
        self.url = url
        self._prefix = prefix
        self._timeout = timeout
        self._connect = connect
        self._engine = engine
        self._sessions = PerProcess(self._begun)
        """By process. A forked child keeps its parent's: dropping it would finalize it."""
        self._honours = PerProcess(self._try_conditions)
        self._knows_conditions = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def open(self, key: str, start: int = 0, end: int | None = None) -> VersionedReader:
        check_range(start, end)
        session, name, doing = self._session, self._name(key), f"reading {key}"
        began = time.monotonic()
        if (direct := session.direct) and (reader := direct.open(name, doing, start, end)):
            return reader
        return ObjectReader(Stream(session, name, doing, start, end, spent=time.monotonic() - began))

    def create(self, key: str) -> ObjectSink:
        return ObjectSink(self._session, self._name(key), f"writing {key}")

    def create_new(self, key: str, data: bytes) -> bool:
        """As `Exclusive.create_new`, in one request; in two or three if the service knows no conditions."""
        if self._knows_conditions:
            try:
                return self._write_if(key, data, FREE)
            except UnsupportedError:
                self._knows_conditions = False
        name = self._name(key)
        return self.call(f"writing {key}", lambda service: create_by_looking(service, name, data))

    def honours_conditions(self) -> bool:
        """As `Conditional.honours_conditions`."""
        return self._honours.get()

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """As `Conditional.read_versioned`, in one request."""
        doing = f"{self.url}: reading {key}"
        with self.open(key) as reader:
            if (reader.size or 0) > SMALL_OBJECT:
                raise not_small(doing)
            data = reader.read()
            if not reader.version:
                raise BackendError(f"{doing}: the service has no versions of objects")
            return data, reader.version

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        """As `Conditional.write_if`, in one request. No bytes leave an empty object."""
        return self._write_if(key, data, FREE if version is None else version)

    def stat(self, key: str) -> Entry:
        name = self._name(key)
        entry = self.call(f"stat of {key}", lambda service: service.head(name))
        return Entry(key, entry.size, entry.modified)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`, a page at a time. Skips names below the prefix that are not keys."""
        check_prefix(prefix)
        return self._scan(prefix)

    def delete(self, key: str) -> None:
        name = self._name(key)
        try:
            self.call(f"deleting {key}", lambda service: service.delete(name))
        except NotFoundError:
            return

    def touch(self, key: str) -> None:
        """As `Touchable.touch`, in a request or two; the service copies its bytes, if at all."""
        name = self._name(key)
        try:
            self.call(f"refreshing the time of {key}", lambda service: service.touch(name))
        except NotFoundError:
            return

    def signed_url(self, key: str, seconds: int) -> str | None:
        """As `SignedURL.signed_url`. Asks the issuer of the credentials, if anybody."""
        name = self._name(key)
        return self.call(f"signing a URL of {key}", lambda service: service.signed_url(name, seconds))

    def close(self) -> None:
        if session := self._sessions.take():
            session.close()

    def call(self, doing: str, attempt: Callable[[Service], Awaitable[_T]]) -> _T:
        """Send a request with retries; ``doing`` names the operation in errors."""
        session = self._session
        return session.call(session.insist(doing, attempt))

    def _write_if(self, key: str, data: bytes, version: str) -> bool:
        session, name, doing = self._session, self._name(key), f"writing {key}"
        began, outcome = time.monotonic(), Outcome.UNTRIED
        if direct := session.direct:
            outcome = direct.put_if(name, data, version)
            if outcome in (Outcome.PUBLISHED, Outcome.REFUSED):
                return outcome is Outcome.PUBLISHED
        sent = outcome is Outcome.UNKNOWN
        write = ConditionalWrite(f"{self.url}: {doing}", name, data, version, sent=sent)
        patience = Deadline(self._timeout, spent=time.monotonic() - began)
        return session.call(session.insist(doing, write, patience))

    def _try_conditions(self) -> bool:
        return self.call("trying conditional writes", lambda service: are_honoured(service, self._prefix))

    @property
    def _session(self) -> Session:
        return self._sessions.get()

    def _begun(self) -> Session:
        session = Session(self.url, self._timeout, self._connect)
        if self._engine != "fsspec" and can_go() and find_spec("obstore") is not None:
            session.direct = FastPath(session)
        return session

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        below = self._prefix + prefix
        after: str | None = None
        while True:
            page = self._page(below, after)
            for entry in page.entries:
                key = entry.key[len(self._prefix) :]
                if is_key(key):
                    yield Entry(key, entry.size, entry.modified)
            after = page.next
            if after is None:
                return

    def _page(self, below: str, after: str | None) -> Page:
        return self.call(f"listing {below or 'everything'}", lambda service: service.page(below, after))


def refuse_secrets(url: BackendURL) -> None:
    """Raise `ConfigError`, without the value, if an option would be a credential."""
    secrets = [name for name in url.query if _SECRET.search(name)]
    if secrets:
        raise ConfigError(
            f"{url.place}: a cache URL must not hold credentials: {', '.join(secrets)}",
            hint="supply them as for the store's own tools: environment, profile, credentials file",
        )


def require_engine(engine: Engine, extra: str, url: BackendURL) -> None:
    """Raise `ConfigError` if the requested engine is not installed."""
    if engine == "obstore":
        require("obstore", f"{extra},fast", url)


def require(package: str, extra: str, url: BackendURL) -> None:
    """Raise `ConfigError` if a package is missing, without importing it."""
    if find_spec(package) is None:
        raise ConfigError(f"{url.place}: the package {package} is not installed", hint=install_hint(extra))


def bucket_and_prefix(url: BackendURL) -> tuple[str, str]:
    """Return the bucket and the prefix of a URL ``scheme://bucket/prefix``. The prefix is "" or ends in "/".

    Raises `ConfigError`.
    """
    prefix = url.path.strip("/")
    if not url.netloc or ":" in url.netloc:
        raise ConfigError(f"{url.place}: no bucket", hint=f"expected {url.scheme}://bucket/prefix")
    if prefix and not is_key(prefix):
        raise ConfigError(
            f"{url.place}: not a prefix: {prefix!r}",
            hint="expected '/'-separated letters, digits and _.+:@=-; no part may be empty or start with '.'",
        )
    return url.netloc, f"{prefix}/" if prefix else ""
