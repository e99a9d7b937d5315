"""Where bytes come from, as counters and statistics name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from layercache.statistics.counters import PlaceKind


class Place(NamedTuple):
    """A tier, or what has a layer if no tier does.

    ``name``: a tier's URL, a mirror as it is configured, a registry's host, a path, a function's name.
    ``where`` is more exact, for messages: a mirror and a registry with the repository.
    """

    kind: PlaceKind
    name: str
    where: str

    @classmethod
    def of_tier(cls, name: str) -> Place:
        return cls("tier", name, name)


def place_of(reader: object) -> Place | None:
    """Where a reader's last bytes came from, if it has a ``place``: one that reads from several has."""
    place: Place | None = getattr(reader, "place", None)
    return place
