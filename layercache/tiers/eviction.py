"""Which blobs of a store go first when it holds too much, or holds what nobody has used for long.

First the tars that can be made again from a compressed blob in the same tier, then all other blobs, last the
small documents of images, without which an image cannot even be named offline; among their like, what was
not used for the longest time. The time of last use is that of an object's publishing, refreshed by use where
the store can do that. What was derived from a blob counts as part of it and goes with it; before all else
goes what was derived from a blob that is not there.

Facts and images stay: a diff ID still leads to a digest that can be fetched again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

from layercache.backend.capabilities import Spooler
from layercache.tiers import image_refs, keys
from layercache.tiers.backend.records import BackendRecords
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from layercache.backend import Backend, Entry, Reader
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Policy

YOUNG = 300.0
"""Seconds after its last use in which a blob is spared as long as there is another: it may be in use."""

ORPHAN, REBUILDABLE_TAR, OTHER, DOCUMENT = range(4)


class Candidate(Value, frozen=True, order=True):
    """A blob, in the order in which blobs go: by ``rank``, then by when it was last used.

    ``derived``: the keys of what was derived from it; ``size`` counts that, too. An `ORPHAN` is a blob that
    is not there: it has derived objects alone. ``ahead``: the time is in the future.
    """

    rank: int
    modified: float
    size: int
    name: Hash
    derived: tuple[str, ...] = ()
    ahead: bool = False

    @property
    def key(self) -> str:
        return keys.blob(self.name)

    def objects(self) -> tuple[str, ...]:
        """The keys of all that goes: what was derived from the blob before the blob."""
        return self.derived if self.rank == ORPHAN else (*self.derived, self.key)


def candidates(backend: Backend, policy: Policy) -> list[Candidate]:
    """Every blob, first the one that goes first. Some 200 bytes of memory each.

    What was used in the future counts as used now: some clock was wrong. What else lies among the blobs is
    not the cache's.
    """
    now = time.time()
    # Derived objects are listed first: the blob of one that is put in between is there, so none of them
    # looks like an orphan.
    derived = _derived(backend)
    there = {name: entry for entry in backend.scan(keys.BLOBS) if (name := keys.blob_name(entry.key))}
    ranks = dict.fromkeys(_tars_to_be_made_again(backend, there), REBUILDABLE_TAR)
    ranks |= dict.fromkeys(_documents(backend, policy.max_document_size), DOCUMENT)
    found = []
    for name in there.keys() | derived.keys():
        blob, others = there.get(name), derived.get(name, [])
        modified = blob.modified if blob else max(each.modified for each in others)
        found.append(
            Candidate(
                ranks.get(name, OTHER) if blob else ORPHAN,
                min(modified, now),
                sum(each.size for each in others) + (blob.size if blob else 0),
                name,
                tuple(each.key for each in others),
                ahead=blob is not None and modified > now + YOUNG,
            )
        )
    return sorted(found)


def _derived(backend: Backend) -> dict[Hash, list[Entry]]:
    """The derived objects of each blob."""
    found: defaultdict[Hash, list[Entry]] = defaultdict(list)
    for entry in backend.scan(keys.DERIVED):
        if names := keys.derived_name(entry.key):
            found[names[1]].append(entry)
    return found


def _tars_to_be_made_again(backend: Backend, there: Container[Hash]) -> Iterator[Hash]:
    for record in BackendRecords(backend, remote=not isinstance(backend, Spooler)).of_digests():
        for fact in record.as_digest:
            if fact.computed and str(fact.digest) != fact.diff_id and fact.digest in there:
                yield fact.diff_id


def _documents(backend: Backend, limit: int) -> Iterator[Hash]:
    def open_blob(name: Hash) -> Reader:
        return backend.open(
            keys.blob(name)
        )  # past the tier: that eviction reads a document does not count as a use

    for _, descriptor in image_refs.images(backend):
        for name, document in image_refs.contents(open_blob, descriptor, limit):
            if document:
                yield name


class Eviction(Value, frozen=True):
    """A blob that is to go, since it is ``old`` or since there is too much."""

    blob: Candidate
    old: bool


def select(
    blobs: list[Candidate],
    remove: Callable[[Candidate], bool] = lambda _blob: True,
    *,
    limit: int | None = None,
    goal: int | None = None,
    max_age: float | None = None,
) -> Iterator[Eviction]:
    """What goes: all that was not used for ``max_age`` seconds; then, where more than ``limit`` bytes are
    left, so many of the rest, in order, that at most ``goal`` bytes are (by default the limit).

    ``remove`` removes a blob, or returns False where that is not allowed: then the next one goes.
    Young blobs and documents go only where the limit cannot be kept otherwise.
    """
    now = time.time()
    easy: list[Candidate] = []
    spared: list[Candidate] = []
    left = 0
    for blob in blobs:
        if max_age is not None and blob.modified < now - max_age:
            if remove(blob):
                yield Eviction(blob, old=True)
            else:
                left += blob.size
        else:
            left += blob.size
            (spared if blob.rank == DOCUMENT or blob.modified > now - YOUNG else easy).append(blob)
    if limit is None or left <= limit:
        return
    for some, wanted in ((easy, limit if goal is None else goal), (spared, limit)):
        for blob in some:
            if left <= wanted:
                break
            if remove(blob):
                left -= blob.size
                yield Eviction(blob, old=False)
