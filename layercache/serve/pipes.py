"""Sends bytes that are on their way through a named pipe, as if they were a file.

The server below has no backpressure for streams: what is handed to it waits in memory until the client has
read it. A file it reads only as fast as the client does. So bytes that are still on their way are written
into a named pipe, in a separate thread, and the server is asked to send that file. A pipe that is closed
early ends the answer before its Content-Length is reached, and the server then cuts the connection.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import tempfile
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layercache.serve.messages import Pieces

WANTED = 512 << 10
"""Bytes that a pipe holds, if the system has no limit below that."""

CAPACITY = 64 << 10
"""Bytes that a pipe holds by default. What is no bigger is not worth a pipe."""

OPENED_WITHIN = 10.0
"""Seconds in which the server opens a pipe, unless the client hung up before."""

PAUSES = (0.00005, 0.01)
"""Seconds between two looks whether it has, the first and the longest."""

_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux only


class Pipes:
    """The folder of the pipes of one process, in ``folder``; only its user can open them.

    Whoever owns that one removes it, with what a process leaves that is killed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pipes-", dir=folder)
        self._numbers = count()

    def open(self) -> Pipe:
        return Pipe(os.path.join(self._folder.name, str(next(self._numbers))))

    def close(self) -> None:
        self._folder.cleanup()


class Pipe:
    """A pipe from the thread that calls `feed` to the server, which opens ``path`` to read.

    The name is never used twice, so that the server cannot open another answer's pipe, however late it is.
    Nobody else has an end open: once the server has closed its own, since the client hung up, a write fails.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._write_end = -1
        os.mkfifo(path, 0o600)

    def feed(self, first: bytes, body: Pieces, *, patience: float) -> int:
        """Write ``first`` and the rest of the body, then close it and the pipe; return the bytes written.

        Ends early where the client has hung up, or takes nothing for ``patience`` seconds. Raises what
        reading the body raises, once everything is closed.
        """
        sent, piece = 0, first
        try:
            if not self._connect():
                return sent
            while piece:
                left = memoryview(piece)
                while left:
                    if not (written := self._write(left, patience)):
                        return sent
                    sent += written
                    left = left[written:]
                moved = 1
                while moved:
                    if not _is_writable(self._write_end, patience):
                        return sent
                    moved = body.splice_to(self._write_end)
                    sent += moved
                piece = body.read()
            return sent
        finally:
            if self._write_end >= 0:
                os.close(self._write_end)
            body.close()

    def _connect(self) -> bool:
        """Open the end to write, as soon as the server has opened the other; whether it has."""
        deadline, pause = time.monotonic() + OPENED_WITHIN, PAUSES[0]
        try:
            while not self._is_opened():
                if time.monotonic() > deadline:
                    # Without a writer, a server that is opening it at this moment would wait without limit.
                    self._write_end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                    return False
                time.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
        finally:
            os.unlink(self.path)
        if _SET_SIZE is not None:
            with suppress(OSError):  # the user's share of memory for pipes is used up
                fcntl.fcntl(self._write_end, _SET_SIZE, WANTED)
        return True

    def _is_opened(self) -> bool:
        try:
            self._write_end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody has it open to read
                raise
            return False
        return True

    def _write(self, data: memoryview, patience: float) -> int:
        """Write some of it; 0 if the reader is gone, or takes nothing."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return os.write(self._write_end, data)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not _is_writable(self._write_end, left):
                    return 0
            except BrokenPipeError:
                return 0


def _is_writable(end: int, seconds: float) -> bool:
    poll = select.poll()  # unlike select(2), for any number of open files
    poll.register(end, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
