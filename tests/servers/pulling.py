"""What the tests of every source do with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.descriptor import Descriptor, Manifest, decode

if TYPE_CHECKING:
    from layercache.oci.digest import Digest
    from layercache.sources import Source


def manifest_of(source: Source, root: Descriptor | None = None) -> Manifest:
    return decode(source.document(root or source.root()), Manifest, "the manifest")


def pulled(source: Source, root: Descriptor | None = None) -> dict[Digest, bytes]:
    """Every blob of an image, read whole."""
    manifest = manifest_of(source, root)
    found = {}
    for descriptor in [manifest.config, *manifest.layers]:
        with source.open_blob(descriptor) as reader:
            assert reader.size == descriptor.size
            found[descriptor.digest] = reader.read()
    return found
