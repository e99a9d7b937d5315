"""The command line: its entry point, and how the process exits.

``commands/`` has a module for each command; the other modules hold what commands share: the session, the
output, the progress bars, the exit codes.

``layercache --version`` is answered before any slow import: importing click alone takes twice as long as
starting the interpreter.
"""

from __future__ import annotations

import sys

from layercache._version import __version__
from layercache.cli.exit_codes import BROKEN_PIPE, INTERRUPTED, is_terminated

TYPE_CHECKING = False  # as in layercache/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn


def main() -> None:
    """Run the command in ``sys.argv`` and exit with its exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"layercache {__version__}\n")
        return
    _leave(_run())


def _run() -> int:
    import gc

    gc.disable()  # see `loading`, whose own import is a part of the start
    try:
        import signal

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _terminate)
        from layercache.cli.loading import hidden, load_msgspec, loading

        # msgspec takes from it what typing has since 3.11; it takes as long as the rest of msgspec.
        with loading(), hidden("typing_extensions"):
            load_msgspec()
            work = _understood(sys.argv[1:]) or _program()
        return work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:  # before a command could report it, or again while the command was ending
        return INTERRUPTED


def _understood(arguments: list[str]) -> Callable[[], int] | None:
    """What does the command, if that can be understood without importing click."""
    if "get" not in arguments:
        return None
    from layercache.cli.direct import understood

    return understood(arguments)


def _program() -> Callable[[], int]:
    from layercache.cli.program import program

    return lambda: program(prog_name="layercache")


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Turn a signal into an exception, so that unfinished work is cleaned up on the way out."""
    raise SystemExit(128 + number)


def _leave(code: int) -> NoReturn:
    import gc
    import os

    abandoned = code == INTERRUPTED or is_terminated(code)  # a thread may still wait for a dead network
    alone = not abandoned and _is_alone()
    if alone:
        import atexit

        atexit._run_exitfuncs()  # noqa: SLF001  # as multiprocessing ends its children
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            # The reader is gone or the disk is full. That was reported; keep Python from reporting it again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or BROKEN_PIPE
    if abandoned or alone:
        # The system frees what is left. The interpreter would free each object, as long as it takes to read a
        # cached layer.
        os._exit(code)
    gc.freeze()  # to look for garbage takes a tenth of a short command
    sys.exit(code)


def _is_alone() -> bool:
    """Whether no other thread is left for which the interpreter would wait: it does not for daemons."""
    threading = sys.modules.get("threading")
    return threading is None or all(
        each.daemon or each is threading.current_thread() for each in threading.enumerate()
    )
