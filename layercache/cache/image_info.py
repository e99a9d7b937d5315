"""What tiers know of an image: its documents, its layers and their history, and what of it is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.descriptor import Index, decode
from layercache.registry.credential import printable
from layercache.tiers.documents import find_document
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.images.image import Image
    from layercache.layer import Layer
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.tier import Tier


class ImageLayerInfo(Value, frozen=True):
    """``cached``: the forms that any tier has. ``created_by``: empty if the config does not say."""

    digest: Digest
    diff_id: DiffID | None
    size: int | None
    media_type: str
    cached: tuple[str, ...]
    created_by: str


class ImageInfo(Value, frozen=True):
    """``digest`` is the manifest's, ``root`` that of what the name leads to, which may be an index.

    ``platforms``: those that the index lists; empty if the name leads to a manifest. ``config``: its digest.
    ``size``: bytes of all layers, compressed. ``complete``: whether all layers are cached, in some form.
    """

    name: str
    digest: Digest
    root: Digest
    media_type: str
    platform: str
    platforms: tuple[str, ...]
    created: str | None
    config: Digest | None
    size: int
    complete: bool
    layers: tuple[ImageLayerInfo, ...]
    foreign: tuple[Digest, ...]


def image_info(tiers: Sequence[Tier], image: Image) -> ImageInfo:
    """Gather it; no layer is read."""
    steps = _history(image)
    layers = tuple(
        ImageLayerInfo(
            layer.digest,
            layer.names.diff_id,
            layer.size,
            layer.media_type,
            _forms(tiers, layer),
            step,
        )
        for layer, step in zip(image.layers, steps, strict=True)
    )
    config = image.manifest.get("config") or {}
    return ImageInfo(
        name=image.name,
        digest=image.digest,
        root=image.root.digest,
        media_type=image.descriptor.media_type,
        platform=str(image.platform),
        platforms=_platforms(tiers, image),
        created=str(image.config.get("created") or "") or None,
        config=config.get("digest"),
        size=sum(layer.size or 0 for layer in image.layers),
        complete=all(layer.cached for layer in layers),
        layers=layers,
        foreign=tuple(descriptor.digest for descriptor in image.foreign),
    )


def _platforms(tiers: Sequence[Tier], image: Image) -> tuple[str, ...]:
    """The platforms of the index that the name leads to, as it states them."""
    if image.root.digest == image.digest:
        return ()
    data = find_document(tiers, image.root.digest)
    if data is None:
        return ()
    entries = decode(data, Index, f"the index {image.root.digest}").manifests
    named = (str(entry.platform) for entry in entries if entry.platform and entry.platform.os != "unknown")
    return tuple(dict.fromkeys(name for name in named if name))


def _history(image: Image) -> Sequence[str]:
    """The command that made each layer. Empty ones if the config does not say one for each layer."""
    history = image.config.get("history")
    steps = [
        str(step.get("created_by") or step.get("comment") or "")
        for step in (history if isinstance(history, list) else ())
        if isinstance(step, dict) and not step.get("empty_layer")
    ]
    fits = len(steps) == len(image.layers) and not image.foreign
    return [in_a_line(step) for step in steps] if fits else [""] * len(image.layers)


def in_a_line(text: str) -> str:
    """An image's own text, without what could move the cursor of a terminal."""
    return " ".join(printable(text).split())


def _forms(tiers: Iterable[Tier], layer: Layer) -> tuple[str, ...]:
    names = {"compressed": layer.names.digest, "uncompressed": layer.names.diff_id}
    return tuple(form for form, name in names.items() if name and any(tier.blobs.has(name) for tier in tiers))
