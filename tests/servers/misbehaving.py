"""A plug-in that misbehaves as its URL says: ``bad:///folder?fault=read&how=short&below=blobs/``.

It is a folder, whose own backend is behind it; installed by an entry point, as any plug-in is.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from layercache.backend import BackendURL, Entry
from layercache.errors import BackendError, DigestMismatchError, NotFoundError
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class ThrottledError(Exception):
    """As an SDK has its own."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class PanicError(BaseException):
    """As extensions in Rust raise where they panic: below `BaseException`, so that nobody catches it."""


RAISED: dict[str, Callable[[], BaseException]] = {
    "OSError": lambda: ConnectionResetError(104, "Connection reset by peer"),
    "ValueError": lambda: ValueError("Expecting value: line 1 column 1 (char 0)"),
    "AttributeError": lambda: AttributeError("'NoneType' object has no attribute 'body'"),
    "StopIteration": lambda: StopIteration("no more"),
    "SDK": lambda: ThrottledError("slow down"),
    "group": lambda: ExceptionGroup("tasks", [ThrottledError("slow down")]),
    "unprintable": UnprintableError,
    "panic": lambda: PanicError("called `Option::unwrap()` on a `None` value"),
    "cancelled": asyncio.CancelledError,
    "ours": lambda: BackendError("bad://: it fails on purpose"),
    "absence": lambda: NotFoundError("nothing here"),
    "mismatch": lambda: DigestMismatchError("the service's own checksum"),
}
"""What a plug-in may raise, by name."""

SIZES: dict[str, object] = {"no size": None, "negative size": -1, "size as text": "7"}


@dataclass(frozen=True)
class Options:
    """``fault``: the call that goes wrong; ``how``: what it does; ``below``: the objects that it concerns."""

    fault: str = ""
    how: str = "SDK"
    below: str = ""


def from_url(url: BackendURL) -> BadBackend:
    return BadBackend(url.path, url.options(Options))


def no_backend(url: BackendURL) -> object:
    return "a backend, honestly"


def half_a_backend(url: BackendURL) -> object:
    class Half:
        url = "half://"

        def open(self, key: str) -> None: ...

    return Half()


def failing(url: BackendURL) -> object:
    raise KeyError("AZURE_ACCOUNT")


def install(folder: Path, entries: str, *, name: str = "layercache-bad", version: str = "1.2.3") -> None:
    """What pip leaves of a package: its metadata, with these entry points (PyPA specifications)."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[layercache.backends]\n{entries}\n")


class BadBackend:
    def __init__(self, root: str, options: Options) -> None:
        self.url = f"bad://{root}"
        self.options = options
        self.inner = LocalBackend(root, sync=False)

    def go_wrong(self, call: str, key: str) -> str:
        """Raise what is to be raised here; else the name of the fault, if this is the place of one."""
        if call != self.options.fault or not key.startswith(self.options.below):
            return ""
        if self.options.how in RAISED:
            error = RAISED[self.options.how]()
            raise error
        return self.options.how

    def open(self, key: str, start: int = 0, end: int | None = None) -> Any:
        self.go_wrong("open", key)
        with self.inner.open(key, start, end) as reader:
            return BadReader(self, key, reader.read())

    def create(self, key: str) -> Any:
        self.go_wrong("create", key)
        return BadSink(self, key)

    def stat(self, key: str) -> Any:
        how, entry = self.go_wrong("stat", key), self.inner.stat(key)
        return self._junk(how, entry)

    def scan(self, prefix: str = "") -> Iterator[Any]:
        for entry in self.inner.scan(prefix):
            yield self._junk(self.go_wrong("scan", entry.key), entry)

    def delete(self, key: str) -> None:
        self.go_wrong("delete", key)
        self.inner.delete(key)

    def close(self) -> None:
        self.go_wrong("close", "")

    def _junk(self, how: str, entry: Entry) -> Any:
        match how:
            case "other key":
                return Entry("other/key", entry.size, entry.modified)
            case "no entry":
                return (entry.key, entry.size, entry.modified)
            case "no time":
                return Entry(entry.key, entry.size, float("nan"))
            case _ if how in SIZES:
                return Entry(entry.key, SIZES[how], entry.modified)  # type: ignore[arg-type]  # on purpose
        return entry


class BadReader(io.BytesIO):
    def __init__(self, backend: BadBackend, key: str, data: bytes) -> None:
        super().__init__(data)
        self._backend = backend
        self._key = key
        size = backend.go_wrong("size", key)
        self.size: Any = SIZES.get(size, len(data))
        match backend.go_wrong("data", key):
            case "short":
                super().__init__(data[: len(data) // 2])
            case "ends":
                super().__init__(b"")
            case "flipped":
                super().__init__(bytes([data[0] ^ 1]) + data[1:])
            case "long":
                super().__init__(data + b"more")

    def read(self, size: int | None = -1, /) -> Any:
        match self._backend.go_wrong("read", self._key):
            case "None":
                return None
            case "text":
                return super().read(size).decode("latin-1")
            case "more than asked":
                return super().read(-1 if size is None or size < 0 else size + 5)
        return super().read(size)

    def close(self) -> None:
        super().close()
        self._backend.go_wrong("reader.close", self._key)


class RawReader(io.RawIOBase):
    """A reader of which only `readinto` is its own, as most are."""

    def __init__(self, data: bytes, how: str) -> None:
        self.size = len(data)
        self._data = io.BytesIO(data)
        self._how = how

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> Any:
        view = memoryview(buffer).cast("B")
        match self._how:
            case "overclaiming":
                return len(view) if self._data.readinto(view[:100]) else 0
            case "beyond":
                return len(view) + (self._data.readinto(view) and 1)
            case "None":
                return None
            case "negative":
                return -1
        return self._data.readinto(view)


class BadSink:
    def __init__(self, backend: BadBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._sink = backend.inner.create(key)

    def write(self, data: Any, /) -> None:
        lost = self._backend.go_wrong("write", self._key) == "a byte lost"
        self._sink.write(memoryview(data)[1:] if lost else data)

    def commit(self) -> None:
        if self._backend.go_wrong("commit", self._key) != "nothing published":
            self._sink.commit()

    def abort(self) -> None:
        self._sink.abort()
        self._backend.go_wrong("abort", self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
