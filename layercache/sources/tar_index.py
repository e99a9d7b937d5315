"""Indexes a tar archive, which may be hostile: it is never unpacked, only read in place."""

from __future__ import annotations

import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from typing import Self

from layercache.errors import SourceError
from layercache.sources.file_section import PartReader

HEADER_MAX = 1 << 20
"""Maximum bytes of one header's names and attributes."""

MEMBERS_MAX = 65_536
LINKS_MAX = 8

# What tarfile raises on broken headers, in addition to its own errors.
_BROKEN = (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the archive: offset of its first byte, and size in bytes."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Members:
    """The members of one archive by name. Links are followed only inside the archive."""

    where: str
    _files: dict[str, Member] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)
    _others: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, fd: int, size: int, where: str) -> Self:
        """Read every header. Raises `SourceError` for what is not a tar, is cut off or too big."""
        members = cls(where)
        with _HeaderReader(os.dup(fd), 0, size) as headers:
            try:
                with tarfile.TarFile(fileobj=headers, errorlevel=2) as archive:
                    for count, info in enumerate(archive):
                        if count >= MEMBERS_MAX:
                            raise SourceError(f"{where} has more than {MEMBERS_MAX} members")
                        members._add(info, size)
            except _BROKEN as error:
                raise SourceError(f"{where} is not a valid tar archive: {error}") from error
        return members

    def __contains__(self, name: str) -> bool:
        return name in self._files or name in self._links

    def find(self, name: str) -> Member:
        """The regular file of this name, also through links. Raises `SourceError`."""
        wanted = name
        for _ in range(LINKS_MAX):
            name = posixpath.normpath(name)
            if posixpath.isabs(name) or name.split("/")[0] == "..":
                raise SourceError(f"{self.where}: {wanted!r} leads out of the archive")
            if name in self._files:
                return self._files[name]
            if name in self._others:
                raise SourceError(f"{self.where}: {wanted!r} is not a regular file")
            if name not in self._links:
                raise SourceError(f"{self.where}: {wanted!r} is missing")
            name = self._links[name]
        raise SourceError(f"{self.where}: {wanted!r} is a link to a link, more than {LINKS_MAX} times")

    def _add(self, info: tarfile.TarInfo, size: int) -> None:
        plain = info.isreg() and not info.issparse()
        if info.size < 0 or (plain and info.offset_data + info.size > size):
            raise SourceError(f"{self.where}: {info.name!r} is cut off")
        name = posixpath.normpath(info.name)
        # As with unpacking: the last of several members of one name counts.
        self._files.pop(name, None)
        self._links.pop(name, None)
        self._others.discard(name)
        if plain:
            self._files[name] = Member(info.offset_data, info.size)
        elif info.issym():
            self._links[name] = posixpath.join(posixpath.dirname(name), info.linkname)
        elif info.islnk():
            self._links[name] = info.linkname
        else:
            self._others.add(name)


class _HeaderReader(PartReader):
    """Limits headers: tarfile allocates as much memory as a long name or an attribute claims to need."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= HEADER_MAX:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)
