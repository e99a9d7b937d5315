"""Verifies a fact: whether it is complete, and whether the blobs contradict it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import (
    FormatError,
    IntegrityError,
    InvalidNameError,
    LimitError,
    NotALayerError,
    NotFoundError,
)
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.streams.hashing import chunks, hash_chunks, hash_of
from layercache.streams.inflate import InflatedReader, Limits
from layercache.streams.readers import HEAD, HeadReader, layer_compression, read_bounded, sniff_layer
from layercache.tiers import keys
from layercache.tiers.association import Association, NotOfALayerError
from layercache.tiers.backend.facts import keys_of

if TYPE_CHECKING:
    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.tiers.backend.tier import BackendTier


def wrong_facts(tier: BackendTier, key: str, *, deep: bool) -> dict[str, str]:
    """Return the problems of the fact with this key, and of another fact about its blob: by key.

    A claim only repeats an image, so it must only be well formed. A computed fact must match the sizes of the
    blob and tar in this tier, and the blob's first bytes. If two computed facts contradict each other, or
    with ``deep``, the blob is inflated to find out. A blob that is wrong itself does not make a fact wrong.
    Raises `NotFoundError` if the fact is gone, `BackendError`.
    """
    computed = key.startswith(f"{keys.ASSOCIATIONS}{keys.COMPUTED}/")
    try:
        with tier.backend.open(key) as reader:
            data = read_bounded(reader, SMALL_OBJECT, "the fact")
        fact = Association.decode(data, computed=computed)
    except (FormatError, InvalidNameError) as error:
        # Older versions wrote such claims. They are never used, so they are not damage.
        return {} if isinstance(error, NotOfALayerError) and not computed else {key: error.message}
    if key not in keys_of(fact):
        return {key: f"it is about {fact.digest} and {fact.diff_id}, but stored under another name"}
    if not computed:
        return {}
    if problem := _misfit(tier, fact):
        return {key: problem}
    answer = _answer(tier, fact)
    contradicted = answer is not None and answer.diff_id != fact.diff_id
    suspects = [fact, answer] if contradicted else [fact] if deep else []
    problems = {}
    for suspect in suspects:
        if suspect and (problem := _refuted(tier, suspect)):
            by_diff_id, by_digest = keys_of(suspect)
            problems[by_diff_id] = problem
            if answer and answer.diff_id == suspect.diff_id:
                problems[by_digest] = problem
    return problems


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
