"""An OCI image layout that other tools made, as a tier that is only read."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from layercache.tiers import keys
from layercache.tiers.association import FACTS_MAX
from layercache.tiers.backend.facts import BackendFacts
from layercache.tiers.backend.images import BackendImages
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout import index_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy


class LayoutTier(BackendTier):
    """A tier whose images and claims are those of its index.json, where it has no associations itself.

    They are read once, when they are first asked for: manifests and configs are small. What a layout's
    configs say is a claim like any other. Where there are associations it is a cache as any.
    """

    def __init__(self, backend: Backend, policy: Policy) -> None:
        super().__init__(backend, policy)
        listed = _ListedOnce(self)
        self.facts = _LayoutFacts(self, listed)
        self.images = _LayoutImages(self, listed)


class _LayoutFacts(BackendFacts):
    """Facts, and the claims of the layout's own configs."""

    def __init__(self, tier: BackendTier, listed: _ListedOnce) -> None:
        super().__init__(tier.backend, tier.policy, remote=tier.remote)
        self._listed = listed

    def scan(self) -> Iterator[Association]:
        yield from super().scan()
        yield from self._listed.contents.claims

    def pairs(self, *, computed: bool) -> Iterator[tuple[Digest, DiffID, float]]:
        yield from super().pairs(computed=computed)
        if not computed:
            for claim in self._listed.contents.claims:
                yield claim.digest, claim.diff_id, self._backend.stat(keys.INDEX).modified

    def _claims(self, digest: Digest) -> list[Association]:
        return super()._claims(digest) + self._listed.contents.by_digest.get(digest, [])

    def _made_from(self, state: str, diff_id: DiffID) -> list[Association]:
        found = super()._made_from(state, diff_id)
        return found + self._listed.contents.by_diff_id.get(diff_id, []) if state == keys.CLAIMED else found


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

    def scan(self) -> Iterator[tuple[str, Descriptor]]:
        yield from super().scan()
        yield from self._listed.contents.images.items()


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
                if next(self._tier.backend.scan(keys.ASSOCIATIONS), None) is None:
                    entries, _ = index_json.read_index(self._tier)
                    contents.images = dict(index_json.images(entries))
                    for claim in index_json.claims(self._tier, entries):
                        contents.add(claim)
            return self._contents


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
