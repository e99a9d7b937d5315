"""A value and its origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ARGUMENT = "argument"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and its origin: an option, a variable, a file and its key, or the default."""

    value: Any
    origin: str
