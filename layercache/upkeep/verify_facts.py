"""Verifies a record: whether it is complete, and whether the blobs contradict its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    NotALayerError,
    NotFoundError,
)
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.oci.digest import Hash
from layercache.streams.hashing import chunks, hash_chunks, hash_of
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits
from layercache.streams.readers import HEAD, HeadReader, layer_compression, read_bounded, sniff_layer
from layercache.tiers import keys
from layercache.tiers.record import Record
from layercache.upkeep.quarantine import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.association import Association
    from layercache.tiers.backend.tier import BackendTier


def wrong_facts(tier: BackendTier, key: str, *, deep: bool) -> dict[str, Problem]:
    """Return the problems of the record with this key, and of other records of the same facts: by key.

    A claim only repeats an image, so it must only be well formed. A computed fact must match the sizes of the
    blob and tar in this tier, and the blob's first bytes. If two computed facts contradict each other, or
    with ``deep``, the blob is inflated to find out. A blob that is wrong itself does not make a fact wrong.
    Raises `NotFoundError` if the record is gone, `BackendError`.
    """
    if (name := keys.record_name(key)) is None:
        return {}
    try:
        with tier.backend.open(key) as reader:
            data = read_bounded(reader, SMALL_OBJECT, "the record")
        record = Record.decode(data, name) if data else Record(name)
    except FormatError as error:
        return {key: Problem(error.message)}
    problems: dict[str, Problem] = {}
    for fact in record.facts:
        for suspect, text in _suspects(tier, name, fact, deep=deep) if fact.computed else ():
            for other in dict.fromkeys((name, Hash(suspect.digest), Hash(suspect.diff_id))):
                if suspect in tier.facts.records.read(other).facts:
                    there = problems.get(keys.record(other), Problem(text))
                    problems[keys.record(other)] = Problem(there.text, (*there.facts, suspect))
    return problems


def _suspects(
    tier: BackendTier, name: Hash, fact: Association, *, deep: bool
) -> Iterator[tuple[Association, str]]:
    """The facts about a blob that are wrong, and what is wrong with them."""
    if problem := _misfit(tier, fact):
        yield fact, problem
        return
    answer = _answer(tier, fact)
    if answer is not None and answer.diff_id == fact.diff_id and name != fact.digest:
        return  # the record of the digest says so too, and is looked at itself
    contradicted = answer is not None and answer.diff_id != fact.diff_id
    for suspect in (fact, answer) if contradicted else (fact,) if deep else ():
        if suspect and (problem := _refuted(tier, suspect)):
            yield suspect, problem


def _answer(tier: BackendTier, fact: Association) -> Association | None:
    """The fact that a look-up of the blob finds, if its diff ID has the same algorithm."""
    for answer in tier.facts.inflates_to(fact.digest):
        if answer.computed and answer.diff_id.algorithm == fact.diff_id.algorithm:
            return answer
    return None


def _misfit(tier: BackendTier, fact: Association) -> str:
    """How a sound blob or tar in this tier contradicts the fact; empty if none does."""
    for name, stated in ((fact.digest, fact.size), (fact.diff_id, fact.uncompressed_size)):
        size = _size(tier, name)
        if size is not None and stated is not None and size != stated and _is_right(tier, name):
            return f"it says that {name} has {stated} bytes, but it has {size}"
    if fact.digest.algorithm == fact.diff_id.algorithm:
        compression = _compression(tier, fact.digest)
        plain = compression == NO_COMPRESSION
        if compression and plain != (str(fact.digest) == fact.diff_id) and _is_right(tier, fact.digest):
            return (
                f"it says that {fact.digest} inflates to {fact.diff_id}, but its compression is {compression}"
            )
    return ""


def _refuted(tier: BackendTier, fact: Association) -> str:
    """What the blob really inflates to, if that is not what the fact says."""
    try:
        found, size = _inflated(tier, fact.digest, fact.diff_id)
    except (NotFoundError, LimitError):
        return ""
    except (IntegrityError, NotALayerError) as error:
        return error.message if _is_right(tier, fact.digest) else ""
    if found == fact.diff_id and fact.uncompressed_size in (None, size):
        return ""
    if not _is_right(tier, fact.digest):
        return ""
    stated = "" if fact.uncompressed_size is None else f" of {fact.uncompressed_size} bytes"
    return (
        f"it says that {fact.digest} inflates to {fact.diff_id}{stated}, but it inflates to {found} of {size}"
    )


def _inflated(tier: BackendTier, digest: Digest, diff_id: DiffID) -> tuple[Hash, int]:
    """Raises `NotFoundError`, `IntegrityError`, `NotALayerError`."""
    with HeadReader(tier.backend.open(keys.blob(digest))) as head:
        compression = layer_compression(head.head, digest)
        plain = compression == NO_COMPRESSION
        tar = head if plain else InflatedReader(head, compression, Limits(), digest)
        return hash_chunks(chunks(tar), diff_id.algorithm)


def _compression(tier: BackendTier, digest: Digest) -> str | None:
    try:
        with tier.backend.open(keys.blob(digest), 0, HEAD) as reader:
            return sniff_layer(reader.read())
    except NotFoundError:
        return None


def _size(tier: BackendTier, name: Hash) -> int | None:
    try:
        return tier.blobs.stat(name).size
    except NotFoundError:
        return None


def _is_right(tier: BackendTier, name: Hash) -> bool:
    try:
        with tier.backend.open(keys.blob(name)) as reader:
            return hash_of(reader, name.algorithm) == name
    except NotFoundError:
        return False
