"""Reports a failure to the user: a message on stderr and an exit code."""

from __future__ import annotations

from layercache.cli.exit_codes import BUG, FAILED, IN_USE, INTEGRITY, INTERRUPTED, NOT_FOUND, USAGE
from layercache.cli.terminal import ERROR, echo
from layercache.errors import (
    ConfigError,
    IntegrityError,
    InUseError,
    LayercacheError,
    NotAFileError,
    NotALayerError,
    NotFoundError,
)

REPORT_IT = "run the command again with --verbose, and file a bug with what it prints"


def exit_code(error: BaseException) -> int:
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case NotFoundError():
            return NOT_FOUND
        case ConfigError() | NotALayerError() | NotAFileError():
            return USAGE
        case InUseError():
            return IN_USE
        case IntegrityError():
            return INTEGRITY
        case LayercacheError() | OSError() | SystemExit():
            return FAILED
        case _:
            return BUG


def show(error: BaseException, *, about: str = "", trace: bool = False) -> None:
    """Print an error on stderr, prefixed by what it is about; ``trace`` adds the traceback."""
    if trace and not isinstance(error, KeyboardInterrupt):
        import traceback

        echo("".join(traceback.format_exception(error)), err=True, nl=False)
    what = f"{about}: " if about and isinstance(error, LayercacheError) else ""
    echo(f"layercache: {what}{_words(error)}", err=True, mark=("layercache:", ERROR))


def _words(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted"
        case LayercacheError():
            return str(error)
        case OSError() if error.strerror:
            return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        case SystemExit():
            return f"a package in use called sys.exit({error.code!r})\n  hint       --verbose shows which one"
        case _:
            kind = type(error).__name__
            return f"internal error: {kind}: {error}\n  hint       {REPORT_IT}"
