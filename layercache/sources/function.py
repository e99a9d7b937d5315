"""Uses a function of the calling program as the source of a blob."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from layercache.errors import LayercacheError, SourceError
from layercache.statistics.places import Place
from layercache.streams.readers import CHUNK, WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.oci.digest import Digest


class FunctionSource:
    """A blob that the program's function fetches. Whatever it raises becomes a `SourceError`."""

    def __init__(self, digest: Digest, fetch: Callable[[Digest], BinaryIO]) -> None:
        self.name: str = getattr(fetch, "__qualname__", type(fetch).__qualname__)
        self.place = Place("function", self.name, self.name)
        self._digest = digest
        self._fetch = fetch

    def open(self, start: int, end: int | None = None) -> Reader:  # noqa: ARG002  # all of it comes
        with _failing_as_source(self.name, self._digest):
            file = self._fetch(self._digest)
        reader = _FetchedReader(file, self.name, self._digest)
        while start and (skipped := reader.read(min(start, CHUNK))):
            start -= len(skipped)
        return reader


class _FetchedReader(WrappingReader):
    """The stream that ``fetch`` returned; closed after it was read."""

    def __init__(self, file: BinaryIO, name: str, digest: Digest) -> None:
        super().__init__(cast("Reader", file))  # of all that a reader has, ``read`` and ``close`` are used
        self._name = name
        self._digest = digest

    def read(self, size: int = -1, /) -> bytes:
        with _failing_as_source(self._name, self._digest):
            return self._raw.read(size)

    def close(self) -> None:
        # The bytes were checked already, so a failure to close the stream does not matter.
        with suppress(Exception):
            self._raw.close()


@contextmanager
def _failing_as_source(name: str, digest: Digest) -> Iterator[None]:
    try:
        yield
    except LayercacheError:
        raise
    except Exception as error:  # the program's client may raise anything
        raise SourceError(f"fetching {digest} failed: {error}", looked_in=[name]) from error
