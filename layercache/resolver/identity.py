"""The names and sizes of a layer, as far as they are known: values that are replaced, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import field

from layercache.errors import DigestMismatchError
from layercache.oci.descriptor import OCTETS, compression_of, is_layer
from layercache.oci.forms import COMPRESSED
from layercache.tiers.association import Association
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.oci.forms import Form
    from layercache.statistics.counters import Saved


class Outcome(Value, frozen=True):
    """What one pass over a blob found out, by hashing and counting: ``digest`` has ``size`` bytes.

    ``diff_id`` and ``tar_size`` are those of the tar inside; None where the pass did not inflate the blob.
    ``media_type`` says how the blob is compressed. ``size`` is None where only the tar was counted.
    """

    digest: Digest
    size: int | None = None
    diff_id: DiffID | None = None
    tar_size: int | None = None
    media_type: str = OCTETS

    @classmethod
    def recorded(cls, fact: Association) -> Outcome:
        """The outcome of an earlier pass, of which a tier that is trusted has the computed fact."""
        return cls(
            fact.digest,
            fact.size if fact.counted else None,
            fact.diff_id,
            fact.uncompressed_size,
            fact.media_type,
        )

    @property
    def computed(self) -> bool:
        """Whether digest and diff ID were hashed in the same pass."""
        return self.diff_id is not None

    @property
    def fact(self) -> Association | None:
        """The computed fact to write down; None where the pass did not see both sides."""
        if self.diff_id is None or self.size is None:
            return None
        return Association(
            self.digest, self.diff_id, self.size, self.media_type, self.tar_size, computed=True
        )


class LayerIdentity(Value, frozen=True):
    """What is known about a layer at one moment. `LayerState` holds the current one.

    ``digest`` is the compressed blob that is meant, the nearest of the ``alternatives`` that share the tar.
    ``computed``: digest and diff ID were hashed in the same pass; else the diff ID is a claim. What only a
    claim says is in ``claim``, to show and to pass on. It is never a reason to refuse bytes or to accept
    them: ``size``, ``uncompressed_size`` and ``media_type`` are what the asker states or what was counted.
    ``asked``: the name that the asker gave where it is a diff ID, or may be one. Then a compressed blob of
    another name is given only once its tar was computed to be this one.
    ``stated_diff_id``, ``stated_size``: what the asker or an image states of the blob; both are enforced.
    What only a fact says of a size is a hint.
    """

    digest: Digest | None = None
    diff_id: DiffID | None = None
    size: int | None = None
    uncompressed_size: int | None = None
    media_type: str = OCTETS
    computed: bool = False
    claim: Association | None = None
    alternatives: Mapping[Digest, Association] = field(default_factory=dict)
    asked: DiffID | None = None
    stated_diff_id: DiffID | None = None
    stated_size: int | None = None

    @classmethod
    def stated(
        cls, digest: Digest, diff_id: DiffID | None, size: int | None, media_type: str = OCTETS
    ) -> LayerIdentity:
        """A layer as an image's manifest and config describe it, or a program. ``size`` is in bytes."""
        return cls(
            digest=digest,
            diff_id=diff_id,
            size=size,
            media_type=media_type,
            stated_diff_id=diff_id,
            stated_size=size,
        )

    @classmethod
    def from_fact(
        cls,
        fact: Association,
        asked: DiffID | None = None,
        alternatives: Mapping[Digest, Association] | None = None,
    ) -> LayerIdentity:
        """The layer that a fact describes; ``alternatives``: facts about all the blobs that share its tar."""
        computed = fact.computed
        return cls(
            digest=fact.digest,
            diff_id=fact.diff_id,
            size=fact.size if fact.counted else None,
            uncompressed_size=fact.uncompressed_size if computed else None,
            media_type=fact.media_type if computed else OCTETS,
            computed=computed,
            claim=None if computed else fact,
            alternatives=alternatives or {},
            asked=asked,
        )

    @property
    def unconfirmed(self) -> bool:
        """Whether only a claim says that the diff ID is this layer's.

        Then the tar of that name is not taken for this layer's; the blob is inflated.
        """
        if self.computed or (diff_id := self.diff_id) is None:
            return False
        return diff_id not in (self.asked, self.stated_diff_id)

    @property
    def plain(self) -> bool:
        """Whether the blob is said to be the tar itself: then its own hash proves it right in either form."""
        return self.digest is not None and str(self.digest) == self.diff_id

    def digests(self) -> list[Digest]:
        """Every digest that leads to the layer, the one that is meant first."""
        first = [self.digest] if self.digest else []
        return first + [digest for digest in self.alternatives if digest != self.digest]

    def is_proved(self, digest: Digest) -> bool:
        """Whether the blob is what was asked for: by its own name, or since its tar was computed."""
        if self.asked is None or str(self.asked) == digest:
            return True
        if digest == self.digest:
            return self.computed and self.diff_id == self.asked
        return digest in self.alternatives and self.alternatives[digest].computed

    def claimed_digests(self) -> list[Digest]:
        """The blobs of which only a claim says that they are what was asked for."""
        if self.asked is None or self.plain:
            return []
        return [digest for digest in self.digests() if not self.is_proved(digest)]

    def names(self, form: Form) -> list[Hash]:
        """The blobs that hold this form, and need no more proof of it than their own hash."""
        if form == COMPRESSED:
            digests = self.digests()[:1] if self.plain else self.digests()
            return [digest for digest in digests if self.is_proved(digest)]
        if self.diff_id is None or self.unconfirmed:
            return []
        # A blob counts as its own tar only after its bytes were seen to be one.
        return [self.diff_id] if self.computed or str(self.diff_id) != self.digest else []

    def size_of(self, form: Form) -> int | None:
        """Bytes of a form, as counted or stated; None where only a claim says."""
        return self.size if form == COMPRESSED else self.uncompressed_size

    def saved(self, name: Hash, form: Form, size: int) -> Saved:
        """What a hit saved that gave ``size`` bytes of a form out of the blob of this name."""
        if form == COMPRESSED or name == self.digest:  # a plain tar is its own blob
            return size, 0
        blob, whole = self.size, self.uncompressed_size
        if self.claim is not None:
            blob = self.claim.size if blob is None else blob
        if not blob or size == whole or not whole:
            return blob or 0, size
        return blob * size // whole, size

    @property
    def fact(self) -> Association | None:
        """The association as far as it is known; None without both names or the size, or if not a layer."""
        if self.digest is None or self.diff_id is None or self.size is None or not is_layer(self.media_type):
            return None
        media_type, tar_size, claim = self.media_type, self.uncompressed_size, self.claim
        if claim and (claim.digest, claim.diff_id) == (self.digest, self.diff_id):
            media_type = claim.media_type if media_type == OCTETS else media_type
            tar_size = claim.uncompressed_size if tar_size is None else tar_size
        return Association(self.digest, self.diff_id, self.size, media_type, tar_size, computed=self.computed)

    # What follows from something new: another identity

    def meaning(self, digest: Digest) -> LayerIdentity:
        """The same layer by another one of its digests."""
        fact = self.alternatives.get(digest)
        if digest == self.digest or fact is None:
            return self if digest == self.digest else replace(self, digest=digest)
        other = LayerIdentity.from_fact(fact, self.asked, self.alternatives)
        tar_size = self.uncompressed_size if other.uncompressed_size is None else other.uncompressed_size
        return replace(
            other, diff_id=self.diff_id, uncompressed_size=tar_size, stated_diff_id=self.stated_diff_id
        )

    def with_statement(
        self, diff_id: DiffID | None, size: int | None, media_type: str | None
    ) -> LayerIdentity:
        """With what the asker states of the blob; a computed diff ID overrides what is stated."""
        changes: dict[str, Any] = {"media_type": media_type} if media_type else {}
        if size is not None:
            changes |= {"size": size, "stated_size": size}
        if diff_id is not None and not self.computed:
            changes |= {"diff_id": diff_id, "stated_diff_id": diff_id}
        return replace(self, **changes) if changes else self

    def counted(self, form: Form, size: int | None) -> LayerIdentity:
        """With the number of bytes that an entry of this form has."""
        if self.size_of(form) == size:
            return self
        return replace(self, size=size) if form == COMPRESSED else replace(self, uncompressed_size=size)

    def sized_as(self, earlier: LayerIdentity) -> LayerIdentity:
        """With the sizes of an earlier moment: those found since come from an entry that is wrong."""
        if (self.size, self.uncompressed_size) == (earlier.size, earlier.uncompressed_size):
            return self
        return replace(self, size=earlier.size, uncompressed_size=earlier.uncompressed_size)

    def with_record(self, fact: Association) -> LayerIdentity:
        """With a tier's fact: computed, as `confirmed_by`; a claim about this pair, unless more is known."""
        if fact.computed:
            return self.confirmed_by(Outcome.recorded(fact))
        same = (fact.digest, fact.diff_id) == (self.digest, self.diff_id)
        return replace(self, claim=fact) if same and self.claim is None and not self.computed else self

    def corrected(self, name: Hash, form: Form, size: int) -> LayerIdentity:
        """With the right size in the facts about the alternatives, of which one was wrong."""
        facts = {digest: resized(fact, name, form, size) for digest, fact in self.alternatives.items()}
        return replace(self, alternatives=facts) if facts != self.alternatives else self

    def disproved(self, *, rotten: bool) -> LayerIdentity:
        """Without the computed fact. ``rotten``: a bit of it rotted, so its diff ID is dropped as well.

        A diff ID out of a whole fact is enforced from now on: somebody wrote it, and the caller must know.
        """
        if rotten and self.asked != self.diff_id:
            return replace(self, computed=False, diff_id=None, uncompressed_size=None)
        return replace(self, computed=False, stated_diff_id=self.diff_id)

    def confirmed_by(self, outcome: Outcome) -> LayerIdentity:
        """With what a pass found out, which overrides every claim.

        Raises `DigestMismatchError` where it refutes the diff ID that the asker or an image states; one that
        is ``unconfirmed`` is replaced. A diff ID of another algorithm refutes nothing: a tar has one in each.
        """
        found, fact = outcome.diff_id, outcome.fact
        if found is None:
            return self.counted(COMPRESSED, outcome.size) if outcome.digest == self.digest else self
        changes: dict[str, Any] = {}
        if fact and outcome.digest in self.alternatives and found == self.diff_id:
            changes["alternatives"] = {**self.alternatives, outcome.digest: fact}
        if self.digest is not None and outcome.digest != self.digest:  # another blob
            if found == self.diff_id and outcome.tar_size is not None:
                changes["uncompressed_size"] = outcome.tar_size
            return replace(self, **changes) if changes else self
        if self.diff_id is not None and self.diff_id != found:
            if self.diff_id.algorithm != found.algorithm:
                return self
            if not self.unconfirmed:
                raise contradiction(outcome.digest, found, self.diff_id)
        changes |= {"diff_id": found, "computed": True, "claim": None}
        if outcome.size is not None:
            changes["size"] = outcome.size
        if outcome.tar_size is not None:
            changes["uncompressed_size"] = outcome.tar_size
        # By the bytes, which override what is stated.
        compression = compression_of(outcome.media_type)
        if compression and is_layer(self.media_type) and compression != compression_of(self.media_type):
            changes["media_type"] = outcome.media_type
        return replace(self, **changes)


def contradiction(digest: Digest, found: DiffID, claimed: DiffID) -> DigestMismatchError:
    """The error where a computed diff ID shows a claim to be false."""
    return DigestMismatchError(
        f"{digest} was said to inflate to {claimed}, but inflates to {found}",
        hint="the image's config is wrong, or not this layer's; the layer itself can be read by its digest",
    )


def resized(fact: Association, name: Hash, form: Form, size: int) -> Association:
    """The fact with the size that was counted, where it is about this blob."""
    if form == COMPRESSED:
        return replace(fact, size=size) if fact.digest == name else fact
    is_other = fact.diff_id == name and fact.uncompressed_size is not None
    return replace(fact, uncompressed_size=size) if is_other else fact
