"""``${NAME}``, ``${NAME:-default}`` and ``$$`` in the strings of a configuration file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")
_SECRET = re.compile("SECRET|TOKEN|PASS|KEY|CREDENTIAL|AUTH", re.IGNORECASE)


def expand(text: str, variable: Callable[[str], str | None]) -> str:
    """Replace variables by their values. The default applies if a variable is unset or empty, as in a shell.

    Values are not expanded again. Raises `ValueError` for a variable that is not set, and for a "$" that
    begins none of the three forms.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name, default = found["name"], found["default"]
        if not name:
            raise ValueError("stray $: write ${NAME}, ${NAME:-default}, or $$ for a dollar sign")
        held = variable(name)
        if default is not None:
            return held or default
        if held is None:
            raise ValueError(f"the variable {name} is not set: set it, or write ${{{name}:-default}}")
        return held

    return _DOLLAR.sub(value, text)


def may_be_secret(name: str) -> bool:
    """Whether a variable or an option of this name is likely to hold a secret."""
    return bool(_SECRET.search(name))
