"""An OCI image layout that other tools made, as a tier that is only read."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from layercache.tiers import keys
from layercache.tiers.association import FACTS_MAX
from layercache.tiers.backend_tier import BackendTier
from layercache.tiers.layout import index_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy


class LayoutTier(BackendTier):
    """A tier whose images and claims are those of its index.json, where it has no associations of its own.

    They are read once, when they are first asked for: manifests and configs are small. What a layout's
    configs say is a claim like any other. Where there are associations it is a cache as any.
    """

    def __init__(self, backend: Backend, policy: Policy) -> None:
        super().__init__(backend, policy)
        self._reading = threading.Lock()
        self._read_once: _Contents | None = None

    def associations(self) -> Iterator[Association]:
        yield from super().associations()
        yield from self._contents.claims

    def pairs(self, *, computed: bool) -> Iterator[tuple[Digest, DiffID, float]]:
        yield from super().pairs(computed=computed)
        if not computed:
            for claim in self._contents.claims:
                yield claim.digest, claim.diff_id, self.image_time(keys.INDEX)

    def image(self, key: str) -> Descriptor:
        if (found := self._contents.images.get(key)) is not None:
            return found
        return super().image(key)

    def image_time(self, key: str) -> float:
        return super().image_time(keys.INDEX if key in self._contents.images else key)

    def images(self) -> Iterator[tuple[str, Descriptor]]:
        yield from super().images()
        yield from self._contents.images.items()

    def _claims(self, digest: Digest) -> list[Association]:
        return super()._claims(digest) + self._contents.by_digest.get(digest, [])

    def _made_from(self, state: str, diff_id: DiffID) -> list[Association]:
        found = super()._made_from(state, diff_id)
        return found + self._contents.by_diff_id.get(diff_id, []) if state == keys.CLAIMED else found

    @property
    def _contents(self) -> _Contents:
        with self._reading:
            if self._read_once is None:
                self._read_once = contents = _Contents()
                if next(self.backend.scan(keys.ASSOCIATIONS), None) is None:
                    entries, _ = index_json.read_index(self)
                    contents.images = dict(index_json.images(entries))
                    for claim in index_json.claims(self, entries):
                        contents.add(claim)
            return self._read_once


class _Contents:
    """What an index.json leads to."""

    def __init__(self) -> None:
        self.images: dict[str, Descriptor] = {}
        self.claims: list[Association] = []
        self.by_digest: defaultdict[Digest, list[Association]] = defaultdict(list)
        self.by_diff_id: defaultdict[DiffID, list[Association]] = defaultdict(list)

    def add(self, claim: Association) -> None:
        known, leading = self.by_digest[claim.digest], self.by_diff_id[claim.diff_id]
        if max(len(known), len(leading)) < FACTS_MAX and claim not in known:
            self.claims.append(claim)
            known.append(claim)
            leading.append(claim)
