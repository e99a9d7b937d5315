"""Opens a source by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.descriptor import DOCUMENT_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.registry.client import RegistryClient
    from layercache.sources import Source
from layercache.sources.names import ARCHIVE, LAYOUT, OCI_ARCHIVE, registry_reference


def open_source(
    name: str, client: Callable[[], RegistryClient], *, max_document_size: int = DOCUMENT_MAX
) -> Source:
    """Open the source of a name. ``client`` is called only for a registry; its owner closes it.

    ``max_document_size``: bytes of a document of a local one, at most; of a registry's the client knows.

    A local one is looked at now: raises `NotFoundError` or `SourceError` where it is not there or is
    not what it should be; `ConfigError` and `InvalidNameError` as `registry_reference` does.
    """
    reference = registry_reference(name)
    if reference is not None:
        from layercache.sources.registry import RegistrySource

        return RegistrySource(client(), reference)
    if name.startswith((LAYOUT, OCI_ARCHIVE)):
        from layercache.sources.oci_layout import LayoutSource

        if name.startswith(OCI_ARCHIVE):
            text = name.removeprefix(OCI_ARCHIVE)
            return LayoutSource.parse_archive(text, max_document_size=max_document_size)
        return LayoutSource.parse(name.removeprefix(LAYOUT), max_document_size=max_document_size)
    from layercache.sources.docker_archive import ArchiveSource

    return ArchiveSource.parse(name.removeprefix(ARCHIVE), max_document_size=max_document_size)
