"""The core: given a layer and a form, find the cheapest way to the bytes and go it.

The ways, in order of cost: a transfer of the same bytes that is on its way already; then, tier by tier from
near to far, the form itself, and for a tar the compressed blob that inflates to it; then the layer's
origin. What comes from afar or is inflated is kept by the nearest tier that keeps it, in the same pass.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, LayercacheError, NotFoundError
from layercache.events import Event, Observers
from layercache.oci.digest import Digest, Hash
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver import lookup
from layercache.resolver.claims import Claims
from layercache.resolver.confirmation import ClaimedReader
from layercache.resolver.fetch import Fetcher
from layercache.resolver.healing import healing
from layercache.resolver.tier_writer import TierWriter, WrongEntryError
from layercache.sources.origin import Rejectable
from layercache.streams.readers import HashedReader, StatedSizeError, check_hash, check_size
from layercache.tiers.failover import FailoverReader
from layercache.transfer.follower import read_through
from layercache.transfer.layer_lock import LayerLock, LayerLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.resolver.identity import LayerIdentity
    from layercache.streams.inflate import Limits
    from layercache.tiers.failover import Replica
    from layercache.tiers.tier import Tier


class Resolver:
    """Opens layers out of tiers and origins, and keeps what it had to fetch or make. Thread-safe."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        observers: Observers,
        limits: Limits,
        *,
        verify_always: bool = False,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.keeper = TierWriter(tiers, observers, changed)
        self.passes = Fetcher(self.keeper, observers, limits, verify_always=verify_always)
        self._claims = Claims(tiers, self.passes, observers)
        self._leads = LayerLocks()
        self._tiers = tiers
        self._observers = observers
        self._verify_always = verify_always
        # Nearest tiers, whose bytes nobody keeps on their way: all that need no second look, else the first.
        believed = tuple(takewhile(lambda tier: tier.policy.trusted, tiers))
        self._at_hand = () if verify_always else believed or tuple(tiers[:1])

    def open(self, known: LayerIdentity, form: Form) -> Reader:
        """The form's bytes, from the cheapest way.

        Raises `NotFoundError` where no way leads to them, `NotALayerError` for the tar of what is none,
        `FormatError` where bytes and media type contradict each other, `BackendError`, `SourceError`.
        Reading raises `DigestMismatchError`, `FormatError` or `LimitError` before the end.
        """
        return healing(self._way(known, form))

    def _way(self, known: LayerIdentity, form: Form) -> Callable[[], Reader]:
        """Opens the form; anew as if nothing had been learnt from an entry that turned out to be wrong."""
        sizes = known.size, known.uncompressed_size

        def way() -> Reader:
            known.size, known.uncompressed_size = sizes
            if not known.claimed_digests():
                return self._open(known, form)
            return self._warm(known, form) or self._claims.follow(known, partial(self._open, known, form))

        return way

    def _open(self, known: LayerIdentity, form: Form) -> Reader:
        self._ask_what_was_computed(known, form)
        return self._warm(known, form) or self._bring(known, form)

    def _ask_what_was_computed(self, known: LayerIdentity, form: Form) -> None:
        """An image's config may lie: what we found ourselves is asked before a claim is followed."""
        claimed = (form == UNCOMPRESSED or known.asked) and known.diff_id is not None and not known.computed
        if claimed and known.digest and (fact := lookup.computed(self._tiers, known.digest)):
            if fact.diff_id != known.diff_id and self.keeper.is_half(fact):
                self.keeper.recant(fact)
            else:
                known.learn(fact)

    def _bring(self, known: LayerIdentity, form: Form) -> Reader:
        """The form's bytes, by one at a time in this process, and on this disk."""
        anchor = known.digest or known.diff_id
        if anchor is None:
            raise ValueError("a layer without a name")
        with self.passes.running.starting(anchor):
            if follower := self._join(known, form):
                return follower
            lead = self._take_lead(anchor, form)
            try:
                # Who led before may have brought it, and computed what it is.
                if known.claimed_digests():
                    self._ask_what_was_computed(known, form)
                reader = self._warm(known, form) or self._go(known, form)
                if lead and (running := self.passes.running.last(anchor)):
                    running.transfer.led_by(lead)
                    lead = None
            finally:
                if lead:
                    lead.end()
            return reader

    def _take_lead(self, anchor: Hash, form: Form) -> LayerLock | None:
        """Wait for who brings this layer to the disk in another process, then do it ourselves."""
        tier = self.keeper.store(form) or self.keeper.store(COMPRESSED)
        return self._leads.take(tier, anchor) if tier else None

    def _go(self, known: LayerIdentity, form: Form) -> Reader:
        """By a way that `_warm` does not know."""
        return self._compressed(known) if form == COMPRESSED else self._uncompressed(known)

    def _join(self, known: LayerIdentity, form: Form) -> Reader | None:
        """Read along with a transfer of this form, or inflate what one of the other brings."""
        names = known.names(form)
        for name in names if form == COMPRESSED else (*names, known.digest):
            if name and (follower := self.passes.join(known, name, form)):
                return follower
        for digest in known.claimed_digests() if form == COMPRESSED else ():
            if follower := self.passes.join(known, digest, COMPRESSED):
                return self._claims.confirmed(known, digest, follower)
        for digest in known.digests() if form == UNCOMPRESSED else ():
            if follower := self.passes.join(known, digest, COMPRESSED):
                joined = self.passes.running.get(digest, COMPRESSED)
                from_origin = joined is not None and joined.from_origin
                return self.passes.inflate(known, digest, follower, from_origin=from_origin)
        return None

    def fill(self, known: LayerIdentity, form: Form) -> None:
        """See to it that a tier has the form. Raises `ConfigError` where none keeps it; else as `open`."""
        while store := self.keeper.store(form):
            if not self._verify_always and self._is_in(store, known, form):
                self.keeper.claim(known, [store])
                return
            sizes = known.size, known.uncompressed_size
            known.claimed = False
            with suppress(WrongEntryError), self._brought(known, form) as reader:  # a wrong entry is met once
                reader.run() if isinstance(reader, ClaimedReader) else read_through(reader)
                if store.write_failure is None:
                    if not known.claimed:  # who joined another's transfer may know more than he does
                        self.keeper.claim(known, [store])
                    return
            known.size, known.uncompressed_size = sizes
        raise self.keeper.kept_nowhere(form)

    def _brought(self, known: LayerIdentity, form: Form) -> Reader:
        if known.claimed_digests():
            return self._way(known, form)()
        self._ask_what_was_computed(known, form)
        return self._bring(known, form)

    def _is_in(self, tier: Tier, known: LayerIdentity, form: Form) -> bool:
        for name in known.names(form):
            if reader := self._open_in(tier, known, name, form):
                self._hit(tier, name, form, reader).close()
                return True
        return False

    def path(self, known: LayerIdentity, form: Form) -> str | None:
        """The file in which a trusted tier has the form."""
        for tier in self._tiers:
            for name in known.names(form) if tier.policy.trusted else ():
                path = tier.blobs.path(name)
                if path is None or not (reader := self._open_in(tier, known, name, form)):
                    continue
                self._hit(tier, name, form, reader).close()
                if not self._verify_always or self.keeper.look_again(tier, name, form) is None:
                    return path
        return None

    def doubt(self, known: LayerIdentity, form: Form) -> bool:
        """A reader found this form wrong: hash what trusted tiers have of it; whether any was put aside."""
        entries = [(tier, name) for tier in self._tiers if tier.policy.trusted for name in known.names(form)]
        there = [(tier, name) for tier, name in entries if (tier, name) not in self.keeper.wrong]
        found = [self.keeper.look_again(*each, form) for each in there if each[0].blobs.has(each[1])]
        return any(found)

    def close(self) -> None:
        """Give up what is on its way."""
        self.passes.running.cancel(seconds=5)

    def _warm(self, known: LayerIdentity, form: Form) -> Reader | None:
        """The form out of a tier that is at hand: no more than an `open`."""
        for tier in self._at_hand:
            for name in known.names(form):
                if reader := self._open_in(tier, known, name, form):
                    return self._deliver(tier, known, name, form, reader)
        return None

    def _compressed(self, known: LayerIdentity) -> Reader:
        for tier in self._tiers[len(self._at_hand) :]:
            for name in known.names(COMPRESSED):
                if reader := self._open_in(tier, known, name, COMPRESSED):
                    return self._deliver(tier, known, name, COMPRESSED, reader)
        for tier in self._tiers:
            for digest in known.claimed_digests():
                if reader := self._open_in(tier, known, digest, COMPRESSED):
                    reader = self._deliver(
                        tier, known, digest, COMPRESSED, reader, inflating=True, twice=True
                    )
                    return self._claims.confirmed(known, digest, reader, tier)
        return self._fetch(known, COMPRESSED)

    def _uncompressed(self, known: LayerIdentity) -> Reader:
        for tier in self._tiers:
            for form in _forms_of_a_tar(tier):
                if form == UNCOMPRESSED and tier in self._at_hand:
                    continue  # looked at
                for name in known.digests() if form == COMPRESSED else known.names(form):
                    if reader := self._open_in(tier, known, name, form):
                        if form == UNCOMPRESSED:
                            return self._deliver(tier, known, name, form, reader)
                        reader = self._deliver(tier, known, name, form, reader, inflating=True)
                        return self.passes.inflate(known, Digest(name), reader, tier=tier)
        reader = self._fetch(known, UNCOMPRESSED)
        assert known.digest, "what was fetched has a digest"
        return self.passes.inflate(known, known.digest, reader, from_origin=True)

    def _fetch(self, known: LayerIdentity, form: Form) -> Reader:
        digest, origin = known.digest, known.origin
        if digest is None or origin is None:
            raise self._no_way(known, form)
        reader = origin.open(0)

        def check(found: Hash, seen: int) -> None:
            try:
                check_hash(digest, known.size, found, seen)
            except StatedSizeError:
                raise
            except DigestMismatchError as error:
                if isinstance(reader, Rejectable) and reader.refute(error):
                    hint = "it came from a mirror: another try takes it from elsewhere"
                    raise WrongEntryError(error.message, looked_in=[origin.name], hint=hint) from error
                raise

        return self.passes.bring(
            known,
            digest,
            COMPRESSED,
            reader,
            check,
            where=origin.name,
            inflating=form == UNCOMPRESSED,
        )

    def _no_way(self, known: LayerIdentity, form: Form) -> LayercacheError:
        other = UNCOMPRESSED if form == COMPRESSED else COMPRESSED
        there = [name for name in known.names(other) if any(tier.blobs.has(name) for tier in self._tiers)]
        if form == COMPRESSED and there and not any(tier.failure for tier in self._tiers):
            return NotFoundError(
                f"the compressed form of {there[0]} is not cached, only its tar is",
                looked_in=[tier.name for tier in self._tiers],
                hint="its bytes cannot be made from the tar: pull its image (layercache pull IMAGE)",
            )
        return lookup.not_found(self._tiers, f"{known.digest or known.diff_id} is not cached")

    def _open_in(self, tier: Tier, known: LayerIdentity, name: Hash, form: Form) -> Reader | None:
        """The blob in this tier, if it is there and has the right size."""
        if (tier, name) in self.keeper.wrong:
            return None
        try:
            reader = tier.blobs.open(name)
        except NotFoundError:
            return None
        if form == COMPRESSED:
            known.choose(Digest(name))
        wanted = known.size if form == COMPRESSED else known.uncompressed_size
        if wanted not in (None, reader.size):
            try:
                taken = self._is_taken(tier, known, name, form, reader.size or 0)
            except BaseException:
                reader.close()
                raise
            if not taken:
                reader.close()
                return None
        if wanted is None and tier.policy.trusted and not self._verify_always:
            reader = self._hashed(tier, name, form, reader)  # nothing is known that it could be checked by
        if form == COMPRESSED:
            known.size = reader.size
        else:
            known.uncompressed_size = reader.size
        return reader

    def _is_taken(self, tier: Tier, known: LayerIdentity, name: Hash, form: Form, size: int) -> bool:
        """Whether to take an entry of another size than is known: the hash decides, not the size.

        What is at hand is hashed now. What is far is hashed while it is read, unless the asker states a size.
        Raises `StatedSizeError` where the entry is right, and the size that was stated is not.
        """
        stated = known.stated_size if form == COMPRESSED else None
        if tier.policy.trusted:
            if self.keeper.look_again(tier, name, form):
                return False
            check_size(name, stated, size)
            self.keeper.correct(known, name, form, size)
        elif stated not in (None, size):
            note = f"it has {size} bytes instead of the {stated} that are stated for it"
            self._observers.emit(Event("failed", name, form, tier.name, note=note))
            return False
        return True

    def _hit(self, tier: Tier, name: Hash, form: Form, reader: Reader) -> Reader:
        self._observers.emit(Event("hit", name, form, tier.name, size=reader.size or 0))
        return reader

    def _deliver(
        self,
        tier: Tier,
        known: LayerIdentity,
        name: Hash,
        form: Form,
        reader: Reader,
        *,
        inflating: bool = False,
        twice: bool = False,
    ) -> Reader:
        """A blob out of a tier: as it is, hashed as it passes, or kept by a nearer tier as it passes.

        ``twice``: it is read by two; what comes from afar is spooled then, if no tier keeps it.
        """
        if not tier.policy.trusted:
            reader = FailoverReader(tier, reader, self._ways_on(tier, known, name, form))
        spooled = twice and tier.remote
        if spooled or (not tier.policy.trusted and self.keeper.store(form, nearer_than=tier)):
            return self.passes.bring(
                known,
                name,
                form,
                reader,
                self._check(tier, name, form, reader.size),
                where=tier.name,
                tier=tier,
                inflating=inflating,
                spooled_for=tier if spooled else None,
            )
        self._hit(tier, name, form, reader)
        believed = tier.policy.trusted and not self._verify_always
        # A fact is computed only where both sides were hashed in the same pass.
        if isinstance(reader, HashedReader) or (believed and (known.computed or not inflating)):
            return reader
        return self._hashed(tier, name, form, reader)

    def _ways_on(self, tier: Tier, known: LayerIdentity, name: Hash, form: Form) -> Iterator[Replica]:
        """The ways to the same bytes behind a tier."""
        for other in self._tiers[self._tiers.index(tier) + 1 :]:
            if form in _forms_of_a_tar(other) and (other, name) not in self.keeper.wrong:
                yield other, partial(other.blobs.open, name)
        if known.origin and form == COMPRESSED and name == known.digest:
            yield None, known.origin.open

    def _hashed(self, tier: Tier, name: Hash, form: Form, reader: Reader) -> HashedReader:
        check = self._check(tier, name, form, reader.size)
        return HashedReader(reader, check, algorithm=name.algorithm, size=reader.size)

    def _check(self, tier: Tier, name: Hash, form: Form, size: int | None) -> Callable[[Hash, int], None]:
        """Judge a tier's entry by its hash; a wrong one is put out of the way."""

        def check(found: Hash, seen: int) -> None:
            try:
                check_hash(name, size, found, seen)
            except DigestMismatchError as error:
                raise self.keeper.pass_over(tier, name, form, error.message) from error

        return check


def _forms_of_a_tar(tier: Tier) -> tuple[Form, ...]:
    """The forms to look for, the cheapest first: to inflate here costs less than to bring a tar from afar."""
    if tier.policy.keep == COMPRESSED:
        return (COMPRESSED,)
    return (COMPRESSED, UNCOMPRESSED) if tier.remote else (UNCOMPRESSED, COMPRESSED)
