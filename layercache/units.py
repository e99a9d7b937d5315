"""Parsers of sizes and ages in URLs, in the configuration and on the command line; examples for messages."""

from __future__ import annotations

import re

# Not compiled at import: that takes longer than most uses of this module.
_SIZE = r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?"
_AGE = r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw]?)"
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

SIZE_MAX = (1 << 63) - 1
AGE_MAX = 1e12
"""Seconds. A time so long ago can be written as a date on every platform."""

SIZE_EXAMPLES = "20GB, 500MB, 1.5TiB or a number of bytes"
AGE_EXAMPLES = "30d, 12h, 90m, 45s or 2w"
COMPRESSION_EXAMPLES = "zstd, gzip, or one with a level: zstd:9 (1 to 22), gzip:9 (1 to 9)"


def parse_size(text: str) -> int:
    """Return bytes: ``20GB`` is 20 * 10**9, ``20GiB`` is 20 * 2**30. Raises `ValueError`."""
    found = re.fullmatch(_SIZE, text.strip())
    if not found or (found[3] and not found[2]):
        raise ValueError(f"not a size: {text!r} (expected {SIZE_EXAMPLES})")
    unit: int = (1024 if found[3] else 1000) ** _POWER[found[2].lower()]
    size = float(found[1]) * unit
    if size > SIZE_MAX:
        raise ValueError(f"too big a size (expected {SIZE_EXAMPLES})")
    return round(size)


def parse_age(text: str) -> float:
    """Return seconds: ``90m`` is 5400. Raises `ValueError`, also for a number without a unit, except 0."""
    found = re.fullmatch(_AGE, text.strip())
    if not found:
        raise ValueError(f"not a time: {text!r} (expected {AGE_EXAMPLES})")
    if not found[2] and float(found[1]):
        number = found[1]
        raise ValueError(
            f"the unit of {number} is missing: {number}d is days, {number}h hours, {number}s seconds"
        )
    age = float(found[1]) * _SECONDS[found[2]]
    if age > AGE_MAX:
        raise ValueError(f"too long a time (expected {AGE_EXAMPLES})")
    return age


def size_text(size: int) -> str:
    """Format bytes without loss: ``64GiB``, ``20GB``, ``1500``, in the shortest of these ways."""
    for base, suffix in ((1024, "iB"), (1000, "B")):
        for power, letter in enumerate("TGMk"):
            unit = base ** (4 - power)
            if size >= unit and size % unit == 0:
                return f"{size // unit}{letter}{suffix}"
    return str(size)


def age_text(seconds: float) -> str:
    """Format seconds without loss, in the largest unit that divides them: ``10 s``, ``90 min``, ``30 d``."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:g} s"
