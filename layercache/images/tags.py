"""What a reference named when it was last pulled: which tier says so, and how far that is believed.

A digest needs no belief, since what it names has that hash. A tag is only somebody's word: a trusted tier has
it from a registry; what others can write to may say anything.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.events import Event, Observers
from layercache.oci.forms import COMPRESSED
from layercache.resolver.lookup import not_found
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.oci.descriptor import Descriptor
    from layercache.oci.reference import Reference
    from layercache.tiers.tier import Tier

SKEW = 60.0
"""Seconds that another machine's clock may be ahead."""

COPIED_FROM = "dev.layercache.copied-from"
"""Annotation of what a tag names, where a copy brought it: the store that said so, which is not trusted."""


def image_key(reference: Reference) -> str:
    """Where a tier keeps what the reference names: by digest if it has one, else by tag."""
    if reference.digest:
        return keys.image_digest(reference.registry, reference.repository, reference.digest)
    return keys.image_tag(reference.registry, reference.repository, reference.tag or "latest")


def doubtful(tier: Tier, key: str, root: Descriptor) -> str:
    """The store whose word it is that a tag names this, where that is not trusted; else nothing."""
    if keys.pinned(key):
        return ""
    return (root.annotations or {}).get(COPIED_FROM, "") if tier.policy.trusted else tier.name


class Tags:
    """Looks references up in tiers, near to far. ``strict``: a tag that is not believed is an error."""

    def __init__(self, tiers: Sequence[Tier], observers: Observers, *, strict: bool = False) -> None:
        self._tiers = tiers
        self._observers = observers
        self._strict = strict

    def is_known(self, reference: Reference) -> bool:
        """Whether any tier says something of it."""
        return any(True for _ in self._said(image_key(reference)))

    def fresh(self, reference: Reference, age: float) -> Descriptor | None:
        """What needs no check: a digest, or a tag that a trusted tier checked within ``age`` seconds."""
        key = image_key(reference)
        for tier, root in self._said(key):
            if reference.digest or (not doubtful(tier, key, root) and self._is_young(tier, key, age)):
                return root
        return None

    def last(self, reference: Reference) -> Descriptor:
        """What it named when it was last pulled, where no source is asked.

        A trusted tier's word counts most. Another's is taken where there is none, and reported as an event.
        Raises `NotFoundError`.
        """
        key, unsure = image_key(reference), None
        for tier, root in self._said(key):
            who = doubtful(tier, key, root)
            if not who:
                return root
            unsure = unsure or (root, who)
        if unsure is None:
            raise not_found(
                self._tiers,
                f"the image {reference} is not cached",
                f"pull it while online (layercache pull {reference.familiar})",
            )
        return self._report(reference, *unsure)

    def stopgap(self, reference: Reference, age: float) -> Descriptor | None:
        """What a tag named within ``age`` seconds, where its registry failed and no trusted tier knows."""
        key, young = image_key(reference), None
        for tier, root in self._said(key) if age else ():
            who = doubtful(tier, key, root)
            if not who:
                return None
            if young is None and self._is_young(tier, key, age):
                young = (root, who)
        return None if young is None or self._strict else self._report(reference, *young)

    def _said(self, key: str) -> Iterator[tuple[Tier, Descriptor]]:
        """What each tier has; nothing that has another digest than the reference."""
        for tier in self._tiers:
            with suppress(NotFoundError):
                root = tier.images.get(key)
                if keys.pinned(key) in ("", root.digest):
                    yield tier, root

    def _is_young(self, tier: Tier, key: str, age: float) -> bool:
        with suppress(NotFoundError):
            # One from the future, by some clock's mistake, would be young for years.
            return -SKEW < time.time() - tier.images.time(key) < age
        return False

    def _report(self, reference: Reference, root: Descriptor, who: str) -> Descriptor:
        note = f"that {reference} is {root.digest} is its word alone, and it is not trusted"
        if self._strict:
            raise NotFoundError(
                f"the image {reference} is in no cache that is trusted: {who} says that it is {root.digest}",
                looked_in=[tier.name for tier in self._tiers],
                hint="pull it while its registry can be asked, or name it by its digest",
            )
        self._observers.emit(Event("unconfirmed", root.digest, COMPRESSED, who, note=note))
        return root
