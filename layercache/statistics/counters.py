"""Counters of one cache: what it was asked for, and which places answered."""

from __future__ import annotations

import threading
from typing import Any, Literal, TypeVar

from layercache.value import Value, replace

PlaceKind = Literal["tier", "mirror", "registry", "layout", "archive", "function"]

Saved = tuple[int, int]
"""What a hit saved, as far as sizes are known: bytes of the compressed blob that no source had to send, and
bytes of the tar that were not inflated. A part of a form saves its share. A plain tuple: each hit makes one.
"""


class PlaceCounters(Value, frozen=True):
    """What one place supplied: ``blobs`` of either form, and their ``bytes``.

    For a tier, these are hits; ``saved_bytes`` and ``saved_tar_bytes`` sum up what they saved (see `Saved`).
    For any other place they are misses of all tiers.
    """

    kind: PlaceKind
    name: str
    blobs: int = 0
    bytes: int = 0
    saved_bytes: int = 0
    saved_tar_bytes: int = 0


class Counters(Value, frozen=True):
    """Totals of what a `Cache` has done since it was opened, at one moment. Bytes are those of the form.

    ``hits``: forms that a tier had, near or far. ``fetched``: blobs that came from a source, as no tier had
    them. ``places``: both, by place. ``inflating_seconds``: processor time. ``refreshed``: blobs of
    buckets that got a new time. ``failed``: entries and tiers that were skipped.
    ``after - before`` is what happened in between.
    """

    hits: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    inflated: int = 0
    inflated_bytes: int = 0
    inflating_seconds: float = 0.0
    stored: int = 0
    stored_bytes: int = 0
    skipped: int = 0
    refreshed: int = 0
    failed: int = 0
    places: tuple[PlaceCounters, ...] = ()

    def __sub__(self, before: Counters) -> Counters:
        earlier = {(each.kind, each.name): each for each in before.places}
        places = [_minus(each, earlier.get((each.kind, each.name))) for each in self.places]
        changed = tuple(each for each in places if each.blobs or each.bytes)
        return replace(_minus(self, before), places=changed)


_CountsT = TypeVar("_CountsT", PlaceCounters, Counters)


def _minus(after: _CountsT, before: _CountsT | None) -> _CountsT:
    """The difference of every number."""
    names = [name for name in after.__struct_fields__ if isinstance(getattr(after, name), int | float)]
    changes = {name: getattr(after, name) - getattr(before, name) for name in names} if before else {}
    return replace(after, **changes)


class Tallies:
    """Counts what happens in a cache. Thread-safe."""

    # One lock guards both dictionaries, so that a snapshot never has a part of an event. It is reentrant: the
    # collector may run in a block that holds it, and find a stream that nobody closed.

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._totals: dict[str, float] = {}
        self._places: dict[tuple[PlaceKind, str], list[int]] = {}

    def add(self, **counts: float) -> None:
        """Add to totals, which have the names of the fields of `Counters`."""
        with self._lock:
            for name, count in counts.items():
                self._totals[name] = self._totals.get(name, 0) + count

    def supplied(self, kind: PlaceKind, name: str, size: int, saved: Saved) -> None:
        """A place gave one form of a layer, or a part of it, of ``size`` bytes."""
        with self._lock:
            row = self._places.get((kind, name)) or self._places.setdefault((kind, name), [0, 0, 0, 0])
            row[0] += 1
            row[1] += size
            row[2] += saved[0]
            row[3] += saved[1]

    def received(self, kind: PlaceKind, name: str, size: int) -> None:
        """A place gave ``size`` bytes of a form that is counted once all of it has come."""
        with self._lock:
            self._places.setdefault((kind, name), [0, 0, 0, 0])[1] += size

    def snapshot(self) -> Counters:
        with self._lock:
            totals: dict[str, Any] = dict(self._totals)
            places = [PlaceCounters(*place, *row) for place, row in self._places.items()]
        sources = [each for each in places if each.kind != "tier"]
        return Counters(
            hits=sum(each.blobs for each in places if each.kind == "tier"),
            fetched=sum(each.blobs for each in sources),
            fetched_bytes=sum(each.bytes for each in sources),
            places=tuple(places),
            **totals,
        )
