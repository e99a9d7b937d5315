"""What the commands for files take as IMAGE|HASH: an image, or one layer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from layercache.cli import output
from layercache.cli.short_hashes import full_name, looks_like_hash
from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.files.merged import ImageFiles
    from layercache.images.image import Image
    from layercache.index.entry import FileEntry
    from layercache.layer import Layer
    from layercache.oci.digest import Digest, Hash

    HasFiles: TypeAlias = Image | Layer


class Listed(NamedTuple):
    """A file, and the digest of the layer that it is from; None if that is not known."""

    entry: FileEntry
    layer: Digest | None


@contextmanager
def opened(
    session: Session, name: str, platform: str | None, registries: Mapping[str, Any]
) -> Iterator[HasFiles]:
    """As `opened_all`, for one name."""
    with opened_all(session, [name], platform, registries) as (found,):
        yield found


@contextmanager
def opened_all(
    session: Session, names: Sequence[str], platform: str | None, registries: Mapping[str, Any]
) -> Iterator[list[HasFiles]]:
    """Open a cache, and in it the images or layers of names or hashes, which may be shortened.

    Warns if an image has layers that are never fetched. Raises as `Cache.image` and `Cache.get`.
    """
    with session.cache(creates=True, **registries) as cache:
        found = []
        for name in names:
            with session.activity.step(f"looking up {name}"):
                found.append(find(cache, name, platform, session.note))
        with session.activity.step(f"reading the index of {' and '.join(names)}"):
            yield found


def digests(source: HasFiles) -> list[Digest | None]:
    """The digests of an image's layers, lowest first, or of the one layer."""
    from layercache.layer import Layer

    layers = [source] if isinstance(source, Layer) else source.layers
    return [layer.names.digest for layer in layers]


def listed(source: HasFiles) -> Iterator[Listed]:
    """The files of an image as a container sees them, or all entries of a layer, whiteouts among them."""
    from layercache.layer import Layer

    names = digests(source)
    if isinstance(source, Layer):
        return (Listed(entry, names[0]) for entry in source.files())
    return (Listed(file.entry, names[file.layer]) for file in source.files())


def view(source: HasFiles) -> ImageFiles:
    """The files to look up paths in: of an image, or of a layer as if it were one."""
    from layercache.layer import Layer

    return source.files().view if isinstance(source, Layer) else source.files()


def find(cache: Cache, name: str, platform: str | None, note: Callable[[str], object]) -> HasFiles:
    """Return the image or the layer of a name or a hash. Raises as `Cache.image` and `Cache.get`."""
    found = _by_hash(cache, name, platform) if looks_like_hash(name) else cache.image(name, platform=platform)
    warn_of_foreign(found, name, note)
    return found


def warn_of_foreign(source: HasFiles, name: str, note: Callable[[str], object]) -> None:
    """Print a warning if an image has layers that are never fetched."""
    if foreign := getattr(source, "foreign", ()):
        layers = output.count(len(foreign), "foreign layer")
        note(f"layercache: warning: {name}: the files of {layers}, never fetched, are not there")


def _by_hash(cache: Cache, text: str, platform: str | None) -> HasFiles:
    from layercache.images.by_digest import image_named, listed
    from layercache.oci.reference import Reference
    from layercache.value import replace

    name = full_name(cache, text)
    if image := image_named(listed(cache.tiers), name):
        by_digest = replace(Reference.parse(image), tag=None, digest=name)
        return cache.image(str(by_digest), platform=platform)
    try:
        return cache.get(name)
    except NotFoundError:
        if layer := _layer_of_an_image(cache, name):
            return layer
        raise


def _layer_of_an_image(cache: Cache, name: Hash) -> Layer | None:
    """A layer that no tier has, but an image of the cache refers to: its source is the image's registry."""
    from layercache.images.by_digest import images_using, listed

    for image in images_using(listed(cache.tiers), [name]):
        for each in cache.platforms(image, missing=lambda _error: None):
            for layer in each.layers:
                if name in layer.names:
                    return layer
    return None
