"""The command line: where it begins, and how it ends.

``layercache --version`` is answered before anything is imported that takes time: click alone takes twice
as long as the interpreter.
"""

from __future__ import annotations

import sys

from layercache._version import __version__
from layercache.cli.exit_codes import BROKEN_PIPE, INTERRUPTED, TERMINATED

TYPE_CHECKING = False  # as in layercache/__init__.py
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


def main() -> None:
    """Run the command that ``sys.argv`` names, and leave the process with its exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"layercache {__version__}\n")
        return
    _leave(_run())


def _run() -> int:
    try:
        import signal

        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminate)
        from layercache.cli.program import program

        program(prog_name="layercache")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:  # before there was a command that could say so, or once more while it ended
        return INTERRUPTED
    return 0


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends the process as an exception does: what is unfinished is taken back on the way."""
    raise SystemExit(TERMINATED)


def _leave(code: int) -> NoReturn:
    import os

    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            # Nobody reads any more, or the disk is full: said already, and not to be said by Python again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or BROKEN_PIPE
    if code in (INTERRUPTED, TERMINATED):
        os._exit(code)  # a thread may still wait for a network that is silent
    sys.exit(code)
