"""Resolves references from tiers, as they were last pulled.

A digest can be checked, so any tier may resolve it. A tag cannot: a trusted tier has it from a registry, but
a tier that others can write to may say anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from layercache.errors import NotFoundError
from layercache.events import Event, Observers
from layercache.images.missing import missing_image
from layercache.oci.documents import described
from layercache.oci.forms import COMPRESSED
from layercache.tiers import keys
from layercache.tiers.tag_origin import CHECKED, as_claimed, checked_at, copied_from, imported_from, marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.errors import LayercacheError
    from layercache.images.writer import ImageWriter
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.reference import Reference
    from layercache.tiers.tier import Tier

SKEW = 60.0
"""Seconds by which another machine's clock may be ahead."""


def doubtful(tier: Tier, key: str, root: Descriptor) -> str:
    """The untrusted store that a tag comes from; empty for a trusted one and for a digest."""
    if keys.digest_in(key):
        return ""
    return copied_from(root) if tier.policy.trusted else tier.name


@dataclass(frozen=True, slots=True)
class Found:
    """What tiers say that a reference names.

    ``lacking``: the nearer tiers that do not say so. ``checked``: when a tag was checked with its registry
    (seconds since the epoch); None for a digest. ``recorded``: False for a digest whose document is cached,
    but not under this name. ``trusted``: whether a trusted tier has it under this name.
    """

    key: str
    root: Descriptor
    lacking: tuple[Tier, ...] = ()
    checked: float | None = None
    recorded: bool = True
    trusted: bool = True


class CachedManifest(NamedTuple):
    """A manifest or an index as it was last pulled.

    ``checked``: when a tag was checked with its registry (seconds since the epoch), as far as a trusted tier
    says so, else 0. ``recorded``: False for a digest that was not pulled by itself from this repository, but
    is cached, perhaps from another one. ``trusted``: a trusted tier says that this repository has it.
    """

    descriptor: Descriptor
    data: bytes
    checked: float = 0.0
    recorded: bool = True
    trusted: bool = True


class Tags:
    """Looks references up in tiers, nearest first. ``strict``: a tag from an untrusted tier is an error."""

    def __init__(
        self, tiers: Sequence[Tier], writer: ImageWriter, observers: Observers, *, strict: bool = False
    ) -> None:
        self._tiers = tiers
        self._writer = writer
        self._observers = observers
        self._strict = strict

    def is_known(self, reference: Reference) -> bool:
        """Whether any tier has the reference."""
        return any(True for _ in self._said(keys.image_key(reference)))

    def fresh(self, reference: Reference, age: float) -> Found | None:
        """The root of a digest, or of a tag that a trusted tier checked within ``age`` seconds."""
        key = keys.image_key(reference)
        for tier, root, checked, lacking in self._said(key):
            if reference.digest:
                return Found(key, root, lacking)
            if not doubtful(tier, key, root) and _is_young(checked, age):
                return Found(key, root, lacking, checked)
        return None

    def last(self, reference: Reference) -> Found:
        """What the reference named when it was last pulled, as `known`. Raises `NotFoundError`."""
        if (found := self.known(reference)) is not None:
            return found
        raise missing_image(
            self._tiers, reference, f"pull it while online (layercache pull {reference.familiar})"
        )

    def known(self, reference: Reference) -> Found | None:
        """What the reference named when it was last pulled; None if it was not. No source is asked.

        A trusted tier comes first. Without one, an untrusted tier's answer is used and reported as an event;
        where that is not allowed it raises `NotFoundError`. A digest is found by any name under which its
        document was pulled.
        """
        key, unsure = keys.image_key(reference), None
        for tier, root, checked, lacking in self._said(key):
            who = doubtful(tier, key, root)
            if not who:
                age = None if reference.digest else checked
                return Found(key, root, lacking, age, trusted=tier.policy.trusted)
            unsure = unsure or (root, who)
        if unsure is not None:
            return Found(key, self._report(reference, *unsure), trusted=False)
        return self._document(reference)

    def stopgap(self, reference: Reference, age: float, error: LayercacheError) -> Found | None:
        """What to open although the registry failed with this error, or does not have the image.

        What a digest names, whichever tag it was pulled by, unless the registry says that it lacks it. A tag
        that was imported. If no trusted tier has the tag, an untrusted answer younger than ``age``.
        """
        lacks_it = isinstance(error, NotFoundError)
        if reference.digest:
            return None if lacks_it else self._document(reference)
        key, young = keys.image_key(reference), None
        for tier, root, checked, _ in self._said(key):
            who = doubtful(tier, key, root)
            if not who:
                return self._imported(reference, root, lacks_it=lacks_it)
            if young is None and not lacks_it and _is_young(checked, age):
                young = (root, who)
        return None if young is None or self._strict else Found(key, self._report(reference, *young))

    def _imported(self, reference: Reference, root: Descriptor, *, lacks_it: bool) -> Found | None:
        if self._strict or not (who := imported_from(root)):
            return None
        why = "does not have it" if lacks_it else "failed"
        note = f"{reference} is taken as it was imported, since its registry {why}"
        self._observers.emit(Event("unconfirmed", root.digest, COMPRESSED, who, note=note))
        return Found(keys.image_key(reference), root)

    def bring_nearer(self, found: Found, root: Descriptor) -> None:
        """Write what was found into the nearer tiers that lack it, with the true size of its ``root``."""
        if found.lacking:
            root = as_claimed(root)
            tag = root if found.checked is None else marked(root, CHECKED, f"{found.checked:.0f}")
            self._writer.tag_nearer(found.key, tag, found.lacking)

    def _document(self, reference: Reference) -> Found | None:
        """The document of a digest, which was perhaps pulled by a tag, or from another repository."""
        if reference.digest is None or (data := self._writer.find_document(reference.digest)) is None:
            return None
        root = described(data, "", reference.digest, str(reference))
        return Found(keys.image_key(reference), root, recorded=False, trusted=False)

    def _said(self, key: str) -> Iterator[tuple[Tier, Descriptor, float, tuple[Tier, ...]]]:
        """What each tier has for the key, when that was checked, and the tiers before it that have nothing.

        An answer with another digest than the key's is none.
        """
        lacking: list[Tier] = []
        for tier in self._tiers:
            try:
                root, modified = tier.images.dated(key)
            except NotFoundError:
                lacking.append(tier)
                continue
            if keys.digest_in(key) in ("", root.digest):
                yield tier, root, checked_at(root, modified), tuple(lacking)
            else:
                lacking.append(tier)

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


def _is_young(checked: float, age: float) -> bool:
    # A time in the future comes from a wrong clock, and would count as young for years.
    return -SKEW < time.time() - checked < age
