"""What the tiers know about a name whose role is not known: a digest, a diff ID, or both."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import UNCOMPRESSED
from layercache.resolver.identity import LayerIdentity
from layercache.streams.readers import HEAD, sniff
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.oci.digest import Hash
    from layercache.resolver.questions import Facts, Questions
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


Pairs = Collection[tuple[Digest, DiffID]]
"""Claims that were found false."""

Gathered = tuple["Association | None", dict[Digest, "Association"]]
"""The fact about a name as a digest, and those about it as a diff ID by the digests that it leads to."""


def find(tiers: Sequence[Tier], name: Hash, asked: Questions, refuted: Pairs = ()) -> LayerIdentity:
    """The layer or blob that is cached under this name, in some form, in some tier.

    A name may be both, the digest of a plain tar and the diff ID of that tar compressed: then every
    digest that leads to the tar is known, and the blob that has the name itself is meant. A tier whose
    facts lead to nothing that is there is skipped, and so is what was ``refuted``. Raises
    `NotFoundError`.
    """
    own, facts_found = None, False
    for own, leading in _facts_found(tiers, name, asked, refuted):
        facts_found = True
        there = own is not None and not own.computed and _is_there(tiers, name, asked, own, leading)
        identity = _meant(name, own, leading, there=there)
        present = _where(tiers, [name, *identity.digests(), *identity.names(UNCOMPRESSED)], asked)
        if present is None:
            continue
        # Whatever a claim says: the bytes that have the name win.
        if present == name != identity.digest and not identity.computed and not _may_be_tar(tiers, name):
            return LayerIdentity(digest=Digest(name))
        is_another = present in identity.alternatives and not identity.plain
        return identity.meaning(Digest(present)) if is_another else identity
    if facts_found and (claimed := _claimed(tiers, name, own, asked, refuted)):
        return claimed
    if _where(tiers, [name], asked) is None:
        from layercache.resolver.absence import not_found

        raise not_found(tiers, f"{name} is not cached")
    return LayerIdentity(digest=Digest(name))


def _claimed(
    tiers: Sequence[Tier], name: Hash, own: Association | None, asked: Questions, refuted: Pairs
) -> LayerIdentity | None:
    """The layer by claims that stand behind computed facts of which no blob is there any more.

    ``own``: the fact about the name as a digest. Then no other blob is given under it: of a plain tar those
    that have it inside lead to it, of any other there is none.
    """
    if own and own.computed and own.diff_id != name:
        return None
    leading: dict[Digest, Association] = {}
    for tier in tiers:
        for fact in believed(tiers, tier, asked.claims(tier, DiffID(name)), refuted):
            leading.setdefault(fact.digest, fact)
    if (present := _where(tiers, list(leading), asked)) is None:
        return None
    meant = leading.get(Digest(name)) or leading[Digest(present)]
    return LayerIdentity.from_fact(meant, DiffID(name), leading)


def facts(tiers: Sequence[Tier], name: Hash) -> LayerIdentity:
    """What the nearest tier that knows the name says of it, whether or not any blob is there."""
    for own, leading in _gathered(tiers, tiers, lambda tier: tier.facts.about(name)):
        return _meant(name, own, leading, there=True)
    return LayerIdentity(digest=Digest(name))


def of_digest(tiers: Sequence[Tier], digest: Digest, asked: Questions, refuted: Pairs = ()) -> LayerIdentity:
    """What the nearest tier that knows the blob says of it, whether or not it is there.

    Behind a remote tier that has the blob, none is asked.
    """
    for tier in tiers:
        for fact in believed(tiers, tier, asked.inflates_to(tier, digest), refuted)[:1]:
            return LayerIdentity.from_fact(fact)
        if asked.was_found(tier, digest):
            break
    return LayerIdentity(digest=digest)


def _facts_found(tiers: Sequence[Tier], name: Hash, asked: Questions, refuted: Pairs) -> Iterator[Gathered]:
    """As `_gathered`. Behind a remote tier that has the blob of this name, and no facts, none is asked."""

    def asked_in_turn() -> Iterator[Tier]:
        for tier in tiers:
            yield tier
            if tier.remote and asked.was_found(tier, name):
                return

    return _gathered(tiers, asked_in_turn(), lambda tier: asked.about(tier, name), refuted)


def _gathered(
    ours: Sequence[Tier], tiers: Iterable[Tier], about: Callable[[Tier], Facts], refuted: Pairs = ()
) -> Iterator[Gathered]:
    """The fact about a name as a digest, and those about it as a diff ID: the nearest tier's that has any,
    then those with the next one's added, and so on.
    """
    own: Association | None = None
    leading: dict[Digest, Association] = {}
    for tier in tiers:
        as_digest, as_diff_id = (believed(ours, tier, found, refuted) for found in about(tier))
        for fact in as_digest[:1]:
            own = fact if own is None or fact.computed else own
        for fact in as_diff_id:
            leading.setdefault(fact.digest, fact)
        if as_digest or as_diff_id:
            yield own, leading


def _meant(
    name: Hash, own: Association | None, leading: dict[Digest, Association], *, there: bool
) -> LayerIdentity:
    """What the name means by these facts. ``there``: a blob has it; it matters where ``own`` is a claim."""
    asked = DiffID(name)
    if own and (own.computed or there):
        if leading and own.diff_id != name and not own.computed:
            # Two claims, one of which is false: the bytes will show what they are.
            return LayerIdentity(digest=own.digest, asked=asked)
        return LayerIdentity.from_fact(own, asked, leading if own.diff_id == name else None)
    if leading:
        return LayerIdentity.from_fact(next(iter(leading.values())), asked, leading)
    return LayerIdentity(asked=asked)


def _is_there(
    tiers: Iterable[Tier],
    name: Hash,
    asked: Questions,
    own: Association,
    leading: Collection[Digest],
) -> bool:
    """Whether the blob that has the name is there: a plain tar may be inside another blob."""
    return _where(tiers, [name, *(leading if own.diff_id == name else ())], asked) is not None


def _where(tiers: Iterable[Tier], names: Sequence[Hash], asked: Questions) -> Hash | None:
    """The first of the names that is a blob in the nearest tier that has any."""
    return next((found for tier in tiers if (found := asked.first(tier, names)) is not None), None)


def _may_be_tar(tiers: Iterable[Tier], name: Hash) -> bool:
    """False where we have the blob of this name, verified, and it does not begin as a tar does."""
    for tier in tiers:
        if tier.policy.trusted:
            try:
                with tier.blobs.inspect(name) as reader:
                    return sniff(reader.read(HEAD)) == NO_COMPRESSION
            except NotFoundError:
                continue
            except BackendError as error:  # it had been opened
                tier.mark_failed(error)
    return True


def believed(
    tiers: Iterable[Tier], tier: Tier, found: Iterable[Association], refuted: Pairs = ()
) -> list[Association]:
    """The facts of a tier that no computed fact on this machine contradicts, and that were not ``refuted``.

    Anybody who can write to a far tier could have written a computed fact there: it is a claim to us until
    our own inflation confirms it, unless the tier is trusted. For the word of a trusted remote tier about
    each blob it would have to be asked: a claim that it could contradict costs one inflation instead.
    """
    kept = []
    for fact in found:
        if fact.computed and tier.policy.trusted:
            kept.append(fact)
        elif (fact.digest, fact.diff_id) in refuted:
            continue
        elif (mine := computed(on_this_machine(tiers), fact.digest)) is None:
            kept.append(replace(fact, computed=False, counted=tier.policy.trusted))
        elif mine.diff_id == fact.diff_id:
            kept.append(mine)
        elif mine.diff_id.algorithm != fact.diff_id.algorithm:
            kept.append(replace(mine, diff_id=fact.diff_id, computed=False))
    return kept


def on_this_machine(tiers: Iterable[Tier]) -> Iterator[Tier]:
    """Tiers of which a question costs no round trip."""
    return (tier for tier in tiers if not tier.remote)


def computed(tiers: Iterable[Tier], digest: Digest) -> Association | None:
    """What we ourselves found the blob to inflate to."""
    for tier in tiers:
        if tier.policy.trusted:
            for fact in tier.facts.inflates_to(digest):
                if fact.computed:
                    return fact
    return None
