"""Which blobs of a store go first when it holds too much, or holds what nobody has used for long.

First the tars that can be made again from a compressed blob beside them, then all other blobs, last the
small documents of images, without which an image cannot even be named offline; among their like, what was
not used for the longest time. How long ago that is, objects' times tell: those of publishing, refreshed by
use where the store can do that.

Facts and images stay: a diff ID still leads to a digest that can be fetched again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.tiers import image_refs, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.backend import Backend, Reader
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Policy

YOUNG = 300.0
"""Seconds after its last use in which a blob is spared as long as there is another: it may be in use."""

REBUILDABLE_TAR, OTHER, DOCUMENT = range(3)


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A blob, in the order in which blobs go: by ``rank``, then by when it was last used.

    ``ahead``: that is said to be in the future.
    """

    rank: int
    modified: float
    size: int
    key: str
    ahead: bool = False


def candidates(backend: Backend, policy: Policy) -> list[Candidate]:
    """Every blob, first the one that goes first. Some 200 bytes of memory each.

    What was used in the future counts as used now: some clock was wrong. What else lies among the blobs is
    not the cache's.
    """
    now = time.time()
    there = {entry.key: entry for entry in backend.scan(keys.BLOBS) if keys.blob_name(entry.key)}
    ranks = dict.fromkeys(_tars_to_be_made_again(backend, there), REBUILDABLE_TAR)
    ranks |= dict.fromkeys(_documents(backend, policy.max_document_size), DOCUMENT)
    return sorted(
        Candidate(
            ranks.get(entry.key, OTHER),
            min(entry.modified, now),
            entry.size,
            entry.key,
            ahead=entry.modified > now + YOUNG,
        )
        for entry in there.values()
    )


def _tars_to_be_made_again(backend: Backend, there: Iterable[str]) -> Iterator[str]:
    for entry in backend.scan(f"{keys.ASSOCIATIONS}{keys.COMPUTED}/by-diffid/"):
        pair = keys.inflation(entry.key)
        if pair and pair[0] != pair[1] and keys.blob(pair[0]) in there:
            yield keys.blob(pair[1])


def _documents(backend: Backend, limit: int) -> Iterator[str]:
    def open_blob(name: Hash) -> Reader:
        return backend.open(keys.blob(name))  # past the tier: that eviction reads a document is no use of it

    for _, descriptor in image_refs.images(backend):
        for name, document in image_refs.contents(open_blob, descriptor, limit):
            if document:
                yield keys.blob(name)


@dataclass(frozen=True, slots=True)
class Eviction:
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
