"""The direct way to a service: by obstore, in the thread of whoever asks, where all goes well.

obstore (Rust) takes half of the CPU that our own requests take, or less, but only where no event loop is
between: going through one costs what it saves. It is left to `Session` and `Service` to be patient, to go on
after a break and to say what an error means: whatever is not plain success, or plain absence, is asked for
again by them. So the direct way makes no promise of its own, and may be left out at any time. An interrupt is
heard when obstore is back: after half of the timeout at the latest.

It is not gone in a forked child whose parent had obstore, since obstore hangs there.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from layercache.backend import CircuitBreaker
from layercache_backends.objects.service import Failure, Kind
from layercache_backends.obstore.reader import DirectReader

if TYPE_CHECKING:
    from layercache_backends.objects.service import Direct, Payload
    from layercache_backends.objects.session import Session

LARGEST = 1 << 20
"""Bytes of the biggest object that is written so: how far it got is not seen, so it must not take long."""

FAST_PATH_REST = 30.0
"""Seconds for which the direct way is left alone after it failed."""

_ABSENT = "<Code>NoSuchKey</Code>"
"""How S3, and Google Cloud Storage where it is asked in XML, say that there is no such object."""

_inherited = False
"""Whether this process was forked when obstore was loaded: its threads stayed with the parent."""

_READERS: weakref.WeakSet[DirectReader] = weakref.WeakSet()
_OF_THE_PARENT: list[object] = []
"""What a forked child has of its parent: to finalize it may be to wait for a lock that nobody lets go of."""


class FastPath:
    """Of one session, and like it of use in one process only. Thread-safe."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # Held while it is connected: of several first requests one connects, the others wait for that.
        self._connecting = threading.Lock()
        self._direct: Direct | None = None
        # The names of errors, and not the errors: their tracebacks would keep what was to be written.
        self._breaker: CircuitBreaker[str] = CircuitBreaker(FAST_PATH_REST)

    def open(self, name: str, doing: str, start: int, end: int | None) -> DirectReader | None:
        """Begin to read; None: ask the other way. Raises `NotFoundError` where the service says so itself."""
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
        except Exception as error:  # whatever it is: the other way meets it too, and says what it means
            self._rest(error)
            return None
        _READERS.add(reader)
        return reader

    def put(self, name: str, data: Payload) -> bool:
        """Publish an object if it is small; False: it may or may not be there, send it the other way."""
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
        # Half of the time, so that there is some left for the other way.
        seconds = self._session.timeout / 2
        try:
            self._direct = self._session.call(
                self._session.insist("connecting", lambda service: service.direct(seconds))
            )
        except Exception as error:  # no credentials, say: the other way says so, and what it was wanted for
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._breaker.open(type(error).__name__)
        self._direct = None  # the other way may find out that the bucket is elsewhere


def can_go() -> bool:
    """Whether obstore works in this process, if it is installed."""
    return not _inherited


def _after_fork() -> None:
    global _inherited
    _inherited = _inherited or "obstore" in sys.modules
    _OF_THE_PARENT.extend(_READERS)


os.register_at_fork(after_in_child=_after_fork)
