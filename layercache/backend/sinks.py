"""Shared parts of sinks, for authors of backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from layercache.backend.per_process import Process
from layercache.errors import BackendError

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import ReadableBuffer

    from layercache.backend.interface import Sink


class SinkBase(ABC):
    """A `Sink` whose ``with`` block ends with ``abort``, which must be harmless after ``commit``."""

    @abstractmethod
    def write(self, data: ReadableBuffer, /) -> None: ...

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def abort(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.abort()


def check_usable(what: str, owner: int, *, ended: bool) -> None:
    """Raise `BackendError` unless a write may continue: in the process that started it, and before its end.

    ``what`` starts the message: the store's URL and the object. ``owner``: the process ID of the writer.
    """
    if owner != Process.number:
        raise BackendError(
            f"{what}: this write belongs to process {owner}",
            hint="start a new write in the forked child",
        )
    if ended:
        raise BackendError(f"{what}: this write is already closed")


def write_whole(sink: Sink, data: bytes) -> None:
    """Write a small object, and publish it."""
    with sink:
        sink.write(data)
        sink.commit()
