"""The quarantine: objects that were found wrong, kept for inspection where no reader finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.backend.capabilities import Movable
from layercache.errors import BackendError
from layercache.streams.hashing import chunks, hash_chunks, hash_of
from layercache.streams.readers import check_whole
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from layercache.backend import Backend
    from layercache.oci.digest import Hash
    from layercache.tiers.association import Association
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.record import Record


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an object; of a record that can be read, which of its ``facts``."""

    text: str
    facts: tuple[Association, ...] = ()


def put_aside(tier: BackendTier, key: str, wrong: Collection[Association] = ()) -> bool:
    """Move an object of a tier to its quarantine, under its own key; False if the tier is read-only.

    A record that says more than what is ``wrong`` is copied there, and keeps the rest. If the store cannot
    move an object, it is copied, and deleted only once the whole copy was read back. An object already in
    quarantine under this key is replaced. Raises `NotFoundError`, `BackendError`.
    """
    if tier.policy.readonly:
        return False
    if (name := keys.blob_name(key)) is not None:
        tier.derived.delete(name)  # it was computed from wrong bytes
    backend, aside = tier.backend, keys.quarantine(key)
    if wrong and (record := keys.record_name(key)) is not None and _rest(tier, record, wrong):
        _copy(backend, key, aside)
        tier.facts.records.change(record, lambda now: _without(now, wrong))
        return True
    if isinstance(backend, Movable):
        backend.move(key, aside)
        return True
    _copy(backend, key, aside)
    backend.delete(key)
    return True


def _rest(tier: BackendTier, name: Hash, wrong: Iterable[Association]) -> bool:
    return bool(_without(tier.facts.records.read(name), wrong))


def _without(record: Record, wrong: Iterable[Association]) -> Record:
    for fact in wrong:
        record = record.without_fact(fact)
    return record


def _copy(backend: Backend, key: str, aside: str) -> None:
    with backend.open(key) as reader, backend.create(aside) as sink:
        found, size = hash_chunks(chunks(reader), "sha256", sink.write)
        check_whole(reader.size, size)
        sink.commit()
    with backend.open(aside) as copy:
        if copy.size != size or hash_of(copy, found.algorithm) != found:
            raise BackendError(f"{backend.url}: {aside} is not what was written there; {key} stays")
