"""Parts of a layer: read where the form is, or out of a pass over the whole.

A part cannot be checked by the hash of the whole. So what is promised depends on where it comes from:

- An entry of a trusted tier is checked as for a whole read: by its size, and by its hash where no size is
  known or the cache verifies always.
- A part out of a pass (a transfer that is on its way, a tar that is made) ends only after the whole was found
  right, and its last bytes are held back until then, as those of the whole are.
- A part of a blob straight out of another tier or the source is checked by nothing but its length. It is
  never stored. A cache that verifies always makes no such read.
- A blob that only a claim leads to is confirmed first, by a pass over all of it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from layercache.errors import NotFoundError
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.resolver.confirmation import ClaimedReader
from layercache.statistics.places import place_of
from layercache.streams.counted import CountedReader
from layercache.streams.readers import CHUNK, JudgingReader, read_full
from layercache.tiers.failover import FailoverReader, Replica
from layercache.transfer.follower import Follower, read_through

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.oci.forms import Form
    from layercache.resolver.entries import Entries
    from layercache.resolver.fetch import Fetcher
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way

HELD_BACK = CHUNK
"""The last bytes of a part that are not given before the pass over the whole has ended well."""

Part = tuple[int, int | None]
"""Offsets in bytes: the first, and the one behind the last (None: the end of the form)."""


class Ranges:
    """Opens parts. Thread-safe: it has no state that changes.

    ``plan`` gives the ways to a form, ``whole`` opens all of it.
    """

    def __init__(
        self,
        entries: Entries,
        fetcher: Fetcher,
        plan: Callable[[LayerState, Form], Iterator[Way]],
        whole: Callable[[LayerState, Form], Reader],
        *,
        verify_always: bool,
    ) -> None:
        self._entries = entries
        self._fetcher = fetcher
        self._plan = plan
        self._whole = whole
        self._verify_always = verify_always

    def open(self, layer: LayerState, form: Form, part: Part) -> Reader:
        """Raises as `Resolver.open` does."""
        reader = self._directly(layer, form, part)
        if reader is None and form == COMPRESSED and layer.identity.claimed_digests():
            with self._whole(layer, form) as whole:
                whole.run() if isinstance(whole, ClaimedReader) else read_through(whole)
            reader = self._directly(layer, form, part)
        return reader or PartOfPass(self._whole(layer, form), part)

    def _directly(self, layer: LayerState, form: Form, part: Part) -> Reader | None:
        """Out of what has just this form; None where it takes a pass over the whole."""
        ways = self._plan(layer, form)
        for way in (way for way in ways if way.inside is None):
            far = form == COMPRESSED and not self._verify_always
            if way.claimed or way.form != form or not (way.trusted or far):
                return None
            try:
                if way.trusted:
                    reader = self._entries.open_part(layer, way, part)
                else:
                    reader = self._join(layer, form, part) or self._straight(layer, way, ways, part)
            except NotFoundError:
                continue
            if reader is not None:
                return reader
        return None

    def _join(self, layer: LayerState, form: Form, part: Part) -> Reader | None:
        """Out of a transfer that is on its way. Nothing is begun, so the layer's lock is not needed."""
        for name in layer.identity.names(form):
            if follower := self._fetcher.join(layer, name, form):
                return PartOfPass(follower, part)
        return None

    def _straight(self, layer: LayerState, way: Way, rest: Iterator[Way], part: Part) -> Reader | None:
        """From afar, by a ranged read; None where it is known to be wrong, or has not the right length.

        Where the place fails in the middle, the ``rest`` of the plan goes on at the same byte.
        """
        tier, (start, end) = way.tier, part
        if not self._entries.is_wrong(way) and (reader := self._of_length(layer, way, part)):
            if tier is None:
                return CountedReader(reader, partial(self._count, reader, way))
            self._entries.hit(layer, way, reader)
            return FailoverReader(tier, reader, self._replicas(way, rest, start, end))
        return None

    def _count(self, reader: Reader, way: Way, size: int) -> None:
        self._fetcher.observers.received(place_of(reader) or way.place, size)

    def _of_length(self, layer: LayerState, way: Way, part: Part) -> Reader | None:
        start, end = part
        size = layer.identity.meaning(Digest(way.name)).size
        if size is not None:
            start, end = min(start, size), size if end is None else min(end, size)
        reader = way.open(start, end)
        if size is None or reader.size in (None, cast("int", end) - start):
            return reader
        reader.close()  # only a pass over the whole shows which of the two is right
        return None

    def _replicas(self, way: Way, rest: Iterator[Way], start: int, end: int | None) -> Iterator[Replica]:
        for other in rest:
            if other.name == way.name and not self._entries.is_wrong(other):
                yield Replica(other.place, other.tier, partial(_open_behind, other, start, end))


def _open_behind(way: Way, start: int, end: int | None, offset: int) -> Reader:
    return way.open(start + offset, end)


class PartOfPass(JudgingReader):
    """A part of what a pass over the whole brings, as that grows.

    The last `HELD_BACK` bytes of the part (all of a smaller one) are given only after the pass has ended, and
    so has found all bytes right. Then it is kept, too.
    """

    may_find_wrong_entry: ClassVar[bool] = True
    """See `layercache.resolver.healing`."""

    def __init__(self, whole: Reader, part: Part) -> None:
        start, end = part
        size = whole.size
        if size is not None:
            end = size if end is None else min(end, size)
            start = min(start, end)
        super().__init__(whole, None if size is None or end is None else end - start)
        self._start = start
        self._end = end
        self._at = 0
        self._last: memoryview | None = None

    def _read(self, size: int) -> bytes:
        if not size:
            return b""
        if self._at < self._start:
            self._skip()
        if self._last is None:
            if self._end is None:
                return self._raw.read(size)
            if (left := self._end - HELD_BACK - self._at) > 0:
                data = self._raw.read(min(size, left))
                self._at += len(data)
                return data
            last = read_full(self._raw, self._end - self._at)
            self._see_through()
            self._last = memoryview(last)
        data, self._last = bytes(self._last[:size]), self._last[size:]
        return data

    def _skip(self) -> None:
        """Go to where the part begins. A follower leaves out what comes before; others read it."""
        if self._raw.seekable():
            self._at = cast("io.IOBase", self._raw).seek(self._start)
        while self._at < self._start and (skipped := self._raw.read(min(CHUNK, self._start - self._at))):
            self._at += len(skipped)
        self._at = self._start

    def _see_through(self) -> None:
        read_through(self._raw)
        if isinstance(self._raw, Follower) and self._raw.size:
            # At the last byte it is looked whether what was published is still what was found right.
            self._raw.seek(self._raw.size - 1)
            self._raw.read(1)
