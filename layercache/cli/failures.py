"""What a failure is to a user: a message on stderr and an exit code."""

from __future__ import annotations

import traceback

import click

from layercache.cli.exit_codes import BUG, FAILED, INTEGRITY, INTERRUPTED, NOT_FOUND, USAGE
from layercache.errors import (
    ConfigError,
    IntegrityError,
    InUseError,
    LayercacheError,
    NotALayerError,
    NotFoundError,
)


def exit_code(error: BaseException) -> int:
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case NotFoundError():
            return NOT_FOUND
        case ConfigError() | InUseError() | NotALayerError():
            return USAGE
        case IntegrityError():
            return INTEGRITY
        case LayercacheError() | OSError():
            return FAILED
        case _:
            return BUG


def show(error: BaseException, *, about: str = "", trace: bool = False) -> None:
    """Say on stderr what went wrong, and with what; with ``trace`` also where in the code."""
    if trace and not isinstance(error, KeyboardInterrupt):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    what = f"{about}: " if about and isinstance(error, LayercacheError) else ""
    click.echo(f"layercache: {what}{_words(error)}", err=True)


def _words(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted"
        case LayercacheError():
            return str(error)
        case OSError() if error.strerror:
            return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        case _:
            kind = type(error).__name__
            return f"an error in layercache itself: {kind}: {error}\n  hint       --verbose shows where"
