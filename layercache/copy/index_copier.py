"""Copies what was computed from blobs: indexes, of blobs that the target has."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.copy.blob_copier import source_errors
from layercache.files import stored
from layercache.resolver.derived import STORED_MAX
from layercache.streams.readers import read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Entry
    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier

    Copying = tuple[Hash, Callable[[], None]]


class IndexCopier:
    """Copies indexes between two tiers. Thread-safe: it has no state.

    Those of a source that is not trusted are left: the target may be trusted, and an index decides which
    bytes are returned.
    """

    def __init__(self, source: Tier, target: Tier) -> None:
        self._source = source
        self._target = target

    def missing(self, wanted: Callable[[Hash, Entry], bool]) -> Iterator[Copying]:
        """What copies each wanted index that the target does not have, with the blob that it is about.

        The source is listed once, and the target too, if the source has any.
        """
        there: set[tuple[str, Hash]] | None = None
        for kind, name, entry in self._source.derived.scan() if self._source.policy.trusted else ():
            if there is None:
                there = {(kind, name) for kind, name, _ in self._target.derived.scan()}
            if kind in stored.KINDS and (kind, name) not in there and wanted(name, entry):
                yield name, partial(self._copy, kind, name)

    def _copy(self, kind: str, name: Hash) -> None:
        with source_errors(), self._source.derived.open(kind, name) as reader:
            data = read_bounded(reader, STORED_MAX, f"{kind} of {name}")
        stored.check(kind, name, data)
        self._target.derived.put(kind, name, [data])
