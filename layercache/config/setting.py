"""A value and its origin."""

from __future__ import annotations

from typing import Any

from layercache.value import Value

ARGUMENT = "argument"
DEFAULT = "default"


class Setting(Value, frozen=True):
    """A value and its origin: an option, a variable, a file and its key, or the default."""

    value: Any
    origin: str
