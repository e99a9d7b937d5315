"""What the tiers hold: sizes, limits, images, layers and what these share. Counted in the background."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from layercache.errors import LayercacheError
from layercache.tiers import keys
from layercache.tiers.cached_images import cached_manifests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.tier import Tier

SECONDS_BETWEEN = 15.0
REMOTE_SECONDS_BETWEEN = 600.0
"""For a remote tier, however often it is asked for: each count costs a listing, which is paid for."""

TIMES_AS_LONG = 20
"""Counting rests for this multiple of the time that it took, so that it never costs more than 5 %."""

IMAGES_MAX = 2000
"""Images that are listed. The rest is only counted."""


class Inventory:
    """Counts what tiers hold when somebody looks. Thread-safe.

    A tier on this machine is counted again as often as that is cheap. A remote one is counted on demand
    only, since listing a bucket costs money.
    """

    # The lock guards both dictionaries and the set. What is in them is replaced, never changed.

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._tiers = tuple(tiers)
        self._lock = threading.Lock()
        self._counted: dict[str, dict[str, Any]] = {}
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()

    def latest(self, *, wanted: str = "") -> list[dict[str, Any]]:
        """The tiers as they were last counted, nearest first. Begins to count what is due or ``wanted``."""
        for tier in self._tiers:
            asked = tier.name == wanted or not tier.remote
            if asked and self._is_due(tier) and self._claim(tier.name):
                threading.Thread(target=self._count, args=(tier,), name="inventory", daemon=True).start()
        with self._lock:
            return [self._described(tier) for tier in self._tiers]

    def _is_due(self, tier: Tier) -> bool:
        return time.monotonic() >= self._due.get(tier.name, 0.0)

    def _claim(self, name: str) -> bool:
        with self._lock:
            if name in self._busy:
                return False
            self._busy.add(name)
            return True

    def _described(self, tier: Tier) -> dict[str, Any]:
        counted = self._counted.get(tier.name, {"counted": None})
        return {
            "name": tier.name,
            "remote": tier.remote,
            "readonly": tier.policy.readonly,
            "max_size": tier.policy.max_size,
            "max_age": tier.policy.max_age,
            "counting": tier.name in self._busy,
            "countable": self._is_due(tier),
            **counted,
        }

    def _count(self, tier: Tier) -> None:
        began = time.monotonic()
        try:
            found = _contents(tier)
        except LayercacheError as error:
            found = {"counted": time.time(), "error": error.message}
        took = time.monotonic() - began
        with self._lock:
            self._counted[tier.name] = found
            least = REMOTE_SECONDS_BETWEEN if tier.remote else SECONDS_BETWEEN
            self._due[tier.name] = time.monotonic() + max(least, TIMES_AS_LONG * took)
            self._busy.discard(tier.name)


def _contents(tier: Tier) -> dict[str, Any]:
    blobs, sizes = 0, {}
    for name, entry in tier.blobs.scan():
        blobs += 1
        sizes[name] = entry.size
    images = [_image(tier, key, root) for key, root in tier.images.scan()]
    images.sort(key=lambda image: image["name"])
    used: dict[str, set[str]] = {}
    for image in images:
        for layer in image["layers"]:
            used.setdefault(layer["digest"], set()).add(image["digest"])
    for image in images:
        for layer in image["layers"]:
            layer["images"] = len(used[layer["digest"]])
            layer["cached"] = layer["digest"] in sizes
        image["size"] = sum(layer["size"] for layer in image["layers"])
        image["shared"] = sum(layer["size"] for layer in image["layers"] if layer["images"] > 1)
    return {
        "counted": time.time(),
        "blobs": blobs,
        "bytes": sum(sizes.values()),
        "image_count": len(images),
        "images": images[:IMAGES_MAX],
    }


def _image(tier: Tier, key: str, root: Descriptor) -> dict[str, Any]:
    """An image with its layers, each once, whichever of its platforms have them."""
    layers: dict[str, int] = {}
    platforms = []
    for held in cached_manifests(tier, root):
        platforms.append(str(held.platform))
        layers.update((layer.digest, layer.size) for layer in held.manifest.layers)
    return {
        "name": keys.image_name(key),
        "digest": str(root.digest),
        "platforms": platforms,
        "layers": [{"digest": str(digest), "size": size} for digest, size in layers.items()],
    }
