"""What is known of a layer so far: its names, its sizes, and where it can be had when no tier has it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError
from layercache.oci.descriptor import OCTETS, compression_of, is_layer
from layercache.oci.forms import COMPRESSED
from layercache.tiers.association import Association

if TYPE_CHECKING:
    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.oci.forms import Form
    from layercache.sources.origin import BlobSource


@dataclass(slots=True)
class LayerIdentity:
    """The names of a layer as far as they are known; filled in as the layer is read.

    ``digest`` is the compressed blob that is meant, or the nearest of ``others`` that share the tar.
    ``computed``: digest and diff ID were seen to belong together; else the diff ID is a claim. What only a
    claim says is in ``claim``, to show and to pass on, and is never a reason to refuse bytes or to take
    them: ``size``, ``uncompressed_size`` and ``media_type`` are what the asker states or we counted.
    ``claimed``: `Keeper.claim` has seen to it that the claim stands where the blob is; `Resolver.fill` looks
    whether the transfer that it read has done so.
    ``hearsay``: nobody but a claim says that the diff ID is this layer's. Then the tar that has that name
    is not taken for this layer's; the blob is inflated.
    ``asked``: the name that the asker gave where it is a diff ID, or may be one. Then a compressed blob of
    another name is taken only once it was computed that it inflates to this tar.
    ``stated_size``: the blob's bytes, as the asker states them, or an image's manifest; those are enforced.
    What only a fact says of a size is a hint.
    """

    digest: Digest | None = None
    diff_id: DiffID | None = None
    size: int | None = None
    uncompressed_size: int | None = None
    media_type: str = OCTETS
    computed: bool = False
    hearsay: bool = False
    claim: Association | None = None
    claimed: bool = False
    others: dict[Digest, Association] = field(default_factory=dict)
    origin: BlobSource | None = None
    asked: DiffID | None = None
    stated_size: int | None = None

    def __post_init__(self) -> None:
        if self.size is None:
            self.size = self.stated_size

    def digests(self) -> list[Digest]:
        """Every digest that leads to the layer, the meant one first."""
        first = [self.digest] if self.digest else []
        return first + [digest for digest in self.others if digest != self.digest]

    def is_proved(self, digest: Digest) -> bool:
        """Whether the blob is what was asked for: by its own name, or since its tar was computed."""
        if self.asked is None or str(self.asked) == digest:
            return True
        if digest == self.digest:
            return self.computed
        return digest in self.others and self.others[digest].computed

    def claimed_digests(self) -> list[Digest]:
        """The blobs of which only a claim says that they are what was asked for."""
        return [digest for digest in self.digests() if not self.is_proved(digest)]

    def names(self, form: Form) -> list[Hash]:
        """The blobs that hold this form, and need no more proof of it than their own hash."""
        if form == COMPRESSED:
            return [digest for digest in self.digests() if self.is_proved(digest)]
        if self.diff_id is None or self.hearsay:
            return []
        # That a blob is its own tar is believed once its bytes were seen to be one.
        return [self.diff_id] if self.computed or str(self.diff_id) != self.digest else []

    def choose(self, digest: Digest) -> None:
        """Mean this one of the digests."""
        if digest != self.digest and (fact := self.others.get(digest)):
            self.size, self.media_type, self.computed = None, OCTETS, False
            self.stated_size = None
            self._take(fact)
        self.digest = digest

    def learn(self, fact: Association) -> None:
        """Take in a fact about the digest that is meant. A claim never outdoes what was computed.

        Raises `DigestMismatchError` where a computed fact refutes the diff ID that the asker gave. Hearsay is
        replaced. A diff ID of another algorithm refutes nothing: a tar has a name in each.
        """
        if self.computed and not fact.computed:
            return
        if fact.computed and fact.digest in self.others and fact.diff_id == self.diff_id:
            self.others[fact.digest] = fact
        if self.digest is not None and fact.digest != self.digest:
            if fact.computed and fact.diff_id == self.diff_id:  # another blob of the same tar
                self._count(fact.uncompressed_size)
            return
        if self.diff_id is None:
            self.hearsay = not fact.computed
        elif self.diff_id != fact.diff_id:
            same = self.diff_id.algorithm == fact.diff_id.algorithm
            if fact.computed and same and not self.hearsay:
                raise contradiction(fact, self.diff_id)
            if not (fact.computed and same):
                return
        self.diff_id = fact.diff_id
        self._take(fact)

    def _take(self, fact: Association) -> None:
        self.computed = fact.computed
        self.claim = None if fact.computed else fact
        if fact.counted:
            self.size = fact.size
        if fact.computed:
            self.hearsay = False
            self._count(fact.uncompressed_size)
            found = compression_of(fact.media_type)  # by the bytes, which rule over what is stated
            if found and is_layer(self.media_type) and found != compression_of(self.media_type):
                self.media_type = fact.media_type

    def _count(self, tar_size: int | None) -> None:
        self.uncompressed_size = self.uncompressed_size if tar_size is None else tar_size

    def start_over(self, found: LayerIdentity) -> None:
        """Take over what another look-up of the same name has found."""
        for field_ in fields(self):
            setattr(self, field_.name, getattr(found, field_.name))

    @property
    def fact(self) -> Association | None:
        """The association as it is known; None while a name or the size is not, and where it is no layer."""
        if self.digest is None or self.diff_id is None or self.size is None or not is_layer(self.media_type):
            return None
        media_type, tar_size = self.media_type, self.uncompressed_size
        if self.claim and self.claim.digest == self.digest and self.claim.diff_id == self.diff_id:
            media_type = self.claim.media_type if media_type == OCTETS else media_type
            tar_size = self.claim.uncompressed_size if tar_size is None else tar_size
        return Association(
            digest=self.digest,
            diff_id=self.diff_id,
            media_type=media_type,
            size=self.size,
            uncompressed_size=tar_size,
            computed=self.computed,
        )


def contradiction(fact: Association, claimed: DiffID) -> DigestMismatchError:
    """What is said when a computed fact shows a claim to be false."""
    return DigestMismatchError(
        f"{fact.digest} was said to inflate to {claimed}, but inflates to {fact.diff_id}",
        hint="the image's config is wrong, or not this layer's; the layer itself can be read by its digest",
    )
