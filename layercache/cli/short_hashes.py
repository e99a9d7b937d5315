"""Hashes as people type them: whole, without the algorithm, or the first digits that a table shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError, NotFoundError
from layercache.oci.digest import HEX_LENGTH, Hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.cache import Cache
    from layercache.tiers.tier import Tier

SHORTEST = 6
"""Hex digits from which a hash may be told by its beginning."""

_TYPED = re.compile(rf"(?:(sha256|sha512):)?([0-9a-f]{{{SHORTEST},}})")


def full_name(cache: Cache, text: str) -> Hash:
    """The hash that is meant. Only the nearest tier is searched for one that is cut short.

    Raises `InvalidNameError` for what is no hash or the beginning of several, `NotFoundError`.
    """
    typed = _TYPED.fullmatch(text)
    if typed is None:
        return Hash(text)
    algorithm, digits = typed[1] or "sha256", typed[2]
    beginning = f"{algorithm}:{digits}"
    if len(digits) >= HEX_LENGTH[algorithm]:
        return Hash(beginning)
    nearest = cache.tiers[0]
    found: set[Hash] = set()
    for name in _names(nearest):
        if name.startswith(beginning):
            found.add(name)
        if len(found) > 1:
            raise InvalidNameError(
                f"{text} is the beginning of several hashes", hint=f"among them {' and '.join(sorted(found))}"
            )
    if not found:
        raise NotFoundError(
            f"{text} is not cached",
            looked_in=[nearest.name],
            hint="a hash that is cut short is looked for in the nearest tier only: give the whole",
        )
    return found.pop()


def _names(tier: Tier) -> Iterator[Hash]:
    for name, _ in tier.blobs():
        yield name
    for fact in tier.associations():
        yield fact.digest
        yield fact.diff_id
