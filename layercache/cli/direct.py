"""Understands the plain form of ``layercache get`` without click.

Importing click and declaring the program to it takes as long as reading a cached layer. Programs call ``get``
for each layer, so a command line that has just this command, its options and a hash is understood here.
Anything else, a mistake and a question for help too, is left to click: what is understood here means the same
there, and is done by the same code.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from layercache.cli.global_options import GLOBAL_OPTIONS
from layercache.cli.layer_output import write_layer
from layercache.cli.session import Session
from layercache.oci.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND = "get"

_GLOBAL = {name: option for option in GLOBAL_OPTIONS for name in option.names}
_OWN = {"-o": "output", "--output": "output", "--form": "form"}


def understood(arguments: Sequence[str]) -> Callable[[], int] | None:
    """Return what does the command of these arguments, and returns its exit code; None: ask click."""
    session, own, words = Session(), dict[str, str](), list[str]()
    left = iter(arguments)
    for argument in left:
        if not argument.startswith("-"):
            words.append(argument)
            continue
        name, equals, value = argument.partition("=")
        option = _GLOBAL.get(name)
        if option and not option.metavar and not equals:
            session.take(option, True)
            continue
        takes_value = option.metavar if option else words and name in _OWN
        if not takes_value or (equals and not name.startswith("--")):  # -o=FILE: click's FILE begins with "="
            return None
        value = value if equals else next(left, "")
        if not value or (value.startswith("-") and value != "-"):  # perhaps a value is missing
            return None
        if option:
            session.take(option, value)
        else:
            own[_OWN[name]] = value
    return _get(session, words, **own)


def _get(
    session: Session, words: Sequence[str], output: str | None = None, form: str | None = None
) -> Callable[[], int] | None:
    # On Windows click expands patterns and variables, as a shell does elsewhere.
    if len(words) != 2 or words[0] != COMMAND or form not in (None, *FORMS) or sys.platform == "win32":
        return None
    path = None if output is None else os.path.expanduser(output)
    return partial(session.run, partial(write_layer, session, words[1], path, form))
