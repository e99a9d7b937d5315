"""The fast path to a service: obstore, called in the caller's thread, as long as everything succeeds.

obstore (Rust) takes at most half the CPU of our own requests, but only without an event loop in between,
which would cost what it saves. `Session` and `Service` handle timeouts, interruptions and the classification
of errors: they repeat whatever is not a plain success or a plainly missing object. So the fast path promises
nothing, and may be skipped at any time. An interrupt takes effect when obstore returns, after half of the
timeout at the latest.

It is not used in a forked child whose parent had obstore, because obstore hangs there.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from layercache.backend import CircuitBreaker
from layercache_backends.objects.service import FREE, Failure, Kind, Outcome
from layercache_backends.obstore.reader import DirectReader

if TYPE_CHECKING:
    from layercache_backends.objects.service import Direct, Payload
    from layercache_backends.objects.session import Session

LARGEST = 1 << 20
"""Maximum bytes of an object to write: progress is not visible, so it must not take long."""

FAST_PATH_REST = 30.0
"""Seconds for which the fast path is not used after a failure."""

_ABSENT = "<Code>NoSuchKey</Code>"
"""How S3, and Google Cloud Storage's XML API, report a missing object."""

_TAKEN = "<Code>PreconditionFailed</Code>"
"""How S3 refuses to create an object whose name is taken."""

_inherited = False
"""Whether this process was forked when obstore was loaded: its threads stayed with the parent."""

_READERS: weakref.WeakSet[DirectReader] = weakref.WeakSet()
_OF_THE_PARENT: list[object] = []
"""Objects of the parent in a forked child: finalizing them could wait for a lock that is never released."""


class FastPath:
    """The fast path of one session. Belongs to one process, as the session does. Thread-safe."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # Held while connecting: of several first requests, one connects and the others wait.
        self._connecting = threading.Lock()
        self._direct: Direct | None = None
        # The names of errors instead of the errors, whose tracebacks would keep the bytes alive.
        self._breaker: CircuitBreaker[str] = CircuitBreaker(FAST_PATH_REST)

    def open(self, name: str, doing: str, start: int, end: int | None) -> DirectReader | None:
        """Start reading; None: use the service. Raises `NotFoundError` if the service reports that."""
        if start == end or (direct := self._connected()) is None:
            return None
        ranged = {"range": {"offset": start} if end is None else (start, end)} if start or end else None
        try:
            answer = direct.store.get(name, options=ranged)
            reader = DirectReader(self._session, answer, name, doing, start, direct.version)
        except FileNotFoundError as error:
            if _ABSENT in str(error):
                raise self._session.error(doing, Failure(Kind.ABSENT, "")) from error
            return None
        except Exception as error:  # whatever it is, the service meets it too, and classifies it
            self._rest(error)
            return None
        _READERS.add(reader)
        return reader

    def put(self, name: str, data: Payload) -> bool:
        """Publish a small object; False: unknown result, send it through the service."""
        if data.tell() > LARGEST:
            return False
        direct = self._connected()
        if direct is None or not direct.writes:
            return False
        try:
            direct.store.put(name, data.getvalue(), use_multipart=False)
        except Exception as error:  # as above
            self._rest(error)
            return False
        return True

    def put_if(self, name: str, data: bytes, version: str) -> Outcome:
        """As `Shortcut.put_if`."""
        direct = self._connected() if len(data) <= LARGEST else None
        if direct is None or not direct.writes:
            return Outcome.UNTRIED
        mode: Any = {direct.version: version} if version != FREE else "create"
        try:
            direct.store.put(name, data, mode=mode, use_multipart=False)
        except Exception as error:
            # Of any other conflict, the service decides whether to try again.
            if version == FREE and _TAKEN in str(error):
                return Outcome.REFUSED
            if type(error).__name__ != "PreconditionError":
                self._rest(error)
            return Outcome.UNKNOWN
        return Outcome.PUBLISHED

    def _connected(self) -> Direct | None:
        if self._breaker.is_open:
            return None
        if self._direct is None:
            with self._connecting:
                self._connect()
        return self._direct

    def _connect(self) -> None:
        if self._direct or self._breaker.is_open:
            return  # another thread was here
        # Half of the time, so that some is left for the service.
        seconds = self._session.timeout / 2
        try:
            self._direct = self._session.call(
                self._session.insist("connecting", lambda service: service.direct(seconds))
            )
        except Exception as error:  # for example no credentials: the service reports it, with the operation
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._breaker.open(type(error).__name__)
        self._direct = None  # the service may find out that the bucket is elsewhere


def can_go() -> bool:
    """Whether obstore works in this process, if it is installed."""
    return not _inherited


def _after_fork() -> None:
    global _inherited
    _inherited = _inherited or "obstore" in sys.modules
    _OF_THE_PARENT.extend(_READERS)


os.register_at_fork(after_in_child=_after_fork)
