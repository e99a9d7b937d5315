"""The facts of a tier: questions to its records, and changes of them. One for all kinds of tiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers.on_failure import or_answer, or_drop, or_raise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy
    from layercache.tiers.record import Record


class RecordStore(ABC):
    """The records of one store. Every method may raise `BackendError`, and is thread-safe."""

    @abstractmethod
    def read(self, name: Hash) -> Record:
        """The record of a name: one request. Empty where there is none, or a torn one."""

    @abstractmethod
    def change(self, name: Hash, change: Callable[[Record], Record]) -> None:
        """Replace a record by a changed one, also while others change it: then ``change`` is called again.

        Nothing is written if it stays as it was.
        """

    def add(self, name: Hash, fact: Association) -> None:
        """Write a fact about a name into its record."""
        self.change(name, lambda record: record.with_fact(fact))

    def expect(self, fact: Association) -> None:  # noqa: B027  # most stores have no use for it
        """A fact about a blob that comes soon will be recorded: it may be written together with the blob."""

    @abstractmethod
    def written(self) -> Iterator[tuple[Record, float]]:
        """Every record, and when it was written (seconds since the epoch; 0: not stated); in any order."""

    def of_digests(self) -> Iterator[Record]:
        """Every record with a fact about its name as a digest, and perhaps others, in any order."""
        return (record for record, _ in self.written())

    @abstractmethod
    def names(self) -> Iterator[Hash]:
        """Every name of which there is a record, out of the listing alone where that has it."""

    def close(self) -> None:
        """Let threads end. Closing twice is not an error."""
        return


class FactStore:
    """Associations: which blob inflates to which tar, computed or claimed.

    Every method may raise `BackendError`, and is thread-safe. No fact implies that a blob is there. Each
    stands in two records, that of its digest and that of its diff ID.
    """

    def __init__(self, records: RecordStore, policy: Policy) -> None:
        self.records = records
        self._policy = policy

    @or_answer(lambda: ([], []))
    def about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        """The facts about a name as a digest, and as a diff ID.

        Claims only if nothing is computed, or the tier is not trusted: then that is no more than a claim.
        """
        facts = _chosen(self.records.read(name).facts, claims=not self._policy.trusted)
        return [fact for fact in facts if fact.digest == name], [
            fact for fact in facts if fact.diff_id == name
        ]

    @or_answer(list)
    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        """The facts about a blob: the computed ones; where there are none, or if asked, claims."""
        return _chosen(self.records.read(digest).as_digest, claims=claims)

    @or_answer(bool)
    def has_computed(self, digest: Digest) -> bool:
        """Whether it is computed what a blob inflates to."""
        return any(fact.computed for fact in self.inflates_to(digest))

    @or_answer(list)
    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        """The blobs that inflate to a tar: computed; where there are none, or if asked, claimed."""
        return _chosen(self.records.read(diff_id).as_diff_id, claims=claims)

    @or_answer(lambda: None)
    def get(self, digest: Digest, diff_id: DiffID, *, computed: bool) -> Association | None:
        """The fact about just this pair, of this kind; None where there is none."""
        for fact in self.records.read(digest).as_digest:
            if (fact.diff_id, fact.computed) == (diff_id, computed):
                return fact
        return None

    @or_drop
    def record(self, fact: Association) -> None:
        """Write a fact under both names, unless the tier is read-only.

        By diff ID first: a fact that is found by digest can then be found the other way, too.
        """
        if not self._policy.readonly:
            for name in _names_of(fact):
                self.records.add(name, fact)

    @or_drop
    def expect(self, fact: Association) -> None:
        """Announce a fact that will be recorded as soon as its blob is there. This costs no request.

        A store that writes something of its own for each blob writes the fact along.
        """
        if not self._policy.readonly:
            self.records.expect(fact)

    @or_drop
    def forget(self, fact: Association) -> None:
        """Remove a fact; no error if it is not there."""
        for name in _names_of(fact):
            self.records.change(name, lambda record: record.without_fact(fact))

    @or_drop
    def refute(self, fact: Association) -> None:
        """Remove what is said of a pair of names, so that no claim of it comes back."""
        for name in _names_of(fact):
            self.records.change(name, lambda record: record.refuting(fact))

    @or_raise
    def scan(self) -> Iterator[Association]:
        """Every fact, computed and claimed, lazily, in any order.

        Those that are recorded under the digest, which is done last.
        """
        return (
            fact
            for record in self.records.of_digests()
            for fact in record.facts
            if fact.digest == record.name
        )

    @or_raise
    def written(self) -> Iterator[tuple[Association, float]]:
        """Every fact, and when its record was written (seconds since the epoch; 0: not stated)."""
        for record, written in self.records.written():
            for fact in record.as_digest:
                yield fact, written

    @or_raise
    def names(self) -> Iterator[Hash]:
        """Every name about which something may be known, out of the listing alone where that has it."""
        return self.records.names()


def _chosen(facts: Iterable[Association], *, claims: bool) -> list[Association]:
    """Computed facts; where there are none, or if asked, claims too. Computed ones come first."""
    found = list(facts)
    return (
        found if claims or not found or not found[0].computed else [each for each in found if each.computed]
    )


def _names_of(fact: Association) -> list[Hash]:
    return list(dict.fromkeys([Hash(fact.diff_id), Hash(fact.digest)]))
