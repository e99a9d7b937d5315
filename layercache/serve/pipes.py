"""Sends bytes that are on their way through a named pipe, as if they were a file.

The server below has no backpressure for streams: what is handed to it waits in memory until the client has
read it. A file it reads only as fast as the client does. So bytes that are still on their way are written
into a named pipe, in a thread of their own, and the server is asked to send that file. A pipe that is closed
early ends the answer before its Content-Length is reached, and the server then cuts the connection.
"""

from __future__ import annotations

import fcntl
import os
import select
import tempfile
import termios
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layercache.serve.messages import Chunks

CHUNK = 256 << 10
CAPACITY = 64 << 10
"""Bytes that a pipe holds where its size cannot be set. What is no bigger is not worth a pipe."""

_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux only


class Pipes:
    """The folder of the pipes of one process; only its user can open them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="layercache-serve-")
        self._numbers = count()

    def open(self) -> Pipe:
        return Pipe(os.path.join(self._folder.name, str(next(self._numbers))))

    def close(self) -> None:
        self._folder.cleanup()


class Pipe:
    """A pipe from the thread that calls `feed` to the server, which opens ``path``.

    Until the server has opened its end, ours keeps what was written. The name is never used twice, so that
    the server cannot open another answer's pipe, however late it is.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._write_end = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._capacity = CAPACITY
        if _SET_SIZE is not None:
            with suppress(OSError):  # the user's share of pipe memory is used up: a small one will do
                self._capacity = fcntl.fcntl(self._write_end, _SET_SIZE, CHUNK)

    def feed(self, first: bytes, chunks: Chunks, *, patience: float) -> int:
        """Write ``first`` and all chunks, then close them and the pipe; return how many bytes were taken.

        Ends early where the client has hung up, or takes nothing for ``patience`` seconds. Raises what
        reading the chunks raises, once everything is closed.
        """
        sent, chunk = 0, first
        try:
            while chunk:
                left = memoryview(chunk)
                while left:
                    if not (written := self._write(left, patience)):
                        return sent
                    sent += written
                    left = left[written:]
                    if sent > self._capacity:
                        self._let_go()
                chunk = chunks.read(CHUNK)
            return sent
        finally:
            self._wait_for_server(sent, patience)
            self._let_go()
            os.close(self._write_end)
            chunks.close()

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

    def _wait_for_server(self, sent: int, patience: float) -> None:
        """Wait until the server has taken something, where little was written in all."""
        deadline = time.monotonic() + patience
        while self._read_end >= 0 and sent and self._waiting() >= sent and time.monotonic() < deadline:
            time.sleep(0.002)

    def _waiting(self) -> int:
        """Bytes in the pipe."""
        return int.from_bytes(fcntl.ioctl(self._read_end, termios.FIONREAD, bytes(4)), "little")

    def _let_go(self) -> None:
        """Close our end to read, and remove the name: the server has the pipe open, or never will.

        From then on a client that hangs up shows as a broken pipe.
        """
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1
            os.unlink(self.path)


def _is_writable(end: int, seconds: float) -> bool:
    poll = select.poll()  # unlike select(2), for any number of open files
    poll.register(end, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
