"""Pages of sorted lists (distribution-spec, "Listing Tags")."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from layercache.serve.messages import Headers, RegistryError

if TYPE_CHECKING:
    from layercache.serve.messages import Request

DIGITS_MAX = 9


def page(request: Request, entries: list[str]) -> tuple[list[str], Headers]:
    """The part of a sorted list that the query asks for by ``n`` and ``last``; a link to the next, if any.

    Without ``n`` that is all the rest. Raises `RegistryError` where ``n`` is not a number.
    """
    last = request.query.get("last", "")
    rest = entries[bisect_right(entries, last) :] if last else entries
    wanted = request.query.get("n")
    if wanted is None:
        return rest, []
    if not (wanted.isascii() and wanted.isdecimal() and len(wanted) <= DIGITS_MAX):
        raise RegistryError(
            400, "PAGINATION_NUMBER_INVALID", f"n is a number of entries, not {wanted[:20]!r}"
        )
    found = rest[: int(wanted)]
    if not found or len(found) == len(rest):
        return found, []
    query = urlencode({**request.query, "n": wanted, "last": found[-1]})
    return found, [("link", f'<{request.path}?{query}>; rel="next"')]
