"""Parts of a blob, from wherever it is, each of them found right before it is used."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import (
    BackendError,
    DigestMismatchError,
    IntegrityError,
    LayercacheError,
    NotFoundError,
    SourceError,
)
from layercache.oci.forms import COMPRESSED
from layercache.statistics.places import place_of
from layercache.streams.readers import read_full

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.index.chunks import Read
    from layercache.index.spans import Span
    from layercache.oci.digest import Digest
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way
    from layercache.resolver.resolver import Resolver

_T = TypeVar("_T")


class WrongSpanError(LayercacheError):
    """No place has the bytes that the index states."""


class NoPlaceError(LayercacheError):
    """No place could be read."""


class SpansOfBlob:
    """Reads parts of one blob, by ranges, from the cheapest place.

    A place that does not have the blob, or fails, is not asked again. One that has wrong bytes is reported
    once another one has shown what the right ones are. Not thread-safe: one read at a time.
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
        return self.use(partial(_checked, spans))

    def use(self, work: Callable[[Read], _T]) -> _T:
        """Return what ``work`` makes of parts of the blob, in the first place where it finds them right.

        It is given a function that reads a range, and raises `IntegrityError` for wrong bytes. Raises
        `WrongSpanError` where all places have such, `NoPlaceError`.
        """
        wrong: list[Way] = []
        why: IntegrityError | None = None
        for way in self._ways.copy():
            try:
                found = work(partial(self._part, way))
            except _UnreadableError:
                self._ways.remove(way)
            except IntegrityError as error:
                wrong.append(way)
                why = error
            else:
                self._pass_over(wrong)
                return found
        # The blob on this machine is hashed: if it has rotted, the index is not to blame.
        if why is not None and not self._resolver.doubt(self._state, COMPRESSED):
            raise WrongSpanError(why.message) from why
        raise NoPlaceError("no place has the blob")

    def _part(self, way: Way, start: int, end: int) -> bytes:
        """A part of the blob, which may be short. Raises `_UnreadableError`."""
        near = self._resolver.near
        try:
            with way.open(start, end) as reader:
                data = read_full(reader, end - start)
                if way.tier is None:
                    near.observers.received(place_of(reader) or way.place, len(data))
                    return data
        except NotFoundError as error:
            raise _UnreadableError from error
        except (BackendError, SourceError) as error:
            if way.tier is not None and isinstance(error, BackendError):
                way.tier.mark_failed(error)
            raise _UnreadableError from error
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


class _UnreadableError(Exception):
    """A place that cannot be read."""


def _checked(spans: Sequence[Span], read: Read) -> list[bytes]:
    first = spans[0].start
    data = read(first, spans[-1].end)
    found = [data[span.start - first : span.end - first] for span in spans]
    if any(sha256(part).digest() != span.hash for span, part in zip(spans, found, strict=True)):
        raise DigestMismatchError(f"bytes {first} to {spans[-1].end} do not have the hashes of the index")
    return found
