"""What sinks share, for those who write a backend."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

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
    """Raise `BackendError` unless a write may go on: in the process that began it, and before its end.

    ``what`` begins the message: the store's URL and what is written. ``owner``: the process ID of the writer.
    """
    if owner != os.getpid():
        raise BackendError(
            f"{what}: this write belongs to process {owner}",
            hint="a forked child begins writes of its own",
        )
    if ended:
        raise BackendError(f"{what}: this write has already ended")


def write_whole(sink: Sink, data: bytes) -> None:
    """Write a small object, and publish it."""
    with sink:
        sink.write(data)
        sink.commit()
