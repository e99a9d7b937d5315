"""The table of contents of a layer: what its tar has in it, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from layercache.errors import IntegrityError
from layercache.index.columns import COLUMNS_MAX, Columns
from layercache.index.entry import FileEntry
from layercache.index.envelope import seal, unseal
from layercache.index.scanner import TarScanner

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"layercache files 1\n"


class FileTable(Sequence[FileEntry]):
    """The entries of a tar, in its order. ``tar_size``: bytes of the tar.

    It does not change, so threads can share it. An entry is made when it is asked for; the table itself takes
    some 200 bytes for each of them.
    """

    def __init__(self, columns: Columns, tar_size: int) -> None:
        self._columns = columns
        self.tar_size = tar_size

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[FileEntry]:
        return iter(self._columns)

    @overload
    def __getitem__(self, at: int) -> FileEntry: ...
    @overload
    def __getitem__(self, at: slice) -> list[FileEntry]: ...
    def __getitem__(self, at: int | slice) -> FileEntry | list[FileEntry]:
        indexes = range(len(self._columns))[at]
        if isinstance(indexes, int):
            return self._columns.entry(indexes)
        return [self._columns.entry(each) for each in indexes]

    @property
    def paths(self) -> Sequence[str]:
        """The path of each entry: making the entries takes ten times as long."""
        return self._columns.paths

    @property
    def links(self) -> list[int]:
        """Which of the entries are links, symbolic or hard."""
        return self._columns.links()

    def encode(self) -> bytes:
        """The table as it is stored: `MAGIC`, the sha256 of what follows, and the columns, compressed."""
        return seal(MAGIC, self._columns.encode(self.tar_size))

    @classmethod
    def decode(cls, data: bytes) -> FileTable:
        """The inverse of `encode`. Raises `FormatError` for a table that `TableBuilder` cannot have made."""
        return cls(*Columns.decode(unseal(MAGIC, data, COLUMNS_MAX)))


class TableBuilder:
    """Makes the table of a tar from its bytes, which are handed to `data` in order.

    An error is kept, the bytes that follow are ignored, and `finish` raises it: the pass that the bytes come
    from goes on, and finds out for itself whether they are right.
    """

    def __init__(self) -> None:
        self._columns = Columns()
        self._scanner = TarScanner(self._columns.add)
        self._error: IntegrityError | None = None

    def data(self, chunk: bytes | memoryview, /) -> None:
        """Take the next bytes, as many as there are."""
        if self._error is None:
            try:
                self._scanner.feed(chunk)
            except IntegrityError as error:
                self._error = error
                self._columns = Columns()

    def finish(self) -> FileTable:
        """The table, once all bytes have come.

        Raises `FormatError` if they are not a complete tar, and `LimitError` if it has too much.
        """
        if self._error is not None:
            raise self._error
        self._scanner.close()
        return FileTable(self._columns, self._scanner.position)
