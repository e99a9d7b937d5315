"""The grammar of object names."""

from __future__ import annotations

import re
from functools import lru_cache

from layercache.errors import InvalidNameError

_KEY = re.compile(
    r"(?=.{1,900}\Z)[A-Za-z0-9_][A-Za-z0-9_.+:@=-]{0,254}(/[A-Za-z0-9_][A-Za-z0-9_.+:@=-]{0,254})*"
)


def is_key(text: str) -> bool:
    """Whether `check_key` accepts the name."""
    return _KEY.fullmatch(text) is not None


@lru_cache(maxsize=64)  # the same few keys are checked several times in a row
def check_key(key: str) -> str:
    """Return the key if it is valid: 1 to 900 ASCII characters, in components separated by "/".

    A component has 1 to 255 letters, digits or ``_ . + : @ = -`` and begins with a letter, a digit or "_". So
    no component is empty, hidden, "." or "..". The caller makes sure that no key is a folder of another.
    Raises `InvalidNameError`.
    """
    if not _KEY.fullmatch(key):
        raise InvalidNameError(
            f"not an object name: {key!r}",
            hint="expected '/'-separated components of letters, digits and _.+:@=-; "
            "none may be empty or start with '.'",
        )
    return key


def check_prefix(prefix: str) -> None:
    """Raise `ValueError` unless the prefix is empty or ends in "/", `InvalidNameError` if no key fits."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"not a folder: {prefix!r} (expected a prefix that ends in '/')")
        check_key(prefix[:-1])
