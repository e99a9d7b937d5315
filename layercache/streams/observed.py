"""Bytes on their way that somebody looks at: an index of files, a progress bar, a scanner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Reader
    from layercache.events import PassObserver
    from layercache.oci.digest import Hash


class ObservedReader(WrappingReader):
    """The source of one pass, and its observers: they see each piece as it is read, before it is hashed.

    What an observer raises goes to ``report``; the observer is dropped, and the pass goes on. One that is
    not dropped gets exactly one ``end`` or ``failed``.
    """

    # There is no lock: the calls come one after the other, though perhaps from several threads. A pass is
    # read by one thread at a time, and hands over under a separate lock. `end` comes when the last byte was
    # read and hashed, `close` when nobody reads. What the hashing thread finds wrong is not passed on at once
    # but at `close`, since another thread may be reading, and so calling `data`.

    def __init__(
        self, raw: Reader, observers: Sequence[PassObserver], report: Callable[[Exception], object]
    ) -> None:
        super().__init__(raw, raw.size)
        self._observers = list(observers)
        self._report = report
        self._wrong: BaseException = LayercacheError("the pass was given up before its end")

    def read(self, size: int = -1, /) -> bytes:
        try:
            piece = self._raw.read(size)
        except BaseException as error:
            self._fail(error)
            raise
        if piece and self._observers:
            self._call(lambda observer: observer.data(piece))
        return piece

    def end(self, found: Hash) -> None:
        """All bytes were read, and found right."""
        self._call(lambda observer: observer.end(found))
        self._observers.clear()

    def refuse(self, error: BaseException) -> None:
        """The bytes were found wrong. The observers are called when nobody reads any more."""
        self._wrong = error

    def _fail(self, error: BaseException) -> None:
        self._call(lambda observer: observer.failed(error))
        self._observers.clear()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._fail(self._wrong)

    def _call(self, action: Callable[[PassObserver], object]) -> None:
        for observer in self._observers.copy():
            try:
                action(observer)
            except Exception as error:
                self._observers.remove(observer)
                self._report(error)
