"""Threads and clocks in virtual time: one thread runs at a time; when all wait, the next event comes at once.

`install` replaces what `threading`, `time` and `queue` offer, in this process and for good, before the code
that is simulated is imported. So that code runs as it is: its threads are greenlets of one system thread, its
locks and conditions wait in virtual time, and a run with the same seed is the same run.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import queue
import random
import sys
import threading
import time
from bisect import insort
from collections import deque
from types import coroutine
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

EPOCH = 1_700_000_000.0
"""What `time.time` starts with, in seconds."""


class DeadlockError(RuntimeError):
    """All threads wait, and nothing is going to happen."""


class Task(greenlet):  # type: ignore[misc]  # greenlet has no types
    """One thread of the simulated code."""

    ident: int
    thread: Thread | None = None


Event = tuple[float, int, "Callable[[], object] | Task"]
"""Time and number, both negative, and a call, or a thread that sleeps until then."""


class Timers:
    """What happens at which time, in order; of what happens at the same time, first what was added first.

    A heap would compare each event with a dozen others, which lie anywhere in memory when there are tens of
    thousands: that took more time than most of what the events do. So they are in slots of a millisecond
    each, of which only the next one is kept in order.
    """

    SLOTS = 1000.0
    """Slots a second."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._slots: dict[int, list[Event]] = {}
        self._order: list[int] = []  # a heap of the slots that have something
        self._next: list[Event] = []  # the slot whose events come now, the latest first
        self._slot = -1

    def add(self, when: float, what: Callable[[], object] | Task) -> None:
        event = (-when, -next(self._numbers), what)
        slot = int(when * self.SLOTS)
        if slot <= self._slot:
            insort(self._next, event)
        elif (others := self._slots.get(slot)) is not None:
            others.append(event)
        else:
            self._slots[slot] = [event]
            heapq.heappush(self._order, slot)

    def pop(self) -> tuple[float, Callable[[], object] | Task] | None:
        """The next event; None if there is none."""
        if not self._next:
            if not self._order:
                return None
            self._slot = heapq.heappop(self._order)
            self._next = sorted(self._slots.pop(self._slot))
        when, _, what = self._next.pop()
        return -when, what


class Scheduler:
    """Runs what is ready in the order in which it became ready, then lets time pass until the next event.

    The thread that calls `install` is the hub: where it has to wait, it runs the others.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.switches = 0
        self.hub = getcurrent()
        self._ready: deque[greenlet] = deque()
        self._timers = Timers()
        self._idents = itertools.count(2)

    def spawn(self, work: Callable[[], object], thread: Thread | None = None) -> Task:
        """Let this run as a thread, soon."""
        task = Task(work, self.hub)
        task.ident, task.thread = next(self._idents), thread
        self._ready.append(task)
        return task

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call this at a virtual time, in the hub. It must not wait."""
        self._timers.add(when, call)

    def wake(self, task: greenlet) -> None:
        """Let a thread go on that waits."""
        if task is not self.hub:
            self._ready.append(task)

    def wait(self, waiter: Waiter) -> None:
        """Let others run until the waiter is done."""
        if waiter.task is not self.hub:
            self.hub.switch()
            return
        while waiter.pending:
            self.step()

    def step(self) -> None:
        """Run one thread until it waits, or let time pass."""
        if self._ready:
            self.switches += 1
            self._ready.popleft().switch()
        elif (event := self._timers.pop()) is not None:
            when, what = event
            self.now = max(self.now, when)
            if isinstance(what, Task):  # it sleeps
                self.switches += 1
                what.switch()
            else:
                what()
        else:
            raise DeadlockError(f"nothing happens after {self.now:.3f} s")

    def sleep(self, seconds: float) -> None:
        task, until = getcurrent(), self.now + max(0.0, seconds)
        if isinstance(task, Task):
            self._timers.add(until, task)
            self.hub.switch()
            return
        waiter = Waiter()
        self.at(until, waiter.done)
        self.wait(waiter)


class Waiter:
    """A thread that waits for something that happens once."""

    __slots__ = ("got", "pending", "task")

    def __init__(self) -> None:
        self.task = getcurrent()
        self.pending = True
        self.got = False

    def done(self, got: bool = False) -> bool:
        """Wake it, unless it was woken before."""
        if not self.pending:
            return False
        self.pending, self.got = False, got
        SCHEDULER.wake(self.task)
        return True


SCHEDULER = Scheduler()


class Lock:
    """As `threading.Lock`. Whoever waits longest gets it next."""

    __slots__ = ("__weakref__", "_held", "_waiting")

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[Waiter] | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._held:
            self._held = True
            return True
        if not blocking or timeout == 0:
            return False
        waiter = Waiter()
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(waiter)
        if timeout > 0:
            SCHEDULER.at(SCHEDULER.now + timeout, waiter.done)
        SCHEDULER.wait(waiter)
        return waiter.got

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        while self._waiting:
            if self._waiting.popleft().done(True):
                return
        self._held = False

    def locked(self) -> bool:
        return self._held

    def _at_fork_reinit(self) -> None:
        raise RuntimeError("a simulation does not fork")

    # A block is written out instead of calling `acquire` and `release`: with 360 of such calls a layer, locks
    # that are free took an eighth of the time of a run.

    def __enter__(self) -> bool:
        if self._held:
            return self.acquire()
        self._held = True
        return True

    def __exit__(self, *_: object) -> None:
        if self._waiting:
            self.release()
        else:
            self._held = False


class RLock:
    """As `threading.RLock`, with what `threading.Condition` needs of it."""

    __slots__ = ("__weakref__", "_count", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: greenlet | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = getcurrent()
        if self._owner is me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        if self._owner is not getcurrent():
            raise RuntimeError("cannot release un-acquired lock")
        self.__exit__()

    def _release_save(self) -> tuple[int, greenlet]:
        state = self._count, self._owner
        self._owner, self._count = None, 0
        self._lock.release()
        return state

    def _acquire_restore(self, state: tuple[int, greenlet]) -> None:
        self._lock.acquire()
        self._count, self._owner = state

    def _is_owned(self) -> bool:
        return self._owner is getcurrent()

    def _at_fork_reinit(self) -> None:
        raise RuntimeError("a simulation does not fork")

    def __enter__(self) -> bool:
        if self._owner is None and not self._lock._held:
            self._lock._held = True
            self._owner, self._count = getcurrent(), 1
            return True
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._owner = None
            if self._lock._waiting:
                self._lock.release()
            else:
                self._lock._held = False


class Thread:
    """As `threading.Thread`, as far as the simulated code and the standard library use it."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self.name = name or "Thread"
        self.daemon = bool(daemon)
        self._call = (target, args, kwargs or {})
        self._task: Task | None = None
        self._joining: list[Waiter] = []
        self._ended = False

    @property
    def ident(self) -> int | None:
        return self._task.ident if self._task else None

    def start(self) -> None:
        if self._task is not None:
            raise RuntimeError("threads can only be started once")
        self._task = SCHEDULER.spawn(self._run, self)

    def run(self) -> None:
        target, args, kwargs = self._call
        if target is not None:
            target(*args, **kwargs)

    def _run(self) -> None:
        try:
            self.run()
        except Exception:
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self)))
        finally:
            self._ended = True
            self._call = (None, (), {})
            for waiter in self._joining:
                waiter.done(True)

    def join(self, timeout: float | None = None) -> None:
        if self._ended:
            return
        waiter = Waiter()
        self._joining.append(waiter)
        if timeout is not None:
            SCHEDULER.at(SCHEDULER.now + max(0.0, timeout), waiter.done)
        SCHEDULER.wait(waiter)

    def is_alive(self) -> bool:
        return self._task is not None and not self._ended


_MAIN = Thread(name="MainThread")


class Local:
    """As `threading.local`."""

    def __init__(self) -> None:
        object.__setattr__(self, "_of", WeakKeyDictionary())

    def __getattribute__(self, name: str) -> Any:
        mine = object.__getattribute__(self, "_of").setdefault(getcurrent(), {})
        if name == "__dict__":
            return mine
        if name in mine:
            return mine[name]
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None


@coroutine
def _sleep_in_coroutine(delay: float) -> Generator[float, None, None]:
    """As `asyncio.sleep`, for a coroutine that is driven by hand: who drives it gets the seconds to sleep."""
    yield delay


def _current() -> Thread:
    return getattr(getcurrent(), "thread", None) or _MAIN


def install(seed: int) -> None:
    """Replace threads and clocks. To be called once, before the simulated code is imported."""
    random.seed(seed)
    own = threading.get_ident()  # the interpreter's end asks whether it is in the main thread
    replaced: dict[Any, dict[str, Any]] = {
        threading: {
            "Lock": Lock,
            "RLock": RLock,
            "_allocate_lock": Lock,  # what `threading.Condition` makes for each that waits
            "Thread": Thread,
            "local": Local,
            "get_ident": lambda: getattr(getcurrent(), "ident", own),
            "current_thread": _current,
            "main_thread": lambda: _MAIN,
        },
        time: {
            "monotonic": lambda: SCHEDULER.now,
            "perf_counter": lambda: SCHEDULER.now,
            "time": lambda: EPOCH + SCHEDULER.now,
            "sleep": SCHEDULER.sleep,
        },
        asyncio: {"sleep": _sleep_in_coroutine},
        queue: {"SimpleQueue": queue._PySimpleQueue},  # type: ignore[attr-defined]
    }
    for module, names in replaced.items():
        for name, value in names.items():
            setattr(module, name, value)
