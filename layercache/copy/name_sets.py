"""The names in the two stores, as sets in memory: each store is listed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.digest import HEX_LENGTH, DiffID
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED

if TYPE_CHECKING:
    from layercache.oci.digest import Digest, Hash
    from layercache.oci.forms import Form
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier

_ALGORITHM_OF = {length // 2: algorithm for algorithm, length in HEX_LENGTH.items()}


def raw(name: Hash) -> bytes:
    """A hash in a third of the memory. Its length identifies the algorithm."""
    return bytes.fromhex(name.hex)


class TargetContents:
    """What the target has, kept up to date. Thread-safe: each change is one operation on a dict or set."""

    def __init__(self, tier: Tier) -> None:
        self._sizes = {raw(name): entry.size for name, entry in tier.blobs.scan()}
        self._facts = tier.facts
        # Names with a record, out of the listing: a record is only read if it may have the fact in question.
        self._recorded = {raw(name) for name in tier.facts.names()}
        self._added: set[tuple[bytes, bytes, bool]] = set()

    def has(self, name: Hash, size: int | None = None) -> bool:
        """Whether the blob is there, with this size if one is given."""
        found = self._sizes.get(raw(name))
        return found is not None and (size is None or found == size)

    def knows(self, digest: Digest, diff_id: DiffID, *, computed: bool) -> bool:
        """Whether a fact adds nothing. A claim adds nothing to a computed fact."""
        own, tar = raw(digest), raw(diff_id)
        if (own, tar, True) in self._added or (not computed and (own, tar, False) in self._added):
            return True
        if own not in self._recorded:
            return False
        there = self._facts.inflates_to(digest, claims=True)
        return any(each.computed or (not computed and each.diff_id == diff_id) for each in there)

    def add_blob(self, name: Hash, size: int) -> None:
        self._sizes[raw(name)] = size

    def add_fact(self, fact: Association) -> None:
        self._added.add((raw(fact.digest), raw(fact.diff_id), fact.computed))


class SourceRoles:
    """Which blobs of the source are compressed, which are tars, and which belong together, by its facts."""

    def __init__(self, tier: Tier) -> None:
        self._inside: dict[bytes, tuple[bytes, bool]] = {}
        self._tars: set[bytes] = set()
        for fact in tier.facts.scan():
            own, tar = raw(fact.digest), raw(fact.diff_id)
            if fact.computed or own not in self._inside:  # computed facts come before claims
                self._inside[own] = (tar, fact.computed)
            self._tars.add(tar)

    def is_compressed(self, name: Hash) -> bool:
        """Whether it may be a compressed form. Documents and blobs without facts count as such."""
        own = raw(name)
        return own in self._inside or own not in self._tars

    def is_tar(self, name: Hash) -> bool:
        """Whether it may be a tar. Documents and blobs without facts go with either form."""
        own = raw(name)
        return own in self._tars or own not in self._inside

    def is_plain(self, name: Hash) -> bool:
        """Whether it is a layer that is distributed as a plain tar: its digest is its diff ID."""
        inside = self._inside.get(raw(name))
        return inside is not None and inside[0] == raw(name)

    def form(self, name: Hash) -> Form:
        """The form for events: a blob that may be either is called compressed."""
        return COMPRESSED if self.is_compressed(name) else UNCOMPRESSED

    def inside(self, name: Hash) -> tuple[DiffID, bool] | None:
        """The diff ID of a blob, and whether that was computed; None without a fact."""
        if (found := self._inside.get(raw(name))) is None:
            return None
        tar, computed = found
        return DiffID(f"{_ALGORITHM_OF[len(tar)]}:{tar.hex()}"), computed
