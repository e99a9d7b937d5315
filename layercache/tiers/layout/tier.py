"""An OCI image layout that other tools made, as a tier that is only read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from layercache.oci.digest import Hash
from layercache.tiers import keys
from layercache.tiers.backend.images import BackendImages
from layercache.tiers.backend.records import BackendRecords
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.facts import FactStore
from layercache.tiers.layout import index_json
from layercache.tiers.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend
    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy


class LayoutTier(BackendTier):
    """A tier whose images and claims are those of its index.json, where it has no records itself.

    They are read once, when they are first asked for: manifests and configs are small. What a layout's
    configs say is a claim like any other. Where there are records it is a cache as any.
    """

    def __init__(self, backend: Backend, policy: Policy) -> None:
        super().__init__(backend, policy)
        listed = _ListedOnce(self)
        self.facts = FactStore(_LayoutRecords(self, listed), policy)
        self.images = _LayoutImages(self, listed)


class _LayoutRecords(BackendRecords):
    """Records, with the claims of the layout's own configs."""

    def __init__(self, tier: BackendTier, listed: _ListedOnce) -> None:
        super().__init__(tier.backend, remote=tier.remote)
        self._listed = listed

    def read(self, name: Hash) -> Record:
        record = super().read(name)
        listed = self._listed.contents.records.get(name)
        return record.merge(listed) if listed else record

    def written(self) -> Iterator[tuple[Record, float]]:
        yield from super().written()
        if listed := self._listed.contents.records:
            modified = self._backend.stat(keys.INDEX).modified
            yield from ((record, modified) for record in listed.values())

    def of_digests(self) -> Iterator[Record]:
        yield from super().of_digests()
        yield from self._listed.contents.records.values()

    def names(self) -> Iterator[Hash]:
        yield from super().names()
        yield from self._listed.contents.records


class _LayoutImages(BackendImages):
    """Images, and those that the layout lists."""

    def __init__(self, tier: BackendTier, listed: _ListedOnce) -> None:
        super().__init__(tier.backend)
        self._listed = listed

    def get(self, key: str) -> Descriptor:
        if (found := self._listed.contents.images.get(key)) is not None:
            return found
        return super().get(key)

    def time(self, key: str) -> float:
        return super().time(keys.INDEX if key in self._listed.contents.images else key)

    def dated(self, key: str) -> tuple[Descriptor, float]:
        if key in self._listed.contents.images:
            return self.get(key), self.time(key)
        return super().dated(key)

    def scan(self) -> Iterator[tuple[str, Descriptor]]:
        yield from super().scan()
        yield from self._listed.contents.images.items()

    def listed(self, within: str) -> Iterator[str]:
        yield from super().listed(within)
        yield from (key for key in self._listed.contents.images if key.startswith(within))


class _ListedOnce:
    """What the index.json of a tier leads to, read when it is first asked for.

    The lock makes the others wait who ask at the same time: each document is read once.
    """

    def __init__(self, tier: BackendTier) -> None:
        self._tier = tier
        self._reading = threading.Lock()
        self._contents: _Contents | None = None

    @property
    def contents(self) -> _Contents:
        with self._reading:
            if self._contents is None:
                self._contents = contents = _Contents()
                if next(self._tier.backend.scan(keys.RECORDS), None) is None:
                    entries, _ = index_json.read_index(self._tier)
                    contents.images = dict(index_json.images(entries))
                    for claim in index_json.claims(self._tier, entries):
                        contents.add(claim)
            return self._contents


class _Contents:
    """What an index.json leads to."""

    def __init__(self) -> None:
        self.images: dict[str, Descriptor] = {}
        self.records: dict[Hash, Record] = {}

    def add(self, claim: Association) -> None:
        for name in (Hash(claim.digest), Hash(claim.diff_id)):
            self.records[name] = self.records.get(name, Record(name)).with_fact(claim)
