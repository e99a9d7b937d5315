"""A program's own function as the source of a blob."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from layercache.errors import LayercacheError, SourceError
from layercache.streams.readers import CHUNK, WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.oci.digest import Digest


class FunctionSource:
    """A program's own way to a blob. Whatever it raises, the source failed: `SourceError`."""

    def __init__(self, digest: Digest, fetch: Callable[[Digest], BinaryIO]) -> None:
        self.name: str = getattr(fetch, "__qualname__", type(fetch).__qualname__)
        self._digest = digest
        self._fetch = fetch

    def open(self, start: int) -> Reader:
        with _failing_as_source(self.name, self._digest):
            file = self._fetch(self._digest)
        reader = _FetchedReader(file, self.name, self._digest)
        while start and (skipped := reader.read(min(start, CHUNK))):
            start -= len(skipped)
        return reader


class _FetchedReader(WrappingReader):
    """What ``fetch`` gave, closed when it was read."""

    def __init__(self, file: BinaryIO, name: str, digest: Digest) -> None:
        super().__init__(cast("Reader", file))  # of all that a reader has, ``read`` and ``close`` are used
        self._name = name
        self._digest = digest

    def read(self, size: int = -1, /) -> bytes:
        with _failing_as_source(self._name, self._digest):
            return self._raw.read(size)

    def close(self) -> None:
        # What was read was checked: how the program's stream ends is no reason to refuse it.
        with suppress(Exception):
            self._raw.close()


@contextmanager
def _failing_as_source(name: str, digest: Digest) -> Iterator[None]:
    try:
        yield
    except LayercacheError:
        raise
    except Exception as error:  # it is the program's client: nobody here knows what it raises
        raise SourceError(f"fetching {digest} failed: {error}", looked_in=[name]) from error
