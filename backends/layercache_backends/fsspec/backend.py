"""Any file system that fsspec knows: ``fsspec+sftp://host/cache?port=2222``, ``fsspec+local:///var/cache``.

The query's options go to the file system's constructor. If its calls are asynchronous, ``timeout`` is handled
here instead: the seconds that one look-up, or one range of a read, may take. fsspec promises little, so we
rely on little: bytes wait in a local temporary file until they are complete, are uploaded under a name that
is not a key, and moved. An object appears completely if the file system's ``mv`` replaces atomically (local
disks) or copies atomically (object stores). Reads are ranges; an object that changes in between is an error,
if ``info`` shows the change.
"""

from __future__ import annotations

import math
import re
import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from layercache.backend import Entry, Leftover, check_key, check_prefix, check_range, is_key
from layercache.errors import BackendError, ConfigError, LayercacheError, NotFoundError
from layercache_backends.fsspec.connections import SSH_TIMEOUTS, Connections, Options
from layercache_backends.fsspec.streams import RANGE, FsspecReader, FsspecSink
from layercache_backends.objects.backend import DEFAULT_TIMEOUT, refuse_secrets, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import BackendURL

_UNFINISHED = ".unfinished"
"""The folder of unfinished objects. No key begins with "."."""

_SSH = ("sftp", "ssh")

LISTINGS = 10
"""How often to list a folder again after a file vanished during the listing."""

_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")
_MARKS = ("ETag", "etag", "ino", "generation", "md5", *_TIMES)


def from_url(url: BackendURL) -> FsspecBackend:
    """The backend of ``fsspec+PROTOCOL://…``. Raises `ConfigError` for an unavailable protocol."""
    refuse_secrets(url)
    require("fsspec", "fsspec", url)
    protocol = url.scheme.partition("+")[2]
    import fsspec

    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise ConfigError(
            f"{url.place}: fsspec does not support the protocol {protocol!r}",
            hint=f"known are {', '.join(fsspec.available_protocols())}",
        ) from error
    except ImportError as error:
        raise ConfigError(f"{url.place}: {error}", hint="install the package named above") from error
    query = dict(url.query)
    # Only asynchronous calls can be cancelled. Wrappers have a property here, which cannot be read yet.
    timeout = _seconds(url, query.pop("timeout", None)) if kind.async_impl is True else None
    options: Options = {}
    if protocol in _SSH:
        # paramiko has no timeout for some responses by default: each of its steps gets one.
        options = dict.fromkeys(SSH_TIMEOUTS, _seconds(url, query.pop("timeout", None)))
    options |= {name: _typed(value) for name, value in query.items()}
    return FsspecBackend(url.place, f"{protocol}://{url.netloc}{url.path}", options, timeout)


class FsspecBackend:
    """Objects as files below a folder of a file system.

    ``timeout``: seconds that one call of an asynchronous file system may take; None for all others.
    """

    def __init__(self, url: str, target: str, options: Options, timeout: float | None = None) -> None:
        self.url = url
        self._options = options
        self._timeout = timeout
        self._connections = Connections(target, options, shared=timeout is not None)

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
        with self._doing(f"stat of {key}"):
            info = self._file(key)
        return Entry(key, info["size"], _when(info))

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`, a folder at a time."""
        check_prefix(prefix)
        return self._walk(prefix)

    def delete(self, key: str) -> None:
        with suppress(NotFoundError), self._doing(f"deleting {key}"):
            self._file(key)
            self._ask("rm_file", key)

    def close(self) -> None:
        self._connections.forget()

    def remove_leftovers(self, older_than: float) -> int:
        """As `Leftovers.remove_leftovers`: files that were never published."""
        count = 0
        with self._doing("removing unfinished writes"):
            for name, info in self._list(_UNFINISHED):
                if max(time.time() - _when(info), 0) >= older_than:
                    self._ask("rm_file", f"{_UNFINISHED}/{name}")
                    count += 1
        return count

    def leftovers(self) -> Iterator[Leftover]:
        """As `CountedLeftovers.leftovers`: files that were never published."""
        with self._doing("listing unfinished writes"):
            for _, info in self._list(_UNFINISHED):
                yield Leftover(_when(info), info["size"])

    def publish(self, key: str, local: IO[bytes]) -> None:
        """Publish a local file as an object."""
        with self._doing(f"writing {key}", writing=True):
            waiting = f"{_UNFINISHED}/{uuid.uuid4().hex}"
            self._make_folder(_UNFINISHED)
            self._make_folder(key.rpartition("/")[0])
            try:
                local.seek(0)
                with self._connections.one() as files:
                    root = self._connections.root
                    with files.open(f"{root}/{waiting}", "wb") as file:
                        if hasattr(file, "set_pipelined"):
                            file.set_pipelined(
                                True
                            )  # paramiko's pipelining; without it, each round trip sends 32 KiB
                        shutil.copyfileobj(local, file, RANGE)
                    files.mv(f"{root}/{waiting}", f"{root}/{key}")
            except BaseException:
                # The first error is the one to report; `remove_leftovers` removes the file.
                with suppress(Exception):
                    self._ask("rm_file", waiting)
                raise

    def piece(self, key: str, info: dict[str, Any], start: int, end: int) -> bytes:
        """Read bytes of the object described by ``info``; raise an error if it has changed."""
        with self._doing(f"reading {key}"):
            try:
                data: bytes = self._ask("cat_file", key, start=start, end=end)
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

    def _ask(self, method: str, path: str, **options: object) -> Any:
        """Call the file system, with a timeout if it is asynchronous."""
        with self._connections.one() as files:
            where = f"{self._connections.root}/{path}".rstrip("/") or "/"
            if self._timeout is None:
                return getattr(files, method)(where, **options)
            from fsspec.asyn import sync

            return sync(files.loop, getattr(files, f"_{method}"), where, timeout=self._timeout, **options)

    def _file(self, key: str) -> dict[str, Any]:
        info: dict[str, Any] = self._ask("info", check_key(key))
        if info["type"] != "file":
            raise FileNotFoundError(key)
        return info

    def _make_folder(self, path: str) -> None:
        """Create a folder and its parents."""
        for more in reversed(range(path.count("/") + 2)):
            try:
                self._ask("makedirs", path, exist_ok=True)
            except OSError:
                # Some fail if another writer creates one of these folders at the same time: once for each.
                if not more:
                    raise
            else:
                return

    def _walk(self, prefix: str) -> Iterator[Entry]:
        folders = [prefix]
        while folders:
            folder = folders.pop()
            with self._doing(f"listing {folder or 'everything'}"):
                found = self._list(folder)
            for name, info in found:
                key = folder + name
                if not is_key(key):
                    continue
                if info["type"] == "directory":
                    folders.append(f"{key}/")
                elif info["type"] == "file":
                    yield Entry(key, info["size"], _when(info))

    def _list(self, folder: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the entries of a folder by name; none if it does not exist or is a file."""
        try:
            found = self._ls(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Some list a file, or the folder itself, as its own content.
        itself = f"{self._connections.root}/{folder}".strip("/")
        return [
            (info["name"].rstrip("/").rpartition("/")[2], info)
            for info in found
            if info["name"].strip("/") != itself
        ]

    def _ls(self, folder: str) -> list[dict[str, Any]]:
        """List a folder. fsspec's memory file system fails if a file vanishes during it: then list again."""
        left = LISTINGS
        while True:
            try:
                found: list[dict[str, Any]] = self._ask("ls", folder, detail=True)
            except KeyError:
                left -= 1
                if not left:
                    raise
            else:
                return found

    @contextmanager
    def _doing(self, doing: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except LayercacheError:
            raise
        except Exception as error:
            if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not writing:
                raise NotFoundError(f"{doing}: does not exist", looked_in=(self.url,)) from None
            if isinstance(error, TimeoutError) and self._timeout is not None:
                raise BackendError(
                    f"{self.url}: {doing}: no response for {self._timeout:g} s",
                    hint="check the host and the network, or increase the option timeout",
                ) from error
            reason = _without(self._options, str(error)) or type(error).__name__
            raise BackendError(f"{self.url}: {doing}: {reason}") from error


def _typed(value: str) -> str | int | bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isascii() and value.isdigit() else value


def _seconds(url: BackendURL, text: str | None) -> float:
    try:
        seconds = DEFAULT_TIMEOUT if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{url.place}: timeout must be a positive number of seconds")
    return seconds


def _without(options: Options, text: str) -> str:
    """Return the file system's message without the values of its options, any of which may be a secret."""
    values = [value for value in options.values() if isinstance(value, str) and value]
    for value in sorted({*values, *map(quote, values)}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", text)
    return re.sub(r"//[^/@\s]*@", "//…@", text)


def _when(info: dict[str, Any]) -> float:
    """Return the time of publication in seconds since the epoch; file systems report it in different ways."""
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    raise BackendError(f"{info.get('name')}: this file system does not report when a file was written")


def _marks(info: dict[str, Any]) -> list[Any]:
    return [info["size"], *(info.get(name) for name in _MARKS)]
