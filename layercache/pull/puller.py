"""Pulls the layers of images into a cache, several in parallel, the biggest first."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError, NotALayerError
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.statistics.places import Place
from layercache.transfer.cancellation import Cancellation, current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from layercache.events import Event
    from layercache.images.image import Image
    from layercache.layer import Forms, Layer
    from layercache.oci.digest import Digest, Hash
    from layercache.pull.filled import FilledCache

LAST_WORDS = 3.0
"""Seconds that running transfers get to clean up after an interrupt."""

Outcomes = dict[str, "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for a layer: a ``hit`` in a tier, ``fetched`` from a source; or ``failed``, with an error.

    ``place`` is None for a failure, and for a layer that another one's transfer brought along.
    """

    result: str
    place: Place | None
    inflated: bool = False
    uncompressed_size: int | None = None
    error: Exception | None = None


def default_form(cache: FilledCache) -> Forms:
    """Return the form to pull by default: the cheapest one that a tier stores."""
    kept = [form for form in (COMPRESSED, UNCOMPRESSED) if any(t.policy.stores(form) for t in cache.tiers)]
    return kept[0] if kept else COMPRESSED


def distinct(images: Iterable[Image]) -> list[Layer]:
    """Return every layer once, the biggest first, so that no big one runs alone at the end.

    A blob that is a layer of one image and an attachment of another counts as a layer.
    """
    layers: dict[Digest, Layer] = {}
    for layer in (layer for image in images for layer in image.layers):
        if layer.digest not in layers or layer.names.diff_id is not None:
            layers[layer.digest] = layer
    return sorted(layers.values(), key=lambda layer: layer.size or 0, reverse=True)


class Puller:
    """Fills a cache with layers, and records from its events where each came from."""

    def __init__(self, cache: FilledCache, form: Forms, jobs: int) -> None:
        self._cache = cache
        self._form = form
        self._jobs = jobs
        self._hits: dict[Hash, Place] = {}
        self._fetched: dict[Hash, Place] = {}
        self._inflated: set[Hash] = set()

    def run(self, layers: list[Layer], finished: Callable[[Layer], object]) -> Outcomes:
        """Pull the layers and return the outcomes by digest. Calls ``finished`` with each layer that
        succeeded or failed, in the thread that pulled it.

        An interrupt gives running transfers up.
        """
        cancellation = current() or Cancellation()
        outcomes: Outcomes = {}
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="pull")
        names = {name for layer in layers for name in layer.names if name is not None}
        with (
            self._cache.watch(self._note),
            ExitStack() as sparing,
            self._cache.expecting(len(layers)) as done,
        ):
            for tier in self._cache.tiers:  # no layer of an image is evicted to make room for another
                sparing.enter_context(tier.blobs.sparing(names))

            def work(layer: Layer) -> None:
                with cancellation.applies():
                    outcomes[str(layer.digest)] = self._bring(layer)
                done()
                finished(layer)

            running: list[Future[None]] = []
            try:
                # In the context of the caller: a trace of it has what its threads do.
                running.extend(pool.submit(copy_context().run, work, layer) for layer in layers)
                for future in wait(running, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                cancellation.cancel()
                wait(running, timeout=LAST_WORDS)
                raise
        pool.shutdown()
        return outcomes

    def _bring(self, layer: Layer) -> Outcome:
        try:
            try:
                layer.fill(self._form)
            except NotALayerError:
                layer.fill(COMPRESSED)
        except (LayercacheError, OSError) as error:
            return Outcome("failed", None, error=error)
        names = set(layer.names) - {None}
        inflated = not self._inflated.isdisjoint(names)
        for result, places in (("fetched", self._fetched), ("hit", self._hits)):
            for name in names:
                if name in places:
                    return Outcome(result, places[name], inflated, layer.uncompressed_size)
        return Outcome("hit", None, inflated, layer.uncompressed_size)

    def _note(self, event: Event) -> None:
        if event.name is None:
            return
        match event.kind:
            case "hit":
                self._hits.setdefault(event.name, Place.of_tier(event.where))
            case "fetched" if event.place is not None:
                places = self._hits if event.place.kind == "tier" else self._fetched
                places[event.name] = event.place
            case "inflated":
                self._inflated.add(event.name)
            case _:
                pass
