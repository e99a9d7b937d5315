"""What the file systems of images and of layers have in common: reading, and refusing to write."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path, tokenize

from layercache.backend import PerProcess
from layercache.errors import ConfigError, NotAFileError, NotFoundError, did_you_mean
from layercache.filesystem.details import details
from layercache.filesystem.open_file import OpenFile
from layercache.filesystem.opened import Key, open_cache
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from layercache.files.merged import ImageFile, ImageFiles

OF_FSSPEC = ("asynchronous", "listings_expiry_time", "loop", "max_paths", "use_listings_cache")
"""Storage options of every file system. They change nothing here."""

BUFFER = 128 << 10
"""Bytes that a small read fetches, unless ``block_size`` says otherwise."""


class Place(Value, frozen=True):
    """A path in an open image or layer. ``name``: the path as fsspec has it; ``inside``: in the image."""

    files: ImageFiles
    pinned: str
    name: str
    inside: str

    def get(self) -> ImageFile:
        """What is there; a link at the end is not followed. Raises `FileNotFoundError`."""
        found = self.files.get(self.inside, follow=False)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
        return found


class _StripProtocol:
    """fsspec's class method that makes a path of a URL. A file system that has a root has another one."""

    def __get__(self, fs: Reading | None, kind: type[Reading]) -> Callable[[Any], Any]:
        return kind.from_name if fs is None or fs.root is None else fs.from_root


class Reading(AbstractFileSystem):
    """A file system that is only read.

    A path begins with the name of an image or a layer, as others do with a bucket:
    ``alpine:3.20/etc/os-release``. A file system that was made for one image or layer has paths from its
    root: ``/etc/os-release``.

    Symbolic links are followed, and never lead out of the image. `info` describes what a link leads to, with
    ``islink`` and ``destination``; `ls` gives links to folders the type "link", so that `walk` and `find` do
    not follow them. What a name leads to is looked up once in a process, and again after `invalidate_cache`.
    Where a file system was pickled to, a tag is the image that it was.

    Raises `FileNotFoundError`, `IsADirectoryError`, `ValueError` for a malformed name, `OSError` with EROFS
    for what writes, and the errors of layercache if a cache or a registry fails. Thread-safe; may be used
    after a fork.
    """

    root: str | None = None
    _strip_protocol = _StripProtocol()

    @classmethod
    def split(cls, path: str) -> tuple[str, str]:
        """Split a path into the name of an image or a layer and a path inside. Raises `InvalidNameError`."""
        raise NotImplementedError

    def __init__(
        self,
        root: str | None,
        cache: str | os.PathLike[str] | Sequence[str] | None,
        platform: str | None,
        pinned: Mapping[str, str] | None,
        options: Mapping[str, Any],
    ) -> None:
        _check(self.protocol, options)
        super().__init__(**options)
        self.root = root
        self._platform = platform
        self._pinned = dict(pinned or {})
        self._seen: dict[str, str] = {}
        self._cache = PerProcess(lambda: open_cache(_urls(cache)))

    @classmethod
    def from_name(cls, path: Any) -> Any:
        """The path that begins with a name."""
        if isinstance(path, list):
            return [cls.from_name(each) for each in path]
        text = _without_protocol(cls.protocol, stringify_path(path))
        return text.rstrip("/") or text[:1]

    def from_root(self, path: Any) -> Any:
        """The path from the root. Raises `ValueError` for a URL of another image or layer."""
        if isinstance(path, list):
            return [self.from_root(each) for each in path]
        text = stringify_path(path)
        inside = _without_protocol(self.protocol, text)
        if inside != text and inside and not inside.startswith("/"):
            name, inside = self.split(inside)
            if name != self.root:
                raise ValueError(f"{text} is not in {self.root}, which this file system was opened for")
        return f"/{inside.strip('/')}"

    def unstrip_protocol(self, name: str) -> str:
        path = self._strip_protocol(name)
        if self.root is not None:
            whole = f"{self.root}{path}".rstrip("/")
            with suppress(ValueError):  # the name does not show where it ends
                path = whole if self.split(whole)[0] == self.root else path
        return f"{self.protocol}://{path}"

    def __reduce__(self) -> tuple[Any, ...]:
        make, (kind, args, options) = super().__reduce__()
        pinned = {**self._pinned, **self._seen}
        return make, (kind, args, {**options, "pinned": pinned} if pinned else options)

    @property
    def _fs_token(self) -> str:
        """The same for what the same options made, whatever was looked up since."""
        options = {key: value for key, value in self.storage_options.items() if key != "pinned"}
        return str(tokenize(type(self), self.storage_args, options))

    @property
    def fsid(self) -> str:
        return f"{self.protocol}-{self._fs_token}"

    def invalidate_cache(self, path: Any = None) -> None:
        """Look up again what each name leads to."""
        self._pinned.clear()
        self._seen.clear()
        self._cache.get().forget()
        super().invalidate_cache(path)

    def _place(self, path: Any) -> Place:
        name = self._strip_protocol(path)
        root, inside = (self.root, name) if self.root is not None else self.split(name)
        key = Key(self._pinned.get(root, root), self.protocol == "layer", self._platform)
        try:
            found = self._cache.get().find(key)
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error
        if found.pinned != root:
            self._seen[root] = found.pinned
        return Place(found.files, found.pinned, name, inside)

    def info(self, path: Any, **_: Any) -> dict[str, Any]:
        """Describe what a path leads to: see `details`."""
        place = self._place(path)
        return details(place.files, place.get(), place.name)

    def ls(self, path: Any, detail: bool = True, **_: Any) -> list[Any]:
        place = self._place(path)
        found = place.get()
        if (place.files.get(place.inside) or found).entry.type != "directory":
            return [details(place.files, found, place.name)] if detail else [place.name]
        base = place.name.rstrip("/")
        names = [(each, f"{base}/{each.entry.name}") for each in place.files.children(place.inside)]
        if not detail:
            return [name for _, name in names]
        return [details(place.files, each, name, listed=True) for each, name in names]

    def exists(self, path: Any, **_: Any) -> bool:
        """Whether something is there. Raises what hinders finding out, unlike fsspec's own method."""
        try:
            return bool(self._place(path).get())
        except FileNotFoundError:
            return False

    def isdir(self, path: Any) -> bool:
        return self._type(path) == "directory"

    def isfile(self, path: Any) -> bool:
        return self._type(path) == "file"

    def _type(self, path: Any) -> str:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return ""

    def modified(self, path: Any) -> datetime:
        """The time in the tar, which has no other one."""
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self.info(path)["mtime"])

    created = modified

    def ukey(self, path: Any) -> str:
        """The sha256 of a file's bytes; of all else, one of where it is and what is known of it."""
        place = self._place(path)
        known = details(place.files, place.get(), place.inside)
        return (
            known["sha256"] or hashlib.sha256(f"{place.pinned}\0{known}".encode(errors="replace")).hexdigest()
        )

    def checksum(self, path: Any) -> int:
        return int(self.ukey(path), 16)

    def _open(self, path: Any, mode: str = "rb", block_size: int | None = None, **_: Any) -> OpenFile:
        if mode != "rb":
            self._refuse()
        place = self._place(path)
        try:
            found = place.files.lookup(place.inside)
            stream = place.files.open(found)
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error
        except NotAFileError as error:
            kind = IsADirectoryError if self.isdir(path) else OSError
            raise kind(str(error)) from error
        size = block_size if isinstance(block_size, int) and block_size > 0 else BUFFER
        return OpenFile(stream, self, place.name, found.entry.size, size)

    def cat_file(self, path: Any, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        with self._open(path) as file:
            return _range(file, start, end)

    def cat_ranges(
        self,
        paths: list[Any],
        starts: int | list[int],
        ends: int | list[int],
        max_gap: int | None = None,  # noqa: ARG002  # what is near each other is one read anyway
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """The bytes of each range. A file is opened once, and its ranges are read in their order."""
        begins = starts if isinstance(starts, list) else [starts] * len(paths)
        finishes = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(begins) == len(finishes):
            raise ValueError("as many starts and ends are necessary as there are paths")
        found: list[Any] = [None] * len(paths)
        wanted: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            wanted.setdefault(self._strip_protocol(path), []).append(number)
        for path, numbers in wanted.items():
            try:
                with self._open(path) as file:
                    for number in sorted(numbers, key=lambda each: begins[each] or 0):
                        found[number] = _range(file, begins[number], finishes[number])
            except Exception as error:
                if on_error != "return":
                    raise
                for number in numbers:
                    found[number] = error if found[number] is None else found[number]
        return found

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EROFS, "images and layers are read-only")

    mkdir = makedirs = rmdir = rm = rm_file = _rm = cp_file = pipe_file = put_file = touch = _refuse


def _range(file: OpenFile, start: int | None, end: int | None) -> bytes:
    """The bytes of a slice, as Python understands slices."""
    first, last, _ = slice(start, end).indices(file.size)
    file.seek(first)
    return file.read(max(0, last - first))


def _without_protocol(protocol: str, text: str) -> str:
    for mark in ("://", "::"):
        if text.startswith(f"{protocol}{mark}"):
            return text[len(protocol) + len(mark) :]
    return text


def _urls(cache: str | os.PathLike[str] | Sequence[str] | None) -> str | tuple[str, ...] | None:
    """The storage option, as something that can be compared."""
    if isinstance(cache, str | os.PathLike):
        return os.fspath(cache)
    return tuple(cache) if cache else None


def _check(protocol: str, options: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for an option that there is not: one that is mistyped must not be ignored."""
    own = ("cache", "image", "platform") if protocol == "image" else ("cache", "layer")
    for name in options:
        if name not in OF_FSSPEC:
            raise ConfigError(
                f"{protocol}:// has no storage option {name!r}",
                hint=f"{did_you_mean(name, own)}there are {', '.join(own)}",
            )
