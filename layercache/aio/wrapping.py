"""Makes methods for asyncio out of blocking ones, with their arguments and types."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from layercache.transfer.cancellation import Cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator

    from layercache.aio.workers import Workers

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
W = TypeVar("W")

BATCH_SECONDS, BATCH = 0.02, 500
"""How long a thread collects items, and how many: a hop between threads for each would take longer."""


class Wrapper(Generic[S]):
    """An object for asyncio. ``sync`` is the blocking one: the same cache, image, layer or stream."""

    def __init__(self, sync: S, workers: Workers) -> None:
        self.sync = sync
        self._workers = workers

    @property
    def workers(self) -> Workers:
        """The threads of its cache."""
        return self._workers

    def __repr__(self) -> str:
        return f"<aio {self.sync!r}>"


class Awaits(Generic[P, T]):
    """A method that runs a blocking one in a thread, and returns what that returns."""

    def __init__(self, method: Callable[Concatenate[Any, P], T]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, wrapper: None, owner: object = None) -> Self: ...

    @overload
    def __get__(self, wrapper: Wrapper[Any], owner: object = None) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(
        self, wrapper: Wrapper[Any] | None, owner: object = None
    ) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        if wrapper is None:
            return self
        workers, sync = wrapper.workers, wrapper.sync

        def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
            return workers.call(Cancellation(), self._method, sync, *args, **kwargs)

        return call


class AwaitsWrapped(Generic[P, T, W]):
    """As `Awaits`, and wraps what is returned by ``wrap(result, workers)``."""

    def __init__(self, method: Callable[Concatenate[Any, P], T], wrap: Callable[[T, Workers], W]) -> None:
        self._method = method
        self._wrap = wrap
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, wrapper: None, owner: object = None) -> Self: ...

    @overload
    def __get__(self, wrapper: Wrapper[Any], owner: object = None) -> Callable[P, Coroutine[Any, Any, W]]: ...

    def __get__(
        self, wrapper: Wrapper[Any] | None, owner: object = None
    ) -> Self | Callable[P, Coroutine[Any, Any, W]]:
        if wrapper is None:
            return self
        workers, sync = wrapper.workers, wrapper.sync

        async def call(*args: P.args, **kwargs: P.kwargs) -> W:
            return self._wrap(
                await workers.call(Cancellation(), self._method, sync, *args, **kwargs), workers
            )

        return call


class Iterates(Generic[P, T]):
    """A method that iterates in a thread over what a blocking one yields, for ``async for``."""

    def __init__(self, method: Callable[Concatenate[Any, P], Iterator[T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, wrapper: None, owner: object = None) -> Self: ...

    @overload
    def __get__(self, wrapper: Wrapper[Any], owner: object = None) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(
        self, wrapper: Wrapper[Any] | None, owner: object = None
    ) -> Self | Callable[P, AsyncIterator[T]]:
        if wrapper is None:
            return self
        workers, sync = wrapper.workers, wrapper.sync

        def call(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return iterated(workers, partial(self._method, sync, *args, **kwargs))

        return call


async def iterated(workers: Workers, begin: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Yield the items of an iterator that is made and advanced in threads, one at a time."""
    cancellation = Cancellation()
    iterator = await workers.call(cancellation, begin)
    try:
        while items := await workers.call(cancellation, _batch, iterator, cancellation):
            for item in items:
                yield item
    finally:
        workers.start(partial(_end, iterator, cancellation))


def _batch(iterator: Iterator[T], cancellation: Cancellation) -> list[T]:
    items, end = [], time.monotonic() + BATCH_SECONDS
    for item in iterator:
        items.append(item)
        if len(items) >= BATCH or time.monotonic() > end or cancellation.cancelled:
            break
    if cancellation.cancelled:
        _end(iterator, cancellation)
    return items


def _end(iterator: Iterator[T], cancellation: Cancellation) -> None:
    """Have a generator run its ``finally``. Where another thread is in it, that one does it afterwards."""
    cancellation.cancel()
    close = getattr(iterator, "close", None)
    if close is not None:
        try:
            close()
        except ValueError:  # it is executing
            return


class Closable(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Opening(Generic[C]):
    """Something that is about to be opened: ``await`` it, or use it in ``async with``, which closes it."""

    def __init__(self, opens: Callable[[], Coroutine[Any, Any, C]]) -> None:
        self._opens = opens
        self._opened: C | None = None

    def __await__(self) -> Generator[Any, None, C]:
        return self._opens().__await__()

    async def __aenter__(self) -> C:
        self._opened = await self
        enter = getattr(self._opened, "__aenter__", None)
        return self._opened if enter is None else await enter()

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        opened, self._opened = self._opened, None
        leave = getattr(opened, "__aexit__", None)
        if leave is not None:
            await leave(kind, error, trace)
