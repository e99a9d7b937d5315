"""A backend on `testing.server`: a plain one that keeps every promise, in which faults are planted."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import tempfile
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from layercache.backend import SMALL_OBJECT, Entry, check_prefix, check_range
from layercache.backend.capabilities import Finding
from layercache.errors import BackendError, FormatError, LayercacheError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

PART = 1 << 20
"""Bytes of a part, and of the biggest object that is sent in one request."""


class Store:
    """Each request has a connection of its own, so threads and forks need no care."""

    def __init__(self, host: str, port: int, timeout: float = 10.0) -> None:
        self.url = f"objects://{host}:{port}"
        self.timeout = timeout
        self.host, self.port = host, port

    def open(self, key: str, start: int = 0, end: int | None = None) -> StoreReader:
        check_range(start, end)
        with self.doing(f"reading {key}"):
            if end == start:
                return StoreReader(self, key, io.BytesIO(b""), 0, self.stat(key).modified)
            wanted = f"bytes={start}-{'' if end is None else end - 1}"
            answer = self.there(key, self.ask("GET", f"/o/{key}", headers={"Range": wanted}))
            size, modified = int(answer.headers["Content-Length"]), float(answer.headers["X-Time"])
            return StoreReader(self, key, answer, size, modified)

    def create(self, key: str) -> StoreSink:
        return StoreSink(self, key)

    create_expendable = create

    def create_sized(self, key: str, size: int) -> SizedStoreSink:
        return SizedStoreSink(self, key, size)

    def stat(self, key: str) -> Entry:
        with self.doing(f"looking at {key}"):
            answer = self.there(key, self.ask("GET", f"/o/{key}", headers={"Range": "bytes=0-0"}))
            self.whole(answer)
            return Entry(key, int(answer.headers["X-Size"]), float(answer.headers["X-Time"]))

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        return self._scan(prefix)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        after, more = "", True
        while more:
            with self.doing(f"listing {prefix or 'everything'}"):
                page = json.loads(self.whole(self.ask("GET", f"/l/{prefix}?after={quote(after)}")))
                entries, more = [Entry(*each) for each in page["entries"]], page["more"]
            yield from entries
            after = entries[-1].key if entries else ""

    def delete(self, key: str) -> None:
        with self.doing(f"deleting {key}"):
            self.whole(self.ask("DELETE", f"/o/{key}"))

    def close(self) -> None:
        """Nothing is held open between calls."""

    # What only some can do

    def touch(self, key: str) -> None:
        with self.doing(f"refreshing {key}"):
            self.whole(self.ask("POST", f"/t/{key}"))

    def signed_url(self, key: str, seconds: int) -> str | None:
        return f"http://{self.host}:{self.port}/o/{quote(key)}?for={seconds}"

    def read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        with self.doing(f"reading {prefix}"):
            found = json.loads(self.whole(self.ask("GET", f"/s/{prefix}")))
        for key, encoded in found.items():
            data = base64.b64decode(encoded)
            if len(data) <= SMALL_OBJECT:
                yield key, data

    def create_new(self, key: str, data: bytes) -> bool:
        with self.doing(f"writing {key}"):
            answer = self.ask("PUT", f"/o/{key}?new", data)
            if answer.status == 412:
                return False
            self.whole(answer)
            return True

    def honours_conditions(self) -> bool:
        with self.doing("looking at the server"):
            self.whole(self.ask("GET", "/u/"))
        return True

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        with self.open(key) as reader:
            if reader.size > SMALL_OBJECT:
                raise FormatError(f"{key} is not small")
            data = reader.read()
        return data, repr(reader.modified)

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        try:
            return self.write_once(key, data, version)
        except BackendError:
            return self.write_once(key, data, version) or self.is_there(key, data)

    def write_once(self, key: str, data: bytes, version: str | None) -> bool:
        with self.doing(f"writing {key}"):
            answer = self.ask("PUT", f"/o/{key}?{'new' if version is None else f'was={version}'}", data)
            if answer.status == 412:
                return False
            self.whole(answer)
            return True

    def is_there(self, key: str, data: bytes) -> bool:
        try:
            return self.read_versioned(key)[0] == data
        except NotFoundError:
            return False

    def diagnose(self) -> Iterator[Finding]:
        with self.doing("looking at the server"):
            uploads = json.loads(self.whole(self.ask("GET", "/u/")))
        yield Finding("uploads", f"{len(uploads)} unfinished")

    def remove_leftovers(self, older_than: float) -> int:
        with self.doing("removing unfinished writes"):
            uploads = json.loads(self.whole(self.ask("GET", "/u/")))
            old = [id for id, began in uploads.items() if began < time.time() - older_than]
            for id in old:
                self.whole(self.ask("DELETE", f"/u/{id}"))
        return len(old)

    @contextmanager
    def lock(
        self, name: str, *, timeout: float | None = None, lasting: bool = True
    ) -> Iterator[StoreLock | None]:
        with closing(self.connect()) as connection:
            lock = StoreLock(self, connection, name)
            if not self.take(lock, timeout, lasting=lasting):
                yield None
                return
            try:
                yield lock
            finally:
                with self.doing(f"letting go of {name}"):
                    self.whole(self.ask("DELETE", f"/k/{name}", connection=connection))

    def take(self, lock: StoreLock, timeout: float | None, *, lasting: bool) -> bool:
        path = f"/k/{lock.name}{'?lasting' if lasting else ''}"
        while True:
            with self.doing(f"locking {lock.name}"):
                answer = self.ask("POST", path, connection=lock.connection)
                if answer.status == 200:
                    lock.text = self.whole(answer)
                    return True
                answer.read()
                silent = float(answer.headers["X-Silent"])
            if timeout is not None and silent >= timeout:
                return False
            time.sleep(0.01)

    def spool(self) -> StoreSpool:
        return StoreSpool(self)

    # Requests

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | bytearray | None = None,
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> http.client.HTTPResponse:
        own = {} if connection else {"Connection": "close"}
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, {**own, **(headers or {})})
            return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def there(self, key: str, answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
        """The answer, if it has the object. Only the server's own header means absence."""
        if answer.status == 200:
            return answer
        with closing(answer):
            if answer.status == 404 and "X-Absent" in answer.headers:
                raise NotFoundError(f"{key} is not there", looked_in=(self.url,))
            raise refused(answer)

    def whole(self, answer: http.client.HTTPResponse) -> bytes:
        """The body of an answer that is no refusal."""
        try:
            body = answer.read()
        finally:
            answer.close()
        if answer.status != 200:
            raise refused(answer)
        return body

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Translate what goes wrong: a refusal, the connection, an answer that makes no sense."""
        try:
            yield
        except LayercacheError:
            raise
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"{self.url}: {what}: {error!r}") from error


class StoreReader(io.RawIOBase):
    """The bytes of one answer, which are those of one version of the object."""

    def __init__(self, store: Store, key: str, body: Any, size: int, modified: float) -> None:
        self.store = store
        self.key = key
        self.body = body
        self.size = self.left = size
        self.modified = modified

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(buffer) as view, view.cast("B") as octets, self.store.doing(f"reading {self.key}"):
            count: int = self.body.readinto(octets[: self.left])
            if count == 0 and len(octets) and self.left:
                raise ConnectionResetError("the answer ended too early")
        self.left -= count
        return count

    def close(self) -> None:
        self.body.close()
        super().close()


class StoreSink:
    """One request for what is small, an upload in parts for the rest; no name before ``commit``."""

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.key = key
        self.owner = os.getpid()
        self.part = bytearray()
        self.upload = ""
        self.ended = False

    def write(self, data: ReadableBuffer, /) -> None:
        self.check()
        with memoryview(data) as view, view.cast("B") as octets:
            for start in range(0, len(octets), PART):
                self.part += octets[start : start + PART]
                if len(self.part) >= PART:
                    self.send()

    def commit(self) -> None:
        self.check()
        self.ended = True
        with self.store.doing(f"writing {self.key}"):
            if self.upload:
                self.send()
                self.store.whole(self.store.ask("POST", f"/u/{self.upload}?key={quote(self.key)}"))
            else:
                self.store.whole(self.store.ask("PUT", f"/o/{self.key}", self.part))

    def send(self) -> None:
        with self.store.doing(f"writing {self.key}"):
            if not self.upload:
                self.upload = self.store.whole(self.store.ask("POST", "/u/")).decode()
            self.store.whole(self.store.ask("PUT", f"/u/{self.upload}", self.part))
            self.part = bytearray()

    def abort(self) -> None:
        """What cannot be discarded now is left to ``remove_leftovers``."""
        if not self.ended and self.owner == os.getpid():
            self.ended = True
            if self.upload:
                try:
                    self.store.whole(self.store.ask("DELETE", f"/u/{self.upload}"))
                except (OSError, http.client.HTTPException):
                    return

    def check(self) -> None:
        if self.ended:
            raise BackendError(f"{self.store.url}: writing {self.key}: already ended")
        if self.owner != os.getpid():
            raise BackendError(f"{self.store.url}: writing {self.key}: begun in another process")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def __del__(self) -> None:
        self.abort()


class SizedStoreSink(StoreSink):
    """The same, of so many bytes."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self.size = size
        self.written = 0
        super().__init__(store, key)

    def write(self, data: ReadableBuffer, /) -> None:
        super().write(data)
        self.written += memoryview(data).nbytes

    def commit(self) -> None:
        if self.written != self.size:
            raise BackendError(f"{self.store.url}: writing {self.key}: not {self.size} bytes")
        super().commit()


class StoreSpool:
    """A temporary file of this machine that is sent when it gets its name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.owner = os.getpid()
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by close()
        self.size = 0
        self.ended = False

    def write(self, data: ReadableBuffer, /) -> None:
        self.check()
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                done += os.pwrite(self.file.fileno(), octets[done:], self.size + done)
        self.size += done

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        return os.preadv(self.file.fileno(), [buffer], offset)

    def publish(self, key: str) -> None:
        self.check()
        self.ended = True
        with self.store.create(key) as sink:
            for start in range(0, self.size, PART):
                sink.write(os.pread(self.file.fileno(), PART, start))
            sink.commit()

    def close(self) -> None:
        self.ended = True
        self.file.close()

    __del__ = close

    def check(self) -> None:
        if self.ended or self.owner != os.getpid():
            raise BackendError(f"{self.store.url}: this spool has ended, or is another process's")


class StoreLock:
    """A lock that is held by a connection, and so ends with its process."""

    def __init__(self, store: Store, connection: http.client.HTTPConnection, name: str) -> None:
        self.store = store
        self.connection = connection
        self.name = name
        self.text = b""

    def note(self) -> bytes:
        return self.text

    def leave_note(self, note: bytes) -> None:
        with self.store.doing(f"leaving a note in {self.name}"):
            self.store.whole(self.store.ask("PUT", f"/k/{self.name}", note, connection=self.connection))
        self.text = note


def refused(answer: http.client.HTTPResponse) -> http.client.HTTPException:
    return http.client.HTTPException(f"status {answer.status}")
