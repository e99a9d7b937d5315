"""Asks upstreams: one question for all clients that wait for the same answer, and none too many."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from layercache.errors import SourceError
from layercache.registry.credentials import DeniedError
from layercache.registry.retry import TransientError
from layercache.serve.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

ResultT = TypeVar("ResultT")

PATIENCE = 30.0
"""Seconds for which a client waits where there is nothing else to serve. The question is asked to its end."""

REST = 5.0
"""Seconds for which an upstream that failed is not asked about what is cached."""

REST_LIMITED = 30.0
"""The same for one that limits requests, and does not say for how long."""

REST_MAX = 300.0
"""Seconds of a Retry-After that are obeyed at most."""

SLOW = 5.0
"""Seconds after which a failure is one that clients should not wait for in turn."""

SOON = 1.0
"""Seconds within which an upstream has to fail to be asked a second time."""

UPSTREAMS_MAX = 1000
ANSWERED = 2.0
"""Seconds for which an answer is kept for clients that had begun to ask before it came."""

QUESTIONS_MAX = 256
"""Questions that are under way, or wait for a thread, at most. Clients may retry further ones."""


class _Question(NamedTuple):
    """``since``, ``until``: when it was asked and when it was answered (monotonic seconds)."""

    answer: Future[Any]
    since: float
    until: float = math.inf


class _Rest(NamedTuple):
    """Why an upstream is not asked. ``limited``: it limits requests. ``obeyed``: by everybody, since it has
    asked for that, or it would be waited for in vain.
    """

    message: str
    hint: str = ""
    limited: bool = False
    obeyed: bool = False


class Questions:
    """Asks upstreams in separate threads, so that clients need not wait to the end. Thread-safe."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "upstream")
        # Guards the dictionary: of several clients with the same question one asks it. Nothing is waited for
        # under it.
        self._lock = threading.Lock()
        self._open: dict[Hashable, _Question] = {}
        # Those answered a moment ago: a client that looked for an answer, found none, and comes here
        # when the question has just been closed must not ask it again.
        self._answered: Remembered[_Question] = Remembered(QUESTIONS_MAX)
        # By upstream, if it fails; by upstream and client, if it has asked that client to wait.
        self._resting: Remembered[_Rest] = Remembered(UPSTREAMS_MAX)

    def ask(
        self,
        key: Hashable,
        upstream: str,
        action: Callable[[], ResultT],
        *,
        looked: float,
        patience: float | None = None,
        whose: Hashable = None,
    ) -> ResultT:
        """The action's result, or that of one with the same key that is under way.

        ``looked``: when the caller looked for an answer and found none (monotonic seconds); one that has come
        since is taken.
        ``whose``: the client whose credentials are used, which the upstream counts apart; None: the mirror's.
        ``patience``: seconds for which it is waited for, since there is a cached answer to serve instead;
        then an upstream that failed lately is not asked at all. One that said when to come back is not asked
        before by anybody. Raises what the action raises, and `TransientError`.
        """
        for who in (upstream, (upstream, whose)):
            rest = self._resting.get(who)
            if rest is not None and (rest.obeyed or patience is not None):
                left = self._resting.left(who)
                raise TransientError(rest.message, hint=rest.hint, retry_after=left, limited=rest.limited)
        question = self._join((key, whose), upstream, partial(self._run, upstream, whose, action), looked)
        waited = time.monotonic() - question.since
        wait = max(0.0, (PATIENCE if patience is None else patience) - waited)
        try:
            return cast("ResultT", question.answer.result(wait))
        except TimeoutError:
            error = TransientError(f"{upstream} has not answered within {waited + wait:.0f} s")
            self._resting.put(upstream, _Rest(error.message, obeyed=patience is None), REST)
            raise error from None

    def rest(self, upstream: str, whose: Hashable = None) -> float:
        """Seconds for which an upstream that failed is still not asked; 0 for any other."""
        return max(self._resting.left(upstream), self._resting.left((upstream, whose)))

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _join(self, key: Hashable, upstream: str, action: Callable[[], object], looked: float) -> _Question:
        with self._lock:
            if (found := self._open.get(key) or self._answered.get(key)) and found.until >= looked:
                return found
            if len(self._open) >= QUESTIONS_MAX:
                raise TransientError(f"too many questions wait for {upstream} and other upstreams")
            answer = self._threads.submit(action)
            self._open[key] = question = _Question(answer, time.monotonic())
        answer.add_done_callback(partial(self._close_question, key))
        return question

    def _close_question(self, key: Hashable, _: Future[Any]) -> None:
        with self._lock:
            if question := self._open.pop(key, None):
                self._answered.put(key, question._replace(until=time.monotonic()), ANSWERED)

    def _run(self, upstream: str, whose: Hashable, action: Callable[[], ResultT]) -> ResultT:
        began = time.monotonic()
        try:
            result = _twice(action)
        except DeniedError:
            raise
        except SourceError as error:
            self._note_failure(upstream, whose, error, time.monotonic() - began)
            raise
        self._resting.forget(upstream)
        return result

    def _note_failure(self, upstream: str, whose: Hashable, error: SourceError, took: float) -> None:
        """Note a failure, which took so many seconds: where that is long, nobody else is to wait for it."""
        limited, wait = False, None
        if isinstance(error, TransientError):
            limited, wait = error.limited, error.retry_after
        seconds = min(wait or (REST_LIMITED if limited else REST), REST_MAX)
        obeyed = limited or bool(wait) or took > SLOW
        rest = _Rest(error.message, error.hint, limited, obeyed)
        self._resting.put((upstream, whose) if limited or wait else upstream, rest, seconds)


def _twice(action: Callable[[], ResultT]) -> ResultT:
    """Try again at once where that may help: a kept connection may have been closed."""
    began = time.monotonic()
    try:
        return action()
    except TransientError as error:
        if error.limited or error.retry_after or time.monotonic() - began > SOON:
            raise
        return action()
