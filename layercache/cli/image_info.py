"""What ``layercache info`` shows of an image: its documents, its layers and their history, what is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layercache.cli import output
from layercache.cli.table import Column, Lines
from layercache.cli.terminal import echo
from layercache.errors import NotFoundError
from layercache.oci.descriptor import Index, decode
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.images.image import Image
    from layercache.layer import Layer
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.tier import Tier

COLUMNS = (
    Column("DIGEST", name=True),
    Column("DIFF ID"),
    Column("SIZE", right=True),
    Column("CACHED"),
    Column("CREATED BY"),
)


class ImageLayer(Value, frozen=True):
    """``cached``: the forms that any tier has. ``created_by``: empty if the config does not say."""

    digest: Digest
    diff_id: DiffID | None
    size: int | None
    media_type: str
    cached: list[str]
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
    platforms: list[str]
    created: str | None
    config: Digest | None
    size: int
    complete: bool
    layers: list[ImageLayer]
    foreign: list[Digest]


def find_image(session: Session, name: str, platform: str | None, registries: Mapping[str, Any]) -> ImageInfo:
    """Describe an image as it was last pulled; if it is not cached, as its registry has it now.

    Raises as `Cache.image`.
    """
    try:
        with replace(session, offline=True).cache(creates=True) as cache:
            return _gather(cache, cache.image(name, platform=platform))
    except NotFoundError:
        if session.offline:
            raise
    with session.cache(creates=True, **registries) as cache:
        return _gather(cache, cache.image(name, platform=platform))


def _gather(cache: Cache, image: Image) -> ImageInfo:
    steps = _history(image)
    layers = [
        ImageLayer(
            layer.digest,
            layer.names.diff_id,
            layer.size,
            layer.media_type,
            _forms(cache.tiers, layer),
            step,
        )
        for layer, step in zip(image.layers, steps, strict=True)
    ]
    config = image.manifest.get("config") or {}
    return ImageInfo(
        name=image.name,
        digest=image.digest,
        root=image.root.digest,
        media_type=image.descriptor.media_type,
        platform=str(image.platform),
        platforms=_platforms(cache, image),
        created=str(image.config.get("created") or "") or None,
        config=config.get("digest"),
        size=sum(layer.size or 0 for layer in image.layers),
        complete=all(layer.cached for layer in layers),
        layers=layers,
        foreign=[descriptor.digest for descriptor in image.foreign],
    )


def _platforms(cache: Cache, image: Image) -> list[str]:
    """The platforms of the index that the name leads to, as it states them."""
    from layercache.tiers.documents import find_document

    if image.root.digest == image.digest:
        return []
    data = find_document(cache.tiers, image.root.digest)
    if data is None:
        return []
    entries = decode(data, Index, f"the index {image.root.digest}").manifests
    named = (str(entry.platform) for entry in entries if entry.platform and entry.platform.os != "unknown")
    return list(dict.fromkeys(name for name in named if name))


def _history(image: Image) -> Sequence[str]:
    """The command that made each layer. Empty ones if the config does not say one for each layer."""
    history = image.config.get("history")
    steps = [
        str(step.get("created_by") or step.get("comment") or "")
        for step in (history if isinstance(history, list) else ())
        if isinstance(step, dict) and not step.get("empty_layer")
    ]
    fits = len(steps) == len(image.layers) and not image.foreign
    return [_in_a_line(step) for step in steps] if fits else [""] * len(image.layers)


def _in_a_line(text: str) -> str:
    """An image's own text, without what could move the cursor of a terminal."""
    from layercache.registry.credential import printable

    return " ".join(printable(text).split())


def _forms(tiers: Iterable[Tier], layer: Layer) -> list[str]:
    names = {"compressed": layer.names.digest, "uncompressed": layer.names.diff_id}
    return [form for form, name in names.items() if name and any(tier.blobs.has(name) for tier in tiers)]


def show(info: ImageInfo, *, as_json: bool, whole: bool) -> None:
    if as_json:
        output.document(info)
    else:
        _print(info, whole=whole)


def _print(info: ImageInfo, *, whole: bool) -> None:
    """Print a line for each fact about the image, then a table of its layers."""
    cached = sum(bool(layer.cached) for layer in info.layers)
    fields = {
        "image": info.name,
        "digest": info.digest,
        "index": info.root if info.root != info.digest else "",
        "config": info.config,
        "type": info.media_type,
        "platform": info.platform,
        "others": ", ".join(each for each in info.platforms if each != info.platform),
        "created": info.created,
        "size": f"{output.human(info.size)} compressed",
        "cached": f"{cached} of {output.count(len(info.layers), 'layer')}",
    }
    for title, value in fields.items():
        if value:
            echo(f"{title:<8} {_in_a_line(str(value))}")
    with Lines(COLUMNS, whole=whole) as lines:
        for layer in info.layers:
            forms = "both" if len(layer.cached) > 1 else "".join(layer.cached)
            names = (lines.hash(layer.digest), lines.hash(layer.diff_id), lines.size(layer.size))
            lines.add(*names, forms or output.UNKNOWN, layer.created_by)
        for digest in info.foreign:
            lines.add(lines.hash(digest), output.UNKNOWN, output.UNKNOWN, "foreign", "never fetched")
