"""A tier: blobs, associations and images in one place, and the policy of what it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from layercache.backend import Entry, Reader
    from layercache.backend.capabilities import Lock, Spool
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy


class Tier(ABC):
    """Typed operations on one place. Every method may raise `BackendError`. Thread-safe.

    ``name``: how messages and statistics call it. ``remote``: its bytes travel; a form that can be made
    nearby is not brought from there, and it is filled in the background. ``failure``: why it is left alone
    just now, ``write_failure``: why nothing is written there (see `ForgivenTier`).

    No fact and no image implies that a blob is there.
    """

    failure: BackendError | None = None
    write_failure: BackendError | None = None

    def __init__(self, name: str, policy: Policy, *, remote: bool) -> None:
        self.name = name
        self.policy = policy
        self.remote = remote

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # Blobs

    @abstractmethod
    def open_blob(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        """Read bytes ``start`` to ``end`` of a blob, as `Backend.open`. This counts as a use of the blob.

        A range cannot be checked by the blob's hash: that is up to the caller.
        """

    @abstractmethod
    def stat_blob(self, name: Hash) -> Entry:
        """A blob's size and time. Raises `NotFoundError`."""

    def has_blob(self, name: Hash) -> bool:
        try:
            self.stat_blob(name)
        except NotFoundError:
            return False
        return True

    def blob_path(self, name: Hash) -> str | None:  # noqa: ARG002
        """Where the blob's file would be; None in a tier whose blobs are no files."""
        return None

    def lock(self, name: Hash, *, timeout: float) -> AbstractContextManager[Lock | None]:  # noqa: ARG002
        """As `Lockable.lock`, for what is done once about a layer; None where nobody can be kept out."""
        return nullcontext()

    def spool(self) -> Spool | None:
        """A place of its own for bytes on their way into it; None where it has none."""
        return None

    def fits(self, size: int) -> bool:  # noqa: ARG002
        """Whether a blob of so many bytes may be kept at all: else it is bigger than the tier may get."""
        return True

    @abstractmethod
    def put_blob(self, name: Hash, data: bytes) -> None:
        """Keep a small blob that was verified, if it fits: a manifest, a config. No error if it is there."""

    def publish_blob(self, name: Hash, spool: Spool, size: int) -> None:  # noqa: ARG002
        """Keep a blob whose verified bytes, so many, stand in this tier's own spool."""
        raise BackendError(f"{self.name} has no spool of its own")

    @abstractmethod
    def copy_blob(self, name: Hash, reader: Reader) -> None:
        """Keep a blob whose bytes were verified by whoever kept them nearby."""

    @abstractmethod
    def delete_blob(self, name: Hash) -> None:
        """Remove a blob; no error if it is not there."""

    def put_aside(self, name: Hash) -> None:
        """Put a wrong blob out of the way: into the quarantine if that only moves it, else remove it."""
        self.delete_blob(name)

    @abstractmethod
    def blobs(self) -> Iterator[tuple[Hash, Entry]]:
        """Every blob, lazily, in any order."""

    # Associations

    @abstractmethod
    def facts_about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        """What is known of a name as a digest, and as a diff ID.

        Claims only if nothing is computed, or the tier is not trusted: then that is no more than a claim.
        """

    @abstractmethod
    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        """What is known of a blob's tar: the one computed fact; where there is none, or if asked, claims."""

    def has_computed(self, digest: Digest) -> bool:
        """Whether it is computed what a blob inflates to."""
        return any(fact.computed for fact in self.inflates_to(digest))

    @abstractmethod
    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        """The blobs that inflate to a tar: computed; where there are none, or if asked, claimed."""

    @abstractmethod
    def record(self, fact: Association) -> None:
        """Write a fact down under both names, unless the tier is read-only."""

    @abstractmethod
    def forget(self, fact: Association) -> None:
        """Remove a fact; no error if it is not there."""

    @abstractmethod
    def associations(self) -> Iterator[Association]:
        """Every fact, computed and claimed, lazily, in any order."""

    def pairs(self, *, computed: bool) -> Iterator[tuple[Digest, DiffID, float]]:
        """The names of every fact, and when it was written (seconds since the epoch; 0: not known).

        In any order; what was listed may turn out to be gone, or torn.
        """
        for fact in self.associations():
            if fact.computed == computed:
                yield fact.digest, fact.diff_id, 0.0

    def recorded(self) -> Iterator[tuple[Digest, DiffID | None]]:
        """Every fact that stands under both of its names: the digest, and of a claim the diff ID too.

        Of what was computed a digest has one.
        """
        for fact in self.associations():
            yield fact.digest, None if fact.computed else fact.diff_id

    def fact(self, digest: Digest, diff_id: DiffID, *, computed: bool) -> Association | None:
        """What is written of just this pair; None where nothing is, or nothing whole."""
        for fact in self.inflates_to(digest, claims=not computed):
            if (fact.diff_id, fact.computed) == (diff_id, computed):
                return fact
        return None

    # Images

    @abstractmethod
    def tag_image(self, key: str, descriptor: Descriptor) -> None:
        """Keep what a reference names. ``key`` is one of `keys.image_tag` or `keys.image_digest`."""

    @abstractmethod
    def image(self, key: str) -> Descriptor:
        """What a reference named when it was last pulled. Raises `NotFoundError`."""

    def image_time(self, key: str) -> float:  # noqa: ARG002
        """When a reference was last found to name what it names (seconds since the epoch); 0: not known.

        Raises `NotFoundError`.
        """
        return 0.0

    @abstractmethod
    def images(self) -> Iterator[tuple[str, Descriptor]]:
        """Every image's key and descriptor, lazily, in any order."""

    @abstractmethod
    def forget_image(self, key: str) -> None:
        """Remove what a reference names; no error if it is not there."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections and handles. Closing twice is no error."""

    def pass_over(self, error: BackendError, *, writing: bool = False) -> NotFoundError:  # noqa: ARG002
        """What to make of a failure where other tiers could serve: here it is raised."""
        raise error
