"""A record: all that is known of one name, as a digest and as a diff ID, in one small object.

::

    {"name": "sha256:83ee…",
     "facts": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": "sha256:83ee…", "size": 28565893,
                "annotations": {"dev.ggcr.cache.diffid": "sha256:9f32…",
                                "dev.layercache.known": "computed",
                                "dev.layercache.uncompressed-size": "75271168"}}],
     "refuted": [{"digest": "sha256:83ee…", "diffId": "sha256:0c1a…"}]}

Each fact is an OCI descriptor of a blob. Where the blob has the record's name, it is a fact about the name as
a digest; where its diff ID has, about the name as a diff ID. Two records of one name can be merged in any
order, any number of times: the result is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from layercache.errors import FormatError, InvalidNameError
from layercache.oci.descriptor import UncheckedDescriptor, decode, encode
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers.association import FACTS_MAX, Association, NotOfALayerError
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.oci.descriptor import Descriptor

KNOWN = "dev.layercache.known"
"""Annotation of a fact: `COMPUTED` or `CLAIMED`."""

COMPUTED = "computed"
CLAIMED = "claimed"


class Pair(NamedTuple):
    """A blob, and a tar that may be inside it."""

    digest: Digest
    diff_id: DiffID


class _Pair(msgspec.Struct, frozen=True, rename="camel"):
    digest: Digest
    diff_id: DiffID


class Document(msgspec.Struct, frozen=True):
    """A record as it is stored. Only its form has been checked."""

    name: str
    facts: list[UncheckedDescriptor] = []
    refuted: list[_Pair] = []

    def is_about_digest(self) -> bool:
        """Whether it has a fact about its name as a digest. A listing skips the others, half of all."""
        for each in self.facts:  # noqa: SIM110  # any() would make two generators of each layer that is listed
            if each.digest == self.name:
                return True
        return False


class Record(Value, frozen=True):
    """What is known of ``name``. Facts are in a fixed order, computed ones first.

    Each pair of names is there once, as a computed fact, else as refuted, else as a claim. A blob has one
    computed diff ID of each algorithm. ``refuted``: pairs that turned out to be false. A claim that repeats
    one is not taken. Of each role and kind there are `FACTS_MAX` at most.
    """

    name: Hash
    facts: tuple[Association, ...] = ()
    refuted: frozenset[Pair] = frozenset()

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.facts or self.refuted)

    @property
    def as_digest(self) -> list[Association]:
        """What the blob of this name inflates to."""
        return [fact for fact in self.facts if fact.digest == self.name]

    @property
    def as_diff_id(self) -> list[Association]:
        """The blobs that inflate to the tar of this name."""
        return [fact for fact in self.facts if fact.diff_id == self.name]

    def with_fact(self, fact: Association) -> Record:
        """The record with a fact that was just learned.

        What was just computed holds against what the record says: another diff ID of that blob is refuted.
        """
        if not self:
            return Record(self.name, (fact,))
        pair, others = _pair(fact), []
        refuted = set(self.refuted)
        for each in self.facts:
            if fact.computed and _contradicts(fact, each):
                if each.computed:
                    refuted.add(_pair(each))
                    continue
            elif _pair(each) == pair and (fact.computed or not each.computed):
                continue
            others.append(each)
        if fact.computed:
            refuted.discard(pair)
        return _merged(self.name, (*others, fact), refuted)

    def without_fact(self, fact: Association) -> Record:
        """The record as if the fact had not been learned. It may be learned again."""
        facts = (each for each in self.facts if (_pair(each), each.computed) != (_pair(fact), fact.computed))
        return replace(self, facts=tuple(facts))

    def refuting(self, fact: Association) -> Record:
        """The record without any fact about these two names, and such that no claim of them comes back."""
        pair = _pair(fact)
        facts = [each for each in self.facts if _pair(each) != pair]
        return _merged(self.name, facts, {*self.refuted, pair})

    def merge(self, other: Record) -> Record:
        """What both say. Commutative, associative and idempotent, up to `FACTS_MAX` facts of a kind.

        If each says that something else was computed of a blob, one of them is believed and the other one
        counts as refuted: the smaller diff ID is, so that all who merge them agree.
        """
        if other.name != self.name:
            raise ValueError(f"a record of {other.name} is not one of {self.name}")
        return _merged(self.name, (*self.facts, *other.facts), self.refuted | other.refuted)

    def encode(self) -> bytes:
        document: dict[str, object] = {"name": self.name}
        if self.facts:
            document["facts"] = [_described(fact) for fact in self.facts]
        if self.refuted:
            document["refuted"] = [_Pair(*pair) for pair in sorted(self.refuted)]
        return encode(document)

    @classmethod
    def decode(cls, data: bytes, name: Hash) -> Record:
        """The record of this name. Raises `FormatError` for a torn one, or one of another name."""
        document = decode(data, Document, "a record")
        if document.name != name:
            raise FormatError(f"a record of {document.name} stands under {name}")
        return cls.of(document, name)

    @classmethod
    def of(cls, document: Document, name: Hash) -> Record:
        """The record that a document of this name is. Raises `FormatError`.

        A fact whose media type is not a layer's is left out: no blob of that kind has a diff ID.
        """
        refuted = {Pair(each.digest, each.diff_id) for each in document.refuted} if document.refuted else ()
        return _merged(name, _facts(document.facts, name), refuted)


def _described(fact: Association) -> Descriptor:
    return fact.descriptor({KNOWN: COMPUTED if fact.computed else CLAIMED})


def _facts(descriptors: Iterable[UncheckedDescriptor], name: Hash) -> list[Association]:
    facts = []
    for each in descriptors:
        known = (each.annotations or {}).get(KNOWN)
        if known not in (COMPUTED, CLAIMED):
            raise FormatError(f"a fact is {known!r}, and neither computed nor claimed")
        try:
            fact = Association.of(each, computed=known == COMPUTED)
        except NotOfALayerError:
            continue
        except InvalidNameError as error:
            raise FormatError(f"a record of {name}: {error.message}") from error
        if name not in (fact.digest, fact.diff_id):
            raise FormatError(f"a record of {name} has a fact about {fact.digest} and {fact.diff_id}")
        facts.append(fact)
    return facts


def _pair(fact: Association) -> Pair:
    return Pair(fact.digest, fact.diff_id)


def _contradicts(one: Association, other: Association) -> bool:
    """Whether they say that two tars are inside one blob. Names of two algorithms may be of one tar."""
    same_kind = one.diff_id.algorithm == other.diff_id.algorithm
    return one.digest == other.digest and same_kind and one.diff_id != other.diff_id


def _merged(name: Hash, facts: Sequence[Association], refuted: Iterable[Pair]) -> Record:
    false = frozenset(refuted)
    if len(facts) == 1 and (facts[0].computed or not false):
        # As most records are. A pair that was computed is not refuted.
        return Record(name, tuple(facts), false - {_pair(facts[0])} if false else false)
    best: dict[Pair, Association] = {}
    for fact in facts:
        pair = _pair(fact)
        best[pair] = max(best.get(pair, fact), fact, key=_weight)
    computed: dict[tuple[Digest, str], Association] = {}
    for fact in best.values():
        if fact.computed:
            key = (fact.digest, fact.diff_id.algorithm)
            computed[key] = min(computed.get(key, fact), fact, key=_pair)
    true = {_pair(fact) for fact in computed.values()}
    false = (false | {pair for pair, fact in best.items() if fact.computed}) - true
    kept = [*computed.values(), *(fact for pair, fact in best.items() if pair not in true | false)]
    return Record(name, tuple(_bounded(name, kept)), frozenset(sorted(false)[:FACTS_MAX]))


def _weight(fact: Association) -> tuple[bool, bool, int, int, str]:
    """Which of two facts about one pair is taken: what is computed, then what says more."""
    size = fact.uncompressed_size
    return fact.computed, size is not None, size or 0, fact.size, fact.media_type


def _bounded(name: Hash, facts: Iterable[Association]) -> Iterator[Association]:
    """So many facts of each role and kind: no layer has as many, but a stranger may write thousands."""
    left: dict[tuple[bool, bool], int] = {}
    for fact in sorted(facts, key=lambda each: (not each.computed, *_pair(each))):
        kind = fact.digest == name, fact.computed
        left[kind] = left.get(kind, FACTS_MAX) - 1
        if left[kind] >= 0:
            yield fact
