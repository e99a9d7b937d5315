"""What operations ask of a far tier: requests, listings and round trips, beside the most that they may."""

from __future__ import annotations

import contextlib
import io
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from servers.images import make_image, make_layer, noise, write_layout

import layercache
from layercache import NotFoundError
from layercache.demo.registry import LayoutRegistry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from servers.counting import Cost, CountingProxy
    from servers.images import Layer

    from layercache.cache import Cache
    from layercache.layer import Forms

_ABSENT = "sha256:" + 64 * "0"
_REPOSITORY = "team/app"


class Budget(NamedTuple):
    """The most requests that an operation may take, none of which is a listing, and the most of them in turn.

    ``trips`` is None where nobody waits for each. ``at_registry``: the most requests there, if others.
    """

    requests: int
    trips: int | None = None
    at_registry: int | None = None

    def requests_at(self, far: str) -> int:
        """Of a tier with this URL."""
        registry = far.startswith("oci://") and self.at_registry
        return registry or self.requests

    def is_kept(self, far: str, cost: Cost) -> bool:
        fits = len(cost.requests) <= self.requests_at(far) and not cost.listings
        return fits and (self.trips is None or cost.round_trips <= self.trips)


@dataclass(frozen=True)
class Content:
    """What is in the far tier: a small and a big layer in the compressed form, and an image."""

    small: Layer
    big: Layer
    image: str

    @classmethod
    def fill(cls, far: str, folder: Path, count: int) -> Content:
        """Put it there, as another machine did. ``far``: the tier's URL; ``count``: of the image's layers."""
        layers = [make_layer({f"etc/{number}": noise(3000, number)}) for number in range(count)]
        layout = write_layout(folder / "layout", {"latest": make_image(layers)})
        small, big = (make_layer({"noise": noise(size, size)}) for size in (3000, 5_000_000))
        with (
            LayoutRegistry(str(layout), _REPOSITORY) as registry,
            layercache.open([str(folder / "filling"), far]) as cache,
        ):
            name = f"{registry.host}/{_REPOSITORY}:latest"
            for layer in cache.image(name).layers:
                layer.fill("both")
            for each in (small, big):
                cache.put(io.BytesIO(each.blob))
        return cls(small, big, name)


@dataclass(frozen=True)
class Operation:
    """``alone``: of a cache that has no tier but the far one. ``again``: counted is the second one of a
    process, since the first finds out what the store can do.
    """

    name: str
    budget: Budget
    act: Callable[[Cache, Content], object]
    alone: bool = False
    again: bool = False

    def cost(self, far: str, proxy: CountingProxy, folder: Path, content: Content) -> Cost:
        """What it asks on a machine that has used nothing yet, behind what opens the connection.

        ``far``: the URL of the tier, through the proxy.
        """
        near = [] if self.alone else [str(folder / f"near-{uuid.uuid4().hex}")]
        with layercache.open([*near, far], offline=True) as cache:
            assert _ABSENT not in cache
            with contextlib.suppress(NotFoundError):
                cache.get(_ABSENT)
            if self.again:
                self.act(cache, content)
                cache.flush()
            with proxy.counted() as cost:
                self.act(cache, content)
                cache.flush()
        return cost


def _read(stream: BinaryIO, right: bytes) -> None:
    with stream:
        assert stream.read() == right


def _miss(cache: Cache, _: Content) -> None:
    with contextlib.suppress(NotFoundError):
        cache.get("sha256:" + 64 * "1")


def _stated(cache: Cache, layer: Layer) -> layercache.Layer:
    return cache.layer(layer.digest, diff_id=layer.diff_id)


def _is_cached(cache: Cache, name: str) -> None:
    assert name in cache


def _pull(cache: Cache, content: Content, form: Forms) -> None:
    for layer in cache.image(content.image).layers:
        layer.fill(form)


def _put_new(cache: Cache, _: Content) -> None:
    cache.put(io.BytesIO(make_layer({"new": noise(3000, uuid.uuid4().int)}).blob))


def operations(layers: int) -> list[Operation]:
    """What is measured; the image that is pulled has so many ``layers``."""
    return [
        Operation(
            "get(digest).compressed()",
            Budget(2, 1),
            lambda cache, there: _read(cache.get(there.small.digest).compressed(), there.small.blob),
        ),
        Operation(
            "get(digest).compressed(), 5 MB",
            Budget(2, 1),
            lambda cache, there: _read(cache.get(there.big.digest).compressed(), there.big.blob),
        ),
        Operation(
            "get(diff ID).uncompressed(), from its gzip",
            Budget(3, 2),
            lambda cache, there: _read(cache.get(there.small.diff_id).uncompressed(), there.small.tar),
        ),
        Operation(
            "layer(digest, diff_id=…).compressed()",
            Budget(2, 1),
            lambda cache, there: _read(_stated(cache, there.small).compressed(), there.small.blob),
        ),
        Operation(
            "layer(digest, diff_id=…).uncompressed()",
            Budget(2, 1),
            lambda cache, there: _read(_stated(cache, there.small).uncompressed(), there.small.tar),
        ),
        Operation(
            "layer(digest).compressed()",
            Budget(2, 1),
            lambda cache, there: _read(cache.layer(there.small.digest).compressed(), there.small.blob),
        ),
        Operation(
            "digest in cache", Budget(2, 1), lambda cache, there: _is_cached(cache, there.small.digest)
        ),
        Operation(
            "diff ID in cache", Budget(3, 2), lambda cache, there: _is_cached(cache, there.small.diff_id)
        ),
        Operation("a miss", Budget(2, 1), _miss),
        Operation(
            "fill of what is there",
            Budget(1, 1),
            lambda cache, there: _stated(cache, there.small).fill("compressed"),
            alone=True,
        ),
        Operation("put of a new small layer", Budget(4, at_registry=6), _put_new, again=True),
        Operation(
            f"pull of {layers} layers, compressed",
            Budget(layers + 3),
            lambda cache, there: _pull(cache, there, "compressed"),
        ),
        Operation(
            f"pull of {layers} layers, both forms",
            Budget(2 * layers + 3),
            lambda cache, there: _pull(cache, there, "both"),
        ),
    ]
