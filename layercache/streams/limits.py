"""When inflating is stopped."""

from __future__ import annotations

from layercache.errors import LimitError
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

    def check(self, inflated: int, compressed: int, what: object) -> None:
        """Raise `LimitError` if so many bytes came out of so many. ``what``: how messages begin."""
        if inflated > self.size:
            raise LimitError(
                f"{what} inflates to more than {self.size} bytes",
                hint="if it is to be trusted, raise max_inflated_size",
            )
        if inflated > self.ratio_from and inflated > self.ratio * compressed:
            raise LimitError(
                f"{what} inflates to more than {self.ratio} times its size",
                hint="if it is to be trusted, raise max_ratio",
            )
