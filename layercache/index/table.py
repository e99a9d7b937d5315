"""The table of contents of a layer: what its tar has in it, and where."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from layercache.errors import IntegrityError
from layercache.index.columns import COLUMNS_MAX, Columns
from layercache.index.entry import FileEntry
from layercache.index.envelope import seal, unseal
from layercache.index.scanner import TarScanner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.oci.digest import Hash

MAGIC = b"layercache files 1\n"

AFTER_SLASH = chr(ord("/") + 1)


class FileTable(Sequence[FileEntry]):
    """The entries of a tar, in its order. ``tar_size``: bytes of the tar.

    A table can be shared by threads. An entry is made when it is asked for; the table itself takes some 200
    bytes for each of them.
    """

    # There is no lock: what is made of the columns when it is first needed is the same whoever makes it, and
    # the columns do not change.

    def __init__(self, columns: Columns, tar_size: int) -> None:
        self._columns = columns
        self.tar_size = tar_size
        self._by_path: dict[str, int] | None = None
        self._sorted: list[str] | None = None

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[FileEntry]:
        return map(self._columns.entry, range(len(self._columns)))

    @overload
    def __getitem__(self, at: int) -> FileEntry: ...
    @overload
    def __getitem__(self, at: slice) -> list[FileEntry]: ...
    def __getitem__(self, at: int | slice) -> FileEntry | list[FileEntry]:
        indexes = range(len(self._columns))[at]
        if isinstance(indexes, int):
            return self._columns.entry(indexes)
        return [self._columns.entry(each) for each in indexes]

    def get(self, path: str) -> FileEntry | None:
        """The last entry of this path, which is the one that counts; None if there is none.

        A folder without an entry, in which something has one, gets the entry that it is unpacked with: mode
        755, owned by root, without a time.
        """
        at = self._paths().get(path)
        if at is not None:
            return self._columns.entry(at)
        below = path and f"{path}/"
        ordered = self._ordered()
        at = bisect_left(ordered, below)
        if at < len(ordered) and ordered[at].startswith(below):
            return FileEntry(path, "directory", mode=0o755)
        return None

    def children(self, path: str) -> list[FileEntry]:
        """What is directly in a folder ("" is the root), sorted by path, each as `get` returns it."""
        below = path and f"{path}/"
        ordered = self._ordered()
        found: dict[str, None] = {}
        at = bisect_left(ordered, below)
        while at < len(ordered) and (each := ordered[at]).startswith(below):
            slash = each.find("/", len(below))
            if slash < 0:
                at += 1
            else:  # over all that is deeper in the same folder
                each = each[:slash]
                at = bisect_left(ordered, each + AFTER_SLASH, at)
            found[each] = None
        found.pop("", None)
        return [entry for each in sorted(found) if (entry := self.get(each))]

    def _paths(self) -> dict[str, int]:
        if self._by_path is None:
            self._by_path = {path: at for at, path in enumerate(self._columns.paths)}
        return self._by_path

    def _ordered(self) -> list[str]:
        # Not a tree: that of a path with a million parts, of which each is a folder, would fill the memory.
        if self._sorted is None:
            self._sorted = sorted(self._paths())
        return self._sorted

    def encode(self) -> bytes:
        """The table as it is stored: `MAGIC`, the sha256 of what follows, and the columns, compressed."""
        return seal(MAGIC, self._columns.encode(self.tar_size))

    @classmethod
    def decode(cls, data: bytes) -> FileTable:
        """The inverse of `encode`. Raises `FormatError` for a table that `TableBuilder` cannot have made."""
        return cls(*Columns.decode(unseal(MAGIC, data, COLUMNS_MAX)))


class TableBuilder:
    """Makes the table of a tar from its bytes, as a `PassObserver` of the uncompressed form or fed by hand.

    An observer must not fail: an error is kept, the bytes that follow are ignored, and `finish` raises it.
    """

    def __init__(self) -> None:
        self._columns = Columns()
        self._scanner = TarScanner(self._columns.add)
        self._error: BaseException | None = None
        self.found: Hash | None = None
        """The diff ID of the tar, once a pass has ended and verified it."""

    def data(self, chunk: bytes | memoryview, /) -> None:
        if self._error is None:
            try:
                self._scanner.feed(chunk)
            except IntegrityError as error:
                self._fail(error)

    def end(self, found: Hash, /) -> None:
        self.found = found

    def failed(self, error: BaseException, /) -> None:
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._columns = Columns()

    def finish(self) -> FileTable:
        """The table, once all bytes have come.

        Raises `FormatError` if they are not a complete tar, `LimitError` if it has too much, and the pass's
        own error if that failed.
        """
        if self._error is not None:
            raise self._error
        self._scanner.close()
        return FileTable(self._columns, self._scanner.position)
