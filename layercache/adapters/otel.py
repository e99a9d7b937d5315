"""Traces of OpenTelemetry: a span for each pass over a form of a layer. The extra ``otel`` has its API."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layercache._version import __version__
from layercache.backend.installation import install_hint

try:
    from opentelemetry import trace
except ImportError as error:
    raise ImportError(f"traces need the API of OpenTelemetry: {install_hint('otel')}") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span, Tracer

    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form

KEPT = ("hit", "stored", "failed", "waiting", "mislabelled", "unconfirmed")
"""Kinds of events that are added to the span in which they happen."""


@contextmanager
def traced(cache: Cache, tracer: Tracer | None = None) -> Iterator[None]:
    """Make spans of what the cache does inside the block; children of the span that asked for it.

    ``layercache.compressed`` is a blob that is fetched or put, ``layercache.uncompressed`` a tar that is
    inflated; each has ``layercache.name``, ``layercache.hash`` and ``layercache.size`` (bytes), and where it
    came from. Hits and what was stored are events of the span in which they happen.
    """
    spans = _Spans(tracer or trace.get_tracer("layercache", __version__))
    with cache.watch(spans.note), cache.observe(spans.begin):
        yield


class _Spans:
    """Makes spans. That a fetch begins is reported just before its pass does, in the same thread."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._last = threading.local()

    def note(self, event: Event) -> None:
        if event.kind == "fetching":
            self._last.event = event
        elif event.kind in KEPT:
            attributes = {"layercache.name": str(event.name), "layercache.where": event.where}
            note = {"layercache.note": event.note} if event.note else {}
            trace.get_current_span().add_event(f"layercache.{event.kind}", attributes | note)

    def begin(self, name: Hash | None, form: Form, size: int | None) -> _Pass:
        span = self._tracer.start_span(f"layercache.{form}")
        span.set_attribute("layercache.name", str(name))
        if size is not None:
            span.set_attribute("layercache.expected_size", size)
        event: Event | None = getattr(self._last, "event", None)
        self._last.event = None
        if event is not None and (event.name, event.form) == (name, form):
            span.set_attribute("layercache.where", event.where)
            if event.place is not None:
                span.set_attribute("layercache.place", event.place.kind)
        return _Pass(span)


class _Pass:
    """A `PassObserver` that ends a span."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._size = 0

    def data(self, chunk: bytes, /) -> None:
        self._size += len(chunk)

    def end(self, found: Hash, /) -> None:
        self._span.set_attribute("layercache.hash", str(found))
        self._end()

    def failed(self, error: BaseException, /) -> None:
        self._span.record_exception(error)
        self._span.set_status(trace.StatusCode.ERROR, str(error).partition("\n")[0])
        self._end()

    def _end(self) -> None:
        self._span.set_attribute("layercache.size", self._size)
        self._span.end()
