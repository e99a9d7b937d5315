"""Resolves references from tiers, as they were last pulled.

A digest can be checked, so any tier may resolve it. A tag cannot: a trusted tier has it from a registry, but
a tier that others can write to may say anything.
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
"""Seconds by which another machine's clock may be ahead."""

COPIED_FROM = "dev.layercache.copied-from"
"""Annotation of a tag that was copied from an untrusted store: the name of that store."""


def image_key(reference: Reference) -> str:
    """The key of a reference in a tier: by digest if it has one, else by tag."""
    if reference.digest:
        return keys.image_digest(reference.registry, reference.repository, reference.digest)
    return keys.image_tag(reference.registry, reference.repository, reference.tag or "latest")


def doubtful(tier: Tier, key: str, root: Descriptor) -> str:
    """The untrusted store that a tag comes from; empty for a trusted one and for a digest."""
    if keys.digest_in(key):
        return ""
    return (root.annotations or {}).get(COPIED_FROM, "") if tier.policy.trusted else tier.name


class Tags:
    """Looks references up in tiers, nearest first. ``strict``: a tag from an untrusted tier is an error."""

    def __init__(self, tiers: Sequence[Tier], observers: Observers, *, strict: bool = False) -> None:
        self._tiers = tiers
        self._observers = observers
        self._strict = strict

    def is_known(self, reference: Reference) -> bool:
        """Whether any tier has the reference."""
        return any(True for _ in self._said(image_key(reference)))

    def fresh(self, reference: Reference, age: float) -> Descriptor | None:
        """The root of a digest, or of a tag that a trusted tier checked within ``age`` seconds."""
        key = image_key(reference)
        for tier, root in self._said(key):
            if reference.digest or (not doubtful(tier, key, root) and self._is_young(tier, key, age)):
                return root
        return None

    def last(self, reference: Reference) -> Descriptor:
        """What the reference named when it was last pulled. No source is asked.

        A trusted tier comes first. Without one, an untrusted tier's answer is used and reported as an event.
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
        """An untrusted answer younger than ``age``, if the registry failed and no trusted one exists."""
        key, young = image_key(reference), None
        for tier, root in self._said(key) if age else ():
            who = doubtful(tier, key, root)
            if not who:
                return None
            if young is None and self._is_young(tier, key, age):
                young = (root, who)
        return None if young is None or self._strict else self._report(reference, *young)

    def _said(self, key: str) -> Iterator[tuple[Tier, Descriptor]]:
        """What each tier has for the key. An answer with another digest than the key's is skipped."""
        for tier in self._tiers:
            with suppress(NotFoundError):
                root = tier.images.get(key)
                if keys.digest_in(key) in ("", root.digest):
                    yield tier, root

    def _is_young(self, tier: Tier, key: str, age: float) -> bool:
        with suppress(NotFoundError):
            # A time in the future comes from a wrong clock, and would count as young for years.
            return -SKEW < time.time() - tier.images.time(key) < age
        return False

    def _report(self, reference: Reference, root: Descriptor, who: str) -> Descriptor:
        note = f"only this tier says that {reference} is {root.digest}, and it is not trusted"
        if self._strict:
            raise NotFoundError(
                f"no trusted cache has the image {reference}; {who} says that it is {root.digest}",
                looked_in=[tier.name for tier in self._tiers],
                hint="pull it while its registry can be reached, or name it by its digest",
            )
        self._observers.emit(Event("unconfirmed", root.digest, COMPRESSED, who, note=note))
        return root
