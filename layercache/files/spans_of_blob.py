"""Spans of a blob, from wherever it is, each of them found right by its hash."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from layercache.errors import BackendError, LayercacheError, NotFoundError, SourceError
from layercache.oci.forms import COMPRESSED
from layercache.statistics.places import place_of
from layercache.streams.readers import read_full

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.index.spans import Span
    from layercache.oci.digest import Digest
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way
    from layercache.resolver.resolver import Resolver


class WrongSpanError(LayercacheError):
    """No place has bytes with the hash that the index has."""


class NoPlaceError(LayercacheError):
    """No place could be read."""


class SpansOfBlob:
    """Reads spans of one blob, by ranges, from the cheapest place.

    A place that does not have the blob, or fails, is not asked again. One that has wrong bytes is reported
    once another one has shown that the index is right. Not thread-safe: one read at a time.
    """

    def __init__(self, resolver: Resolver, state: LayerState, digest: Digest) -> None:
        self._resolver = resolver
        self._state = state
        ways = resolver.ways(state, COMPRESSED)
        entries = resolver.near.entries
        self._ways = [
            way for way in ways if way.name == digest and way.inside is None and not entries.is_wrong(way)
        ]

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Return the bytes of adjacent spans, by one request. Raises `WrongSpanError`, `NoPlaceError`."""
        wrong: list[Way] = []
        for way in self._ways.copy():
            data = self._part(way, spans[0].start, spans[-1].end)
            if data is None:
                self._ways.remove(way)
                continue
            found = [data[span.start - spans[0].start : span.end - spans[0].start] for span in spans]
            if all(sha256(part).digest() == span.hash for span, part in zip(spans, found, strict=True)):
                self._pass_over(wrong)
                return found
            wrong.append(way)
        # The blob on this machine is hashed: if it has rotted, the index is not to blame.
        if wrong and not self._resolver.doubt(self._state, COMPRESSED):
            raise WrongSpanError(
                f"bytes {spans[0].start} to {spans[-1].end} do not have the hashes of the index"
            )
        raise NoPlaceError("no place has the blob")

    def _part(self, way: Way, start: int, end: int) -> bytes | None:
        """A part of the blob, which may be short; None where this place cannot be read."""
        near = self._resolver.near
        try:
            with way.open(start, end) as reader:
                data = read_full(reader, end - start)
                if way.tier is None:
                    near.observers.received(place_of(reader, way.place), len(data))
                    return data
        except NotFoundError:
            return None
        except (BackendError, SourceError) as error:
            if way.tier is not None and isinstance(error, BackendError):
                way.tier.mark_failed(error)
            return None
        saved = self._state.identity.saved(way.name, COMPRESSED, len(data))
        near.observers.hit(way.name, COMPRESSED, way.tier.name, len(data), saved)
        return data

    def _pass_over(self, wrong: Sequence[Way]) -> None:
        """Put wrong entries out of the way: others have shown what the right bytes are."""
        for way in wrong:
            self._ways.remove(way)
            if way.tier is None:
                continue
            keeper = self._resolver.keeper
            if way.tier.policy.trusted:
                keeper.look_again(way.tier, way.name, COMPRESSED)
            else:
                keeper.pass_over(way.tier, way.name, COMPRESSED, "a part of it is wrong")
