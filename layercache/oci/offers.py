"""Finds the platforms of an index's entries: stated in the entry, or else in the config."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layercache.errors import IntegrityError, NotFoundError
from layercache.oci.descriptor import INDEXES, Descriptor, Index, Manifest, decode, image_config
from layercache.oci.image_tree import MAX_DEPTH, too_deep
from layercache.oci.platforms import is_image, normalized, select, stated_platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.oci.descriptor import Platform

LOOKED_INTO = 32
"""Entries without a platform that are read for one index: each costs two requests."""


class Offers:
    """Answers for one index. ``document`` reads a manifest or index and its media type, ``blob`` a config."""

    def __init__(
        self, document: Callable[[Descriptor], tuple[bytes, str]], blob: Callable[[Descriptor], bytes]
    ) -> None:
        self._document = document
        self._blob = blob
        self._left = LOOKED_INTO

    def choose(self, root: Descriptor, platform: Platform) -> tuple[Descriptor, bytes, str]:
        """The manifest for a platform, which is the root or below it: its descriptor, bytes and media type.

        A root that is a manifest is taken for any platform. Raises as `select` and ``document`` do, and
        `FormatError` where more than `MAX_DEPTH` indexes are nested.
        """
        descriptor = index = root
        for _ in range(MAX_DEPTH + 1):
            data, kind = self._document(descriptor)
            if kind not in INDEXES:
                return descriptor, data, kind
            index = descriptor
            entries = decode(data, Index, f"the index {index.digest}").manifests
            descriptor = select(entries, platform, self.platforms)
        raise too_deep(index)

    def platforms(self, entry: Descriptor) -> Iterator[Platform]:
        """The platform of an image, or those of the images in an index; nothing if none is stated.

        A document that is missing or broken has none.
        """
        if (stated := stated_platform(entry)) is not None:
            yield stated
        elif is_image(entry) and self._left:
            self._left -= 1
            try:
                yield from self._within(entry)
            except (NotFoundError, IntegrityError):
                return

    def alternatives(self, entries: Iterable[Descriptor]) -> list[Descriptor]:
        """The entries, each with its platform, if no two have the same one; else nothing.

        Such entries may share one name, and the platform selects among them.
        """
        found: list[Descriptor] = []
        seen: set[Platform] = set()
        for entry in entries:
            offered = [normalized(each) for each in self.platforms(entry)] if is_image(entry) else []
            if not seen.isdisjoint(offered):
                return []
            seen.update(offered)
            found.append(msgspec.structs.replace(entry, platform=offered[0]) if len(offered) == 1 else entry)
        return found if seen else []

    def _within(self, entry: Descriptor) -> Iterator[Platform]:
        data, kind = self._document(entry)
        if kind in INDEXES:
            for child in decode(data, Index, f"the index {entry.digest}").manifests:
                yield from self.platforms(child)
            return
        described = decode(data, Manifest, f"the manifest {entry.digest}").config
        config = image_config(kind, described, self._blob(described))
        if config is not None and config.os:
            yield config.platform
