"""What is kept, and where: blobs and facts, as the tiers' policies say."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

from layercache.errors import (
    BackendError,
    ConfigError,
    DigestMismatchError,
    LayercacheError,
    NotFoundError,
)
from layercache.events import Event, Observers
from layercache.oci.forms import COMPRESSED, Form
from layercache.resolver.identity import resized
from layercache.resolver.upload_queue import UploadQueue
from layercache.streams.readers import check_hash
from layercache.tiers import keys
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.resolver.delivery import Deliveries
    from layercache.resolver.far_writer import FarWriter
    from layercache.resolver.plan import Way
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier
    from layercache.transfer.spool import TierSpool


class WrongEntryError(DigestMismatchError):
    """A tier's entry, or what a mirror gave, is not what its name says. Another try goes another way."""


class TierWriter:
    """Writes into tiers: into the nearest now, into remote ones behind it in the background. Thread-safe."""

    def __init__(
        self, tiers: Sequence[Tier], observers: Observers, changed: Callable[[], object] = lambda: None
    ) -> None:
        self.background = UploadQueue()
        self.changed = changed
        """Called after something was written or removed nearby."""
        self.wrong: set[tuple[Tier, Hash]] = set()
        """Entries that are not what their names say, in tiers where they are not ours to remove."""
        self.refuted: set[tuple[Digest, DiffID]] = set()
        """Claims that this process found false, wherever they stand."""
        self._tiers = tiers
        self._observers = observers

    # Both have no state of their own, and are imported by those who write.

    @cached_property
    def _deliveries(self) -> Deliveries:
        from layercache.resolver.delivery import Deliveries

        return Deliveries(self.wrong, self.look_again, self.changed_meanwhile)

    @cached_property
    def far(self) -> FarWriter:
        """What writes into remote tiers in the background."""
        from layercache.resolver.far_writer import FarWriter

        return FarWriter(self.background, self._tiers[0], self._report, self._deliveries)

    def store(self, form: Form, *, nearer_than: Tier | None = None) -> Tier | None:
        """The nearest tier that keeps this form, if it is nearer than where the form was found."""
        for tier in self._tiers:
            if tier is nearer_than:
                return None
            if tier.policy.stores(form) and tier.write_failure is None:
                return tier
        return None

    def keep(
        self,
        spool: TierSpool,
        name: Hash,
        form: Form,
        *,
        everywhere: bool,
        layer: Digest | None,
        plain: bool = False,
        new: bool = False,
    ) -> list[Tier]:
        """Publish what a spool holds: in the nearest tier that keeps this form, or in every one.

        Those where it is, or will be in a while: remote ones behind the first are filled in the background,
        with all that concerns this ``layer`` in order. ``plain``: as its digest and its diff ID are the same,
        a tier may keep it recompressed. ``new``: the tier of the spool was just seen to lack the blob.
        """
        kept: list[Tier] = []
        size = spool.size
        near: Tier | None = None  # where the blob is under its own name
        for tier in self._tiers:
            if not tier.policy.stores(form) or tier.write_failure is not None or not tier.blobs.fits(size):
                continue
            if kept and not everywhere:
                break
            stored = Event("stored", name, form, tier.name, size=size)
            recompressed = plain and tier.policy.recompress is not None
            try:
                if near and tier.remote:
                    self.far.upload(tier, near, stored, layer, recompressed=recompressed)
                elif done := self._place(tier, spool, stored, recompressed=recompressed, new=new):
                    self.wrong.discard((tier, name))
                    self.changed()
                    self._report(tier, done)
            except BackendError as error:
                tier.mark_failed(error, writing=True)
            else:
                kept.append(tier)
                near = near if near or recompressed else tier
        return kept

    def _place(
        self, tier: Tier, spool: TierSpool, stored: Event, *, recompressed: bool, new: bool
    ) -> Event | None:
        """Publish what a spool holds in a tier; return the event of what was stored, None if it is there."""
        name = stored.name
        assert name is not None, "a blob has a name"
        again = spool.reader
        if tier is not spool.tier or recompressed:
            return self._deliveries.deliver(
                tier, stored, again(), spool.tier, again, recompressed=recompressed
            )
        wrong = (tier, name) in self.wrong
        if not wrong and not new:
            created = tier.blobs.create(name, again(), stored.size)
            if created:
                return stored
            if created is False and not tier.policy.trusted:
                return None
        if (wrong or not new) and self._deliveries.has(tier, name, stored.form, stored.size):
            return None
        spool.publish(name)
        return stored

    def expect(self, fact: Association) -> None:
        """Announce a fact that is recorded once its blob was kept: see `FactStore.expect`."""
        for tier in self._tiers:
            if tier.remote:
                tier.facts.expect(fact)

    def record(self, fact: Association, kept: Iterable[Tier] = ()) -> None:
        """Write a fact down where its blob was kept, and in the nearest tier that can be written to."""
        for number, tier in enumerate(dict.fromkeys([*self.writable()[:1], *kept])):
            # What such a nearest tier calls computed is a claim to us, and is computed once more each time.
            if number or tier.policy.trusted or fact not in tier.facts.inflates_to(fact.digest):
                self._record(tier, fact, soon=bool(number))

    def claim(self, fact: Association, kept: Iterable[Tier]) -> Association | None:
        """Write down what the asker says of a blob, where it is kept, unless more is known on this machine.

        Returns what was known there of this pair, if anything: the computed fact, else a claim. A remote tier
        is not asked first: a record in which more is known is not changed by a claim.
        """
        nearest, kept = self._tiers[0], list(kept)
        known_here = {
            tier: tier.facts.inflates_to(fact.digest)
            for tier in self._tiers
            if not tier.remote and (tier.policy.trusted or (tier is nearest and tier in kept))
        }
        claimed: Association | None = None
        for tier, other in ((tier, other) for tier, found in known_here.items() for other in found):
            if other.computed and tier.policy.trusted:
                return other if other.diff_id == fact.diff_id else None
            if other.diff_id == fact.diff_id and claimed is None:
                claimed = replace(other, computed=False, counted=tier.policy.trusted)
        for tier in kept:
            if all(other.diff_id != fact.diff_id for other in known_here.get(tier, ())):
                self._record(tier, replace(fact, computed=False), soon=tier is not nearest)
        return claimed

    def refute(self, claim: Association) -> None:
        """Remove a claim that turned out to be false, where it can be; elsewhere it is not followed again."""
        self.refuted.add((claim.digest, claim.diff_id))
        for number, tier in enumerate(self.writable()):
            if number and tier.remote:
                self.background.add(partial(tier.facts.refute, claim), about=claim.digest)
            else:
                tier.facts.refute(claim)
                self.changed()

    def look_again(self, tier: Tier, name: Hash, form: Form) -> WrongEntryError | None:
        """Hash an entry of which something wrong was made; None where it is right."""
        from layercache.streams.hashing import hash_of

        try:
            with tier.blobs.open(name) as reader:
                found = hash_of(reader, name.algorithm)
        except (NotFoundError, BackendError) as error:
            return WrongEntryError(
                f"{name} could not be read again: {error.message}", looked_in=[tier.name], hint="try again"
            )
        return None if found == name else self.pass_over(tier, name, form, f"its bytes hash to {found}")

    def check(self, way: Way, size: int | None, found: Hash, seen: int) -> None:
        """Judge an entry of a tier by its hash, and by its size in bytes. A wrong one is put out of the way.

        Raises `WrongEntryError`.
        """
        assert way.tier is not None, "a source has no entries"
        try:
            check_hash(way.name, size, found, seen)
        except DigestMismatchError as error:
            if way.inside is not None:
                raise self.refuse(way.tier, way.inside.fact, error.message) from error
            raise self.pass_over(way.tier, way.name, way.form, error.message) from error

    def refuse(self, tier: Tier, fact: Association, why: str) -> WrongEntryError:
        """Another tar came out of a blob than a fact says: either is wrong, and the blob is not read again.

        In a tier of ours the hash shows which of them it is.
        """
        if not tier.policy.trusted:
            return self.pass_over(tier, fact.digest, COMPRESSED, why)
        if wrong := self.look_again(tier, fact.digest, COMPRESSED):
            return wrong
        self.recant(fact)
        self.wrong.add((tier, fact.digest))
        return WrongEntryError(why, looked_in=[tier.name])

    def correct(self, facts: Iterable[Association], name: Hash, form: Form, size: int) -> None:
        """Replace facts of ours that state another size for a blob that is right; report it."""
        for tier in self._tiers:
            if tier.policy.trusted and not tier.policy.readonly:
                for fact in facts:
                    self._correct(tier, fact, name, form, size)
        note = f"it has {size} bytes, which is not what a fact says of it"
        self._observers.emit(Event("mislabelled", name, form, "", note=note))

    def _correct(self, tier: Tier, fact: Association, name: Hash, form: Form, size: int) -> None:
        # Each fact stands there twice, and either may be the one that rotted.
        for each in (
            *tier.facts.inflates_to(fact.digest, claims=True),
            *tier.facts.made_from(fact.diff_id, claims=True),
        ):
            right = resized(each, name, form, size)
            if right != each:
                self._record(tier, right, soon=False)

    def recant(self, fact: Association) -> None:
        """Remove a fact of ours that is false."""
        note = f"it does not inflate to {fact.diff_id}, as a fact says"
        self._observers.emit(Event("mislabelled", fact.digest, COMPRESSED, "", note=note))
        for tier in self._tiers:
            if tier.policy.trusted and not tier.policy.readonly:
                tier.facts.forget(fact)
                self.changed()

    def is_half(self, fact: Association) -> bool:
        """Whether a computed fact stands under the digest alone: a bit of it rotted, or it was cut off."""
        trusted = [tier for tier in self._tiers if tier.policy.trusted]
        by_diff_id = [
            each for tier in trusted for each in tier.facts.made_from(fact.diff_id) if each.computed
        ]
        return all(each.digest != fact.digest for each in by_diff_id)

    def changed_meanwhile(self, tier: Tier, name: Hash, form: Form) -> WrongEntryError:
        """An entry was found right and published, and somebody changed it while it was read."""
        return self.look_again(tier, name, form) or WrongEntryError(
            f"{name} was changed by another program while it was read",
            looked_in=[tier.name],
            hint="try again; if that happens more often, find out what writes there",
        )

    def pass_over(self, tier: Tier, name: Hash, form: Form, why: str) -> WrongEntryError:
        """Do not read this entry again: quarantine it where it is ours alone, else remember it."""
        self._observers.emit(Event("failed", name, form, tier.name, note=why))
        if tier.policy.trusted and not tier.policy.readonly:
            tier.blobs.put_aside(name)
            self.changed()
        if not tier.policy.trusted or tier.policy.readonly or tier.blobs.has(name):
            self.wrong.add((tier, name))
        return WrongEntryError(
            f"the entry {name} is wrong: {why}",
            looked_in=[tier.name],
            hint="it was quarantined: another try reads it from elsewhere",
        )

    def check_size(self, form: Form, size: int | None) -> None:
        """Raise `ConfigError` if a blob of this size exceeds the limit of every tier that keeps the form."""
        if size is not None and not any(
            tier.policy.stores(form) and tier.blobs.fits(size) for tier in self._tiers
        ):
            raise self.kept_nowhere(form, size=size)

    def kept_nowhere(self, form: Form | None = None, *, size: int | None = None) -> LayercacheError:
        """Why no tier keeps a form, or any: since one failed that would, since a blob of ``size`` bytes is
        larger than its limit, or since none is meant to.
        """
        for tier in self._tiers:
            meant = tier.policy.stores(form) if form else not tier.policy.readonly
            if meant and (failure := tier.write_failure) is not None:
                return failure
            if meant and size is not None and not tier.blobs.fits(size):
                return ConfigError(
                    f"{size} bytes exceed the limit of {tier.name}: max_size={tier.policy.max_size}",
                    hint="raise max_size of the tier",
                )
        return ConfigError(
            f"no tier keeps the {form} form of layers" if form else "no tier would keep this blob",
            looked_in=[tier.name for tier in self._tiers],
            hint=f"give one {f'keep={form} or ' if form else ''}keep=both, and not readonly",
        )

    def writable(self) -> list[Tier]:
        return [tier for tier in self._tiers if not tier.policy.readonly]

    def _record(self, tier: Tier, fact: Association, *, soon: bool) -> None:
        if soon and tier.remote:
            self.far.soon(tier, keys.record(fact.digest), partial(tier.facts.record, fact), fact.digest)
        else:
            tier.facts.record(fact)
            self.changed()

    def _report(self, tier: Tier, stored: Event) -> None:
        if tier.lost:
            tier.mark_answered(writing=True)
        self._observers.emit(stored)
