"""Any file system that fsspec knows: ``fsspec+sftp://host/cache?port=2222``, ``fsspec+local:///var/cache``.

The query's options go to the file system's constructor. fsspec promises little, so little is asked of it:
bytes wait in a local temporary file until they are whole, are put under a name that is no key, and moved. An
object appears whole where the file system's ``mv`` replaces at once (local disks) or copies at once (object
stores). Reads are ranges; an object that changes meanwhile is an error, as far as ``info`` tells it.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Self

from layercache.backend import Entry, check_key, check_range
from layercache.errors import BackendError, ConfigError, InvalidNameError, LayercacheError, NotFoundError
from layercache_backends.objects import refuse_secrets, require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend import BackendURL

RANGE = 8 << 20
"""Bytes that are asked for at once."""

_UNFINISHED = ".unfinished"
"""The folder of what is being published. No key begins with "."."""

_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")
_MARKS = ("ETag", "etag", "ino", "generation", "md5", *_TIMES)


def from_url(url: BackendURL) -> FsspecBackend:
    """The backend of ``fsspec+PROTOCOL://…``. Raises `ConfigError` for a protocol that cannot be had."""
    refuse_secrets(url)
    require("fsspec", "fsspec", url)
    protocol = url.scheme.partition("+")[2]
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise ConfigError(
            f"{url.place}: fsspec knows no protocol {protocol!r}",
            hint=f"known are {', '.join(fsspec.available_protocols())}",
        ) from error
    except ImportError as error:
        raise ConfigError(f"{url.place}: {error}", hint="install the package that it names") from error
    options = {name: _typed(value) for name, value in url.query.items()}
    return FsspecBackend(url.place, f"{protocol}://{url.netloc}{url.path}", options)


class FsspecBackend:
    """Objects as files below a folder of a file system. Each process has a file system object of its own."""

    def __init__(self, url: str, target: str, options: dict[str, str | int | bool]) -> None:
        self.url = url
        self._target = target
        self._options = options
        self._by_process: dict[int, tuple[Any, str]] = {}

    def __repr__(self) -> str:
        return f"FsspecBackend({self.url!r})"

    def open(self, key: str, start: int = 0, end: int | None = None) -> FsspecReader:
        check_range(start, end)
        with self._doing(f"reading {key}"):
            return FsspecReader(self, key, self._file(key), start, end)

    def create(self, key: str) -> FsspecSink:
        check_key(key)
        return FsspecSink(self, key)

    def stat(self, key: str) -> Entry:
        with self._doing(f"looking at {key}"):
            info = self._file(key)
        return Entry(key, info["size"], _when(info))

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`, a folder at a time."""
        if prefix:
            if not prefix.endswith("/"):
                raise ValueError(f"not a folder: {prefix!r} (wanted a prefix that ends in '/')")
            check_key(prefix[:-1])
        return self._walk(prefix)

    def delete(self, key: str) -> None:
        with suppress(NotFoundError), self._doing(f"deleting {key}"):
            self._file(key)
            files, root = self._files
            files.rm_file(f"{root}/{key}")

    def close(self) -> None:
        """Forget the file system object; fsspec has no way to close one."""
        self._by_process.pop(os.getpid(), None)

    def remove_leftovers(self, older_than: float) -> int:
        """As `Leftovers.remove_leftovers`: files that were about to be published."""
        count = 0
        with self._doing("removing unfinished writes"):
            files, root = self._files
            for info in self._list(f"{root}/{_UNFINISHED}"):
                if _when(info) <= time.time() - older_than:
                    files.rm_file(info["name"])
                    count += 1
        return count

    def publish(self, key: str, local: IO[bytes]) -> None:
        """Make an object of a local file, from its start."""
        with self._doing(f"writing {key}", writing=True):
            files, root = self._files
            waiting = f"{root}/{_UNFINISHED}/{uuid.uuid4().hex}"
            target = f"{root}/{key}"
            files.makedirs(f"{root}/{_UNFINISHED}", exist_ok=True)
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            try:
                local.seek(0)
                with files.open(waiting, "wb") as file:
                    shutil.copyfileobj(local, file, RANGE)
                files.mv(waiting, target)
            except BaseException:
                with suppress(
                    Exception
                ):  # the first error is the one to show; `remove_leftovers` has the rest
                    files.rm_file(waiting)
                raise

    def piece(self, key: str, info: dict[str, Any], start: int, end: int) -> bytes:
        """Bytes of the object that ``info`` was told of; an error if it is not that one any more."""
        with self._doing(f"reading {key}"):
            files, root = self._files
            try:
                data: bytes = files.cat_file(f"{root}/{key}", start=start, end=end)
                same = _marks(self._file(key)) == _marks(info)
            except (FileNotFoundError, NotFoundError):
                same = False
                data = b""
            if not same or len(data) != end - start:
                raise BackendError(
                    f"{self.url}: reading {key}: it was replaced or deleted while it was read",
                    hint="read it again from its start",
                )
        return data

    @property
    def _files(self) -> tuple[Any, str]:
        process = os.getpid()
        if process not in self._by_process:
            from fsspec.core import url_to_fs

            files, root = url_to_fs(
                self._target, **self._options, skip_instance_cache=True, use_listings_cache=False
            )
            self._by_process[process] = files, root.rstrip("/")
        return self._by_process[process]

    def _file(self, key: str) -> dict[str, Any]:
        files, root = self._files
        info: dict[str, Any] = files.info(f"{root}/{check_key(key)}")
        if info["type"] != "file":
            raise FileNotFoundError(key)
        return info

    def _walk(self, prefix: str) -> Iterator[Entry]:
        _, root = self._files_for("listing")
        folders = [prefix]
        while folders:
            folder = folders.pop()
            with self._doing(f"listing {folder or 'everything'}"):
                found = self._list(f"{root}/{folder}".rstrip("/"))
            for info in found:
                key = folder + info["name"].rstrip("/").rpartition("/")[2]
                if not _is_key(key):
                    continue
                if info["type"] == "directory":
                    folders.append(f"{key}/")
                elif info["type"] == "file":
                    yield Entry(key, info["size"], _when(info))

    def _files_for(self, doing: str) -> tuple[Any, str]:
        with self._doing(doing):
            return self._files

    def _list(self, folder: str) -> list[dict[str, Any]]:
        """What is in a folder; nothing where it is not there, or is a file."""
        files, _ = self._files
        try:
            found: list[dict[str, Any]] = files.ls(folder or "/", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Some list a file, or the folder itself, as being in itself.
        itself = folder.strip("/")
        return [info for info in found if info["name"].strip("/") != itself]

    @contextmanager
    def _doing(self, doing: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (LayercacheError, ValueError):
            raise
        except Exception as error:
            if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not writing:
                raise NotFoundError(f"{doing}: not there", looked_in=(self.url,)) from None
            raise BackendError(f"{self.url}: {doing}: {str(error) or type(error).__name__}") from error


class FsspecReader(io.RawIOBase):
    """An object's bytes, or a range's, 8 MiB in memory at a time; not seekable."""

    def __init__(
        self, backend: FsspecBackend, key: str, info: dict[str, Any], start: int, end: int | None
    ) -> None:
        self._backend = backend
        self._key = key
        self._info = info
        self._end = info["size"] if end is None else min(end, info["size"])
        self._next = min(start, self._end)
        self.size = self._end - self._next
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(buffer) as view, view.cast("B") as octets:
            if not self._piece and len(octets) and self._next < self._end:
                end = min(self._next + RANGE, self._end)
                self._piece = memoryview(self._backend.piece(self._key, self._info, self._next, end))
                self._next = end
            count = min(len(octets), len(self._piece))
            octets[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._piece = memoryview(b"")
        super().close()


class FsspecSink:
    """Bytes wait in a temporary file of this machine until they are whole."""

    def __init__(self, backend: FsspecBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._owner = os.getpid()
        # Unbuffered: a forked child that closes it has nothing to flush into its parent's file.
        self._file: Any = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by abort

    def write(self, data: ReadableBuffer, /) -> None:
        self._check()
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                done += self._file.write(octets[done:])

    def commit(self) -> None:
        self._check()
        try:
            self._backend.publish(self._key, self._file)
        finally:
            self.abort()

    def abort(self) -> None:
        if self._owner == os.getpid() and not self._file.closed:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.abort()

    def __del__(self) -> None:
        self.abort()

    def _check(self) -> None:
        if self._file.closed:
            raise BackendError(f"{self._backend.url}: writing {self._key}: this write has already ended")
        if self._owner != os.getpid():
            raise BackendError(
                f"{self._backend.url}: writing {self._key}: begun by process {self._owner}",
                hint="a forked child begins writes of its own",
            )


def _typed(value: str) -> str | int | bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isascii() and value.isdigit() else value


def _when(info: dict[str, Any]) -> float:
    """When it was published, in seconds since the epoch; each file system says it in its own way."""
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    raise BackendError(f"{info.get('name')}: this file system does not tell when a file was written")


def _marks(info: dict[str, Any]) -> list[Any]:
    return [info["size"], *(info.get(name) for name in _MARKS)]


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except InvalidNameError:
        return False
    return True
