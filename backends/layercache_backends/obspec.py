"""Stores that implement obspec, obstore's protocols: Azure by URL, others by a few lines of a plug-in.

obstore's stores implement obspec (Get, Put, List, Head, Delete). `ObspecBackend` turns such a store into a
backend; `from_url` opens ``az://container/prefix`` with obstore's AzureStore.

obstore hangs in a forked child whose parent had loaded it, so there every call is refused.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layercache.backend import Entry, PerProcess
from layercache.backend.plain import ConditionalPlainBackend, Piece
from layercache.errors import BackendError, ConfigError
from layercache_backends.obstore.fast_path import can_go

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable

    from layercache.backend import BackendURL

PART = 8 << 20
"""Bytes of a part of an upload; two are in flight."""

_AZURE_ABSENT = "<Code>BlobNotFound</Code>"
"""Azure's word for a missing blob; the 404 of a proxy or of a missing container lacks it."""


@dataclass(frozen=True)
class Options:
    """The options of the URL.

    ``account``: the storage account, by default that of ``AZURE_STORAGE_ACCOUNT_NAME``. ``endpoint_url``: the
    account's blob service, for an emulator or a private cloud. ``timeout``: seconds without a response.
    """

    account: str | None = None
    endpoint_url: str | None = None
    timeout: float = 10.0


def from_url(url: BackendURL) -> ObspecBackend:
    """Azure's blobs: ``az://container/prefix``. Credentials are those of ``AZURE_STORAGE_*``."""
    container, prefix = url.netloc, url.path.strip("/")
    if not container:
        raise ConfigError(f"{url.place}: no container", hint=f"expected {url.scheme}://container/prefix")
    options = url.options(Options)

    def connect() -> Any:
        from layercache_backends.obstore.stores import azure_store

        return azure_store(container, options.account, options.endpoint_url, options.timeout)

    place = url.place.rstrip("/")
    return ObspecBackend(place, connect, prefix=prefix, timeout=options.timeout, absent=_AZURE_ABSENT)


class ObspecBackend(ConditionalPlainBackend):
    """Objects below ``prefix`` of the store that ``connect`` creates, once in each process.

    ``absent``: words in a service's response that show that an object is missing. Without them, every
    `FileNotFoundError` means a missing object.
    """

    def __init__(
        self,
        url: str,
        connect: Callable[[], Any],
        *,
        prefix: str = "",
        timeout: float = 10.0,
        absent: str | None = None,
    ) -> None:
        super().__init__(url, timeout=timeout)
        self._absent = absent
        self._prefix = f"{prefix}/" if prefix else ""
        self._stores: PerProcess[Any] = PerProcess(connect)
        self._honours = PerProcess(self._try_conditions)

    @property
    def _store(self) -> Any:
        if not can_go():
            raise BackendError(
                f"{self.url}: obstore does not work in a forked child",
                hint="start processes with spawn or forkserver, or use the cache in the parent",
            )
        return self._stores.get()

    def fetch(self, key: str, start: int, length: int, version: object | None) -> Piece | None:
        store, name = self._store, self._prefix + key
        try:
            if not length:
                return _piece(b"", store.head(name))
            wanted: dict[str, Any] = {"range": (start, start + length)}
            if version is not None:
                wanted["if_match"] = version
            found = store.get(name, options=wanted)
            return _piece(bytes(found.buffer()), found.meta)
        except FileNotFoundError as error:
            self._refuse_a_guess(name, error, length)
            return None
        except Exception:
            # These services refuse a range without bytes: past the end, or of an empty object.
            described = store.head(name) if version is None else None
            if described is None or start < described["size"]:
                raise
            return _piece(b"", described)

    def put(self, key: str, data: bytes) -> None:
        self._store.put(self._prefix + key, data, use_multipart=False)

    def put_if(self, key: str, data: bytes, version: str | None) -> bool:
        name, mode = self._prefix + key, "create" if version is None else {"e_tag": version}
        try:
            self._store.put(name, data, mode=mode, use_multipart=False)
        except FileNotFoundError as error:
            self._refuse_a_guess(name, error, len(data) or 1)
            return False
        except Exception as error:
            if type(error).__name__ not in _REFUSED:
                raise
            return False
        return True

    def honours_conditions(self) -> bool:
        """As `Conditional.honours_conditions`: tries to replace an object that is not there."""
        return self._honours.get()

    def _try_conditions(self) -> bool:
        key = f".conditions-{uuid.uuid4().hex}"
        try:
            done = self.attempt("trying conditional writes", lambda: self.put_if(key, b"", _NO_TAG))
        except BackendError as error:
            if isinstance(error.__cause__, NotImplementedError):
                return False
            raise
        if done:
            self.delete(key)
        return not done

    def put_file(self, key: str, file: io.BufferedIOBase, size: int) -> None:  # noqa: ARG002  # the parts say it
        self._store.put(self._prefix + key, file, use_multipart=True, chunk_size=PART, max_concurrency=2)

    def list(self, prefix: str) -> Iterable[Entry]:
        skipped = len(self._prefix)
        for page in self._store.list((self._prefix + prefix).rstrip("/") or None):
            for each in page:
                yield Entry(each["path"][skipped:], each["size"], each["last_modified"].timestamp())

    def remove(self, key: str) -> None:
        name = self._prefix + key
        try:
            self._store.delete(name)
        except FileNotFoundError as error:
            self._refuse_a_guess(name, error, 0)

    def transient(self, error: Exception) -> bool:
        """Whether a retry may help: a broken connection, a busy service; and Azure, which drops all
        unfinished parts of a name as soon as one writer has completed it.
        """
        text = str(error)
        return super().transient(error) or any(word in text for word in _WORTH_ANOTHER_TRY)

    def describe(self, error: Exception) -> str:
        """Return the first line; obstore adds pages of internals below it."""
        return str(error).partition("\n")[0].rstrip(": ")

    def close(self) -> None:
        self._stores.take()

    def _refuse_a_guess(self, name: str, error: FileNotFoundError, length: int) -> None:
        """Raise `BackendError` if a 404 may be a proxy's and not the service's."""
        if self._absent is None:
            return
        text = str(error)
        if not length:  # a HEAD has no body that could show it
            try:
                self._store.get(name, options={"range": (0, 1)})
            except FileNotFoundError as again:
                text = str(again)
        if self._absent not in text:
            raise BackendError(
                f"{self.url}: a 404 from another server than the service: {self.describe(error)}"
            ) from error


_NO_TAG = '"0"'
"""No object that is not there has this tag."""

_REFUSED = ("AlreadyExistsError", "PreconditionError")
"""obstore's errors for a condition that does not hold."""

_WORTH_ANOTHER_TRY = (
    "InvalidBlockList",
    "error sending request",
    "error decoding response body",
    "operation timed out",
    "status code: 429",
    *(f"status code: {status}" for status in (500, 502, 503, 504)),
)


def _piece(data: bytes, described: Any) -> Piece:
    modified = described["last_modified"].timestamp()
    return Piece(data, described["size"], modified, described.get("e_tag") or modified)
