"""Hashes as users type them: complete, without the algorithm, or the first digits that a table shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError, NotFoundError
from layercache.oci.digest import HEX_LENGTH, Hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.cache import Cache
    from layercache.tiers.tier import Tier

SHORTEST = 6
"""Fewest hex digits that a prefix may have."""

_DIGITS = frozenset("0123456789abcdef")
_TOO_SHORT = rf"(?:(?:sha256|sha512):)?[0-9a-f]{{0,{SHORTEST - 1}}}"


def looks_like_hash(text: str) -> bool:
    """Whether the text is a hash, complete or shortened, and not the name of an image."""
    return _typed(text) is not None or text.startswith(("sha256:", "sha512:"))


def full_name(cache: Cache, text: str) -> Hash:
    """Return the hash that the text stands for. Prefixes are looked up in the nearest tier only.

    Raises `InvalidNameError` if the text is not a hash or is a prefix of several, `NotFoundError`.
    """
    typed = _typed(text)
    if typed is None:
        raise _not_a_hash(text)
    algorithm, digits = typed
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
                f"{text} is ambiguous: several hashes begin with it",
                hint=f"among them {' and '.join(sorted(found))}",
            )
    if not found:
        raise NotFoundError(
            f"{text} is not cached",
            looked_in=[nearest.name],
            hint="prefixes are looked up in the nearest tier only: give the whole hash"
            if len(cache.tiers) > 1
            else "layercache ls lists the layers that are",
        )
    return found.pop()


def _typed(text: str) -> tuple[str, str] | None:
    """The algorithm and the hex digits, or the first of them, of a text; None if it is something else."""
    algorithm, colon, digits = text.rpartition(":")
    if not colon:
        algorithm = "sha256"
    if algorithm in HEX_LENGTH and len(digits) >= SHORTEST and _DIGITS.issuperset(digits):
        return algorithm, digits
    return None


def _not_a_hash(text: str) -> InvalidNameError:
    """The error for a text of another form, with the rule that it breaks."""
    import re

    if _typed(text.lower()):
        hint = f"hex digits are lower case: {text.lower()}"
    elif re.fullmatch(_TOO_SHORT, text.lower()):
        hint = f"type {SHORTEST} or more of the first digits"
    else:
        hint = (
            f"expected sha256:<64 hex digits>, or {SHORTEST} or more of the first digits, as ls prints"
            " them; the name of an image is not a hash"
        )
    return InvalidNameError(f"not a digest or diff ID: {text!r}", hint=hint)


def _names(tier: Tier) -> Iterator[Hash]:
    for name, _ in tier.blobs.scan():
        yield name
    for fact in tier.facts.scan():
        yield fact.digest
        yield fact.diff_id
