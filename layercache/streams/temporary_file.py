"""A file without a name, for bytes that are too many for memory and that no tier takes."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layercache.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer


class TemporaryFile:
    """Bytes in the system's folder for temporary files. To make it and to write raise `BackendError`."""

    def __init__(self) -> None:
        with _errors():
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # close() closes it

    def write(self, data: ReadableBuffer, /) -> None:
        view = memoryview(data).cast("B")
        with _errors():
            while view:
                view = view[self._file.write(view) :]

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        """Read from an offset on; return how many bytes, 0 at the end."""
        return os.preadv(self._file.fileno(), [buffer], offset)

    def close(self) -> None:
        self._file.close()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        try:
            folder = f" in {tempfile.gettempdir()}"
        except FileNotFoundError:  # there is none, as the error says
            folder = ""
        raise BackendError(
            f"writing a temporary file{folder}: {error.strerror}",
            hint="make room there, or name another folder with TMPDIR",
        ) from error
