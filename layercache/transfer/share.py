"""How much of a transfer must have come for it to go on after its readers left."""

from __future__ import annotations

from typing import Self

from layercache.units import parse_size
from layercache.value import Value

SHARE_EXAMPLES = 'always, never, or a share, a size or both ("25%", "64MiB", "25%,64MiB": whichever is less)'

_ANY_SIZE = 1 << 62


class Share(Value, frozen=True):
    """How much of a transfer must have been received for it to go on without readers.

    More than ``part`` (0 to 1) of its size, or more than ``size`` bytes, whichever is less.
    """

    part: float = 0.25
    size: int = 64 << 20

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``always``, ``never``, ``25%``, ``64MiB`` or ``25%,64MiB``. Raises `ValueError`."""
        if text == "always":
            return cls(0.0, 0)
        if text == "never":
            return cls(1.0, _ANY_SIZE)
        shares: list[float] = []
        sizes: list[int] = []
        for each in (part.strip() for part in text.split(",")):
            if each.endswith("%"):
                shares.append(float(each.removesuffix("%")) / 100)
            else:
                sizes.append(parse_size(each))
        if max(len(shares), len(sizes)) > 1 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"not a share: {text!r}")
        return cls(shares[0] if shares else 1.0, sizes[0] if sizes else _ANY_SIZE)

    def is_exceeded(self, received: int, size: int | None) -> bool:
        """Whether so many bytes are enough, of ``size`` in all, if that is known."""
        return received > (self.size if size is None else min(self.size, self.part * size))


NEVER = Share.parse("never")
