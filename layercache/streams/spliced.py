"""Bytes that go from a file into a pipe without passing through this process."""

from __future__ import annotations


def splice_to(reader: object, pipe: int, size: int) -> int:
    """Put the next bytes of a reader, ``size`` at most, into a pipe that does not block; return their number.

    Waits for bytes as reading does, and raises what that raises. 0 where the reader cannot, or cannot now:
    then they are to be read and written, which also shows the end, and what is wrong with the pipe.
    """
    splice = getattr(reader, "splice_to", None)
    return splice(pipe, size) if splice else 0
