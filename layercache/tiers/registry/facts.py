"""Facts in a registry: those about a name are in the record of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.digest import Hash
from layercache.tiers.stores import FactStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy
    from layercache.tiers.registry.connection import Connection


class RegistryFacts(FactStore):
    """One request reads all facts about a name; listings read every record."""

    def __init__(self, at: Connection, policy: Policy) -> None:
        self._at = at
        self._policy = policy

    def about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        found = _chosen(self._read(name), claims=not self._policy.trusted)
        return [each for each in found if each.digest == name], [
            each for each in found if each.diff_id == name
        ]

    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        return _chosen([each for each in self._read(digest) if each.digest == digest], claims=claims)

    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        return _chosen([each for each in self._read(diff_id) if each.diff_id == diff_id], claims=claims)

    def record(self, fact: Association) -> None:
        """By diff ID first: a fact that is found by digest can then be found the other way, too."""
        if not self._policy.readonly:
            with self._at.failing_as_backend():
                for name in _names_of(fact):
                    self._at.records.change(name, lambda record: record.with_fact(fact))

    def forget(self, fact: Association) -> None:
        with self._at.failing_as_backend():
            for name in _names_of(fact):
                self._at.records.change(name, lambda record: record.without_fact(fact))

    def scan(self) -> Iterator[Association]:
        for record in self._at.each(self._at.records.all_names()):
            yield from (fact for fact in record.facts if fact.digest == record.name)

    def _read(self, name: Hash) -> Sequence[Association]:
        with self._at.failing_as_backend():
            return self._at.records.read(name).facts


def _chosen(facts: Sequence[Association], *, claims: bool) -> list[Association]:
    computed = [fact for fact in facts if fact.computed]
    return computed if computed and not claims else computed + [fact for fact in facts if not fact.computed]


def _names_of(fact: Association) -> list[Hash]:
    return list(dict.fromkeys([Hash(fact.diff_id), Hash(fact.digest)]))
