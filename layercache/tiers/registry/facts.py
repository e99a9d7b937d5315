"""The facts of a registry: each record is in the artefact of its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from layercache.tiers.facts import RecordStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.oci.digest import Hash
    from layercache.tiers.association import Association
    from layercache.tiers.record import Record
    from layercache.tiers.registry.connection import Connection


class RegistryRecords(RecordStore):
    """One request reads a record; listings read every artefact."""

    def __init__(self, at: Connection) -> None:
        self._at = at

    def read(self, name: Hash) -> Record:
        with self._at.failing_as_backend():
            return self._at.records.read(name).record

    def change(self, name: Hash, change: Callable[[Record], Record]) -> None:
        with self._at.failing_as_backend():
            self._at.records.change(name, lambda old: replace(old, record=change(old.record)))

    def add(self, name: Hash, fact: Association) -> None:
        with self._at.failing_as_backend():
            self._at.records.add(name, fact)

    def expect(self, fact: Association) -> None:
        self._at.records.expect(fact)

    def written(self) -> Iterator[tuple[Record, float]]:
        for found in self._at.each(self._at.records.all_names()):
            yield found.record, 0.0

    def names(self) -> Iterator[Hash]:
        for found in self._at.each(self._at.records.all_names()):
            if found.record:
                yield found.name
