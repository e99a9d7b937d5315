"""The grammar of object names."""

from __future__ import annotations

import re

from layercache.errors import InvalidNameError

_KEY = re.compile(
    r"(?=.{1,900}\Z)[A-Za-z0-9_][A-Za-z0-9_.+:@=-]{0,254}(/[A-Za-z0-9_][A-Za-z0-9_.+:@=-]{0,254})*"
)


def is_key(text: str) -> bool:
    """Whether `check_key` would take it."""
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """The key, if it is one: 1 to 900 ASCII characters in components parted by "/".

    A component has 1 to 255 letters, digits or ``_ . + : @ = -`` and begins with a letter, a digit or
    "_": so no component is empty, hidden, "." or "..". No key is a folder of another: that is for the
    caller to keep. Raises `InvalidNameError`.
    """
    if not is_key(key):
        raise InvalidNameError(
            f"not an object name: {key!r}",
            hint="wanted components of letters, digits and _.+:@=- parted by '/', none empty or hidden",
        )
    return key


def check_prefix(prefix: str) -> None:
    """Raise `ValueError` unless it is empty or ends in "/", `InvalidNameError` unless keys may begin so."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"not a folder: {prefix!r} (wanted a prefix that ends in '/')")
        check_key(prefix[:-1])
