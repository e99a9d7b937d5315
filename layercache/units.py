"""Sizes and ages as people write them in URLs, configuration and on the command line."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?")
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw]?)")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

SIZE_EXAMPLES = "20GB, 500MB, 1.5TiB or a number of bytes"
AGE_EXAMPLES = "30d, 12h, 90m, 2w or a number of seconds"


def parse_size(text: str) -> int:
    """Bytes: ``20GB`` is 20 times 10 to the 9th, ``20GiB`` 20 times 2 to the 30th. Raises `ValueError`."""
    found = _SIZE.fullmatch(text.strip())
    if not found or (found[3] and not found[2]):
        raise ValueError(f"not a size: {text!r} (wanted {SIZE_EXAMPLES})")
    unit: int = (1024 if found[3] else 1000) ** _POWER[found[2].lower()]
    return round(float(found[1]) * unit)


def parse_age(text: str) -> float:
    """Seconds: ``90m`` is 5400. Raises `ValueError`."""
    found = _AGE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not a time: {text!r} (wanted {AGE_EXAMPLES})")
    return float(found[1]) * _SECONDS[found[2]]
