"""The core: given a layer and a form, go the cheapest way of the plan that leads to the bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from layercache.backend import PerProcess, check_range
from layercache.errors import ClosedError
from layercache.resolver.near import Near
from layercache.resolver.plan import Way
from layercache.resolver.tier_writer import TierWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.events import Observers
    from layercache.oci.digest import Digest
    from layercache.oci.forms import Form
    from layercache.resolver.bringing import Bringing
    from layercache.resolver.derived import Derived
    from layercache.resolver.fetch import Fetcher
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.leases import Leases
    from layercache.resolver.responses import Responses
    from layercache.streams.limits import Limits
    from layercache.tiers.tier import Tier
    from layercache.transfer.share import Share


class Reopens(Protocol):
    """Opens the cache of a layer again, in the process that unpickles it."""

    def layer(
        self, digest: str | None, diff_id: str | None, size: int | None, media_type: str | None, image: str
    ) -> object: ...


LAST_WORDS = 3.0
"""Seconds in which an upload that is broken off can clean up. Then it is left to the store's own rules."""


class Resolver:
    """Opens layers out of tiers and origins, and keeps what it had to fetch or make. Thread-safe.

    What is near is opened here: most processes do nothing else, and import nothing for the rest.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        observers: Observers,
        limits: Limits,
        *,
        finish: Share | None,
        verify_always: bool = False,
        changed: Callable[[], object] = lambda: None,
        reopening: Reopens | None = None,
    ) -> None:
        self.keeper = TierWriter(tiers, observers, changed)
        self._near = Near(tiers, self.keeper, observers, verify_always=verify_always)
        self.finder = self._near.finder
        self._bringing = PerProcess(partial(self._begin, limits, finish))
        self.reopening = reopening
        self.closed = False
        """Set once, by `close`, and read without a lock: what began before it ends as it may."""

    def _begin(self, limits: Limits, finish: Share | None) -> Bringing:
        from layercache.resolver.bringing import Bringing

        return Bringing(self._near, limits, finish)

    def check_open(self) -> None:
        """Raise `ClosedError` if the cache was closed."""
        if self.closed:
            raise ClosedError(
                "the cache is closed", hint="use it, its layers and images inside the with block"
            )

    @property
    def passes(self) -> Fetcher:
        return self._bringing.get().passes

    @property
    def leases(self) -> Leases:
        return self._bringing.get().leases

    @property
    def derived(self) -> Derived:
        """What finds and keeps what was computed from layers."""
        return self._bringing.get().derived

    @property
    def near(self) -> Near:
        """What looks layers up and opens what is near, and knows all tiers."""
        return self._near

    def is_on_its_way(self, layer: LayerState, form: Form) -> bool:
        """Whether this process is just bringing the form."""
        bringing = self._bringing.made()
        names = layer.identity.names(form)
        return bringing is not None and any(bringing.passes.running.get(name, form) for name in names)

    def of_digest(self, digest: Digest, *, stated: bool) -> tuple[LayerIdentity, Responses | None]:
        """As `Finder.of_digest`. A blob that is on its way is not opened once more."""
        bringing = self._bringing.made()
        self.check_open()
        coming = bringing is not None and bringing.passes.running.last(digest) is not None
        return self.finder.of_digest(digest, stated=stated, coming=coming)

    def open(self, layer: LayerState, form: Form, start: int = 0, end: int | None = None) -> Reader:
        """The form's bytes from ``start`` to ``end`` (exclusive), by the cheapest way.

        `layercache.resolver.ranges` states what is promised of a part. Raises `ValueError` unless
        0 <= start <= end, `NotFoundError` where no way leads to them, `NotALayerError` for the tar of what is
        not a layer, `FormatError` where bytes and media type contradict each other, `BackendError`,
        `SourceError`. Reading raises `DigestMismatchError`, `FormatError` or `LimitError` before the end.
        """
        self.check_open()
        try:
            if start or end is not None:
                check_range(start, end)
                return self._bringing.get().open_part(layer, form, (start, end))
            begun = layer.identity
            # Most reads end here: what was computed needs no question before the near tiers are looked at.
            first = self._near.open(layer, form, self._deliver) if begun.computed else None
            if first is not None and not getattr(first, "may_find_wrong_entry", False):
                return first
            return self._bringing.get().open(layer, form, begun, first)
        finally:
            if layer.responses is not None:
                layer.give_up_responses()

    def _deliver(self, layer: LayerState, way: Way, reader: Reader, rest: Iterator[Way]) -> Reader:
        return self._bringing.get().deliver(layer, way, reader, rest)

    def ways(self, layer: LayerState, form: Form) -> Iterator[Way]:
        """The ways to a form, in the order in which they are tried. Nothing is opened."""
        self.check_open()
        return self._bringing.get().ways(layer, form)

    def fill(self, layer: LayerState, *forms: Form) -> None:
        """As `Bringing.fill`."""
        self.check_open()
        self._bringing.get().fill(layer, forms)

    def path(self, layer: LayerState, form: Form) -> str | None:
        """The file in which a trusted tier has the form."""
        self.check_open()
        for tier in self._near.all:
            for name in layer.identity.names(form) if tier.policy.trusted else ():
                way, path = Way(name, form, tier), tier.blobs.path(name)
                if path is None or not (reader := self._near.entries.open(layer, way)):
                    continue
                self._near.entries.hit(layer, way, reader).close()
                if not self._near.verify_always or self.keeper.look_again(tier, name, form) is None:
                    return path
        return None

    def doubt(self, layer: LayerState, form: Form) -> bool:
        """A reader found this form wrong: hash what trusted tiers have of it; whether any was quarantined."""
        names = layer.identity.names(form)
        entries = [(tier, name) for tier in self._near.all if tier.policy.trusted for name in names]
        there = [(tier, name) for tier, name in entries if (tier, name) not in self.keeper.wrong]
        found = [self.keeper.look_again(*each, form) for each in there if each[0].blobs.has(each[1])]
        return any(found)

    def finish(self) -> None:
        """Wait until transfers without readers have ended."""
        if bringing := self._bringing.made():
            bringing.passes.finisher.wait()

    def close(self, *, flush: bool) -> None:
        """End what is on its way, and wait for uploads. A strict cache raises what failed.

        ``flush``: see to its end what is worth it, unless interrupted; else transfers are given up.
        """
        bringing = self._bringing.made()
        try:
            if bringing and flush and not self.closed:
                bringing.passes.finisher.wait()  # indexes that are being made read layers as callers do
            self.closed = True
            if bringing:
                bringing.end(finish=flush)
            self.finder.close()
            self.keeper.background.flush(None if flush else LAST_WORDS)
        finally:
            self.closed = True
            if bringing:
                bringing.leases.close()
