"""Objects that a forked child must not share with its parent: clients, locks, threads."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Process:
    """The number of this process, which only a fork changes: `os.getpid` asks the system each time."""

    number = os.getpid()

    @classmethod
    def note_fork(cls) -> None:
        cls.number = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Process.note_fork)


class PerProcess(Generic[_T]):
    """One object per process, such as a client: created at its first use, and again in a forked child.

    Thread-safe. ``make`` is called in one thread at a time, under a lock; the others wait for what it makes.
    That lock is one of this process: a child may be forked while a thread of its parent holds the parent's
    lock, which nobody in the child would ever release.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: tuple[int, _T] | None = None
        self._locks: dict[int, threading.Lock] = {}
        # What a child has of its parent is kept: to finalize it could end the parent's connections, or wait
        # for a lock that is held by a thread which the child does not have.
        self._inherited: list[Any] = []

    def get(self) -> _T:
        made = self._made
        process = Process.number
        if made is not None and made[0] == process:
            return made[1]
        # `setdefault` is one step: however many threads are here, all get the same lock.
        with self._locks.setdefault(process, threading.Lock()):
            made = self._made
            if made is None or made[0] != process:
                if made is not None:
                    self._inherited.append(made)
                made = self._made = process, self._make()
            return made[1]

    def made(self) -> _T | None:
        """Return this process's object; None if it has not been used."""
        made = self._made
        return made[1] if made is not None and made[0] == Process.number else None

    def take(self) -> _T | None:
        """Remove and return this process's object, so that it can be closed."""
        made = self._made
        if made is None or made[0] != Process.number:
            return None
        self._made = None
        return made[1]
