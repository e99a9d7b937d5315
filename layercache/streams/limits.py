"""When inflating is stopped."""

from __future__ import annotations

from layercache.value import Value

MAX_INFLATED_SIZE = 64 << 30
MAX_RATIO = 250


class Limits(Value, frozen=True):
    """When inflating is stopped as a decompression bomb.

    ``size``: bytes of one layer's tar. ``ratio``: inflated to compressed, looked at once a tar has
    grown beyond ``ratio_from`` bytes, so that a small layer of zeros does not count as a bomb.
    """

    size: int = MAX_INFLATED_SIZE
    ratio: int = MAX_RATIO
    ratio_from: int = 1 << 30
