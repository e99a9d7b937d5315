"""Facts in a backend: two small objects each, one under each of the names."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT, write_whole
from layercache.backend.capabilities import Expendable, SmallObjects
from layercache.errors import FormatError, InvalidNameError, NotFoundError
from layercache.oci.digest import DiffID, Digest
from layercache.streams.readers import read_bounded
from layercache.tiers import keys
from layercache.tiers.association import FACTS_MAX, Association
from layercache.tiers.concurrently import FanOut
from layercache.tiers.stores import FactStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Backend
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Policy

    Question = Callable[[], list[Association]]


class BackendFacts(FactStore):
    """``remote``: what can be asked at once is asked at once."""

    def __init__(self, backend: Backend, policy: Policy, *, remote: bool) -> None:
        self._backend = backend
        self._policy = policy
        self._remote = remote
        # Asked once: isinstance() of a protocol costs microseconds each time.
        self._small = backend if isinstance(backend, SmallObjects) else None
        self._create = backend.create_expendable if isinstance(backend, Expendable) else backend.create
        # Two pools: questions are asked in the first, and each may wait for facts read in the second. In one
        # pool the questions could take all threads, and wait forever for the reads that they started.
        self._questions = FanOut()
        self._reads = FanOut()

    def about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        digest, diff_id = Digest(name), DiffID(name)
        as_digest, as_diff_id = self._found(
            [lambda: self._computed(digest), lambda: self._made_from(keys.COMPUTED, diff_id)],
            [lambda: self._claims(digest), lambda: self._made_from(keys.CLAIMED, diff_id)],
            claims=not self._policy.trusted,
        )
        return as_digest, as_diff_id

    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        return self._found([lambda: self._computed(digest)], [lambda: self._claims(digest)], claims=claims)[0]

    def has_computed(self, digest: Digest) -> bool:
        return bool(self._computed(digest))

    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        return self._found(
            [lambda: self._made_from(keys.COMPUTED, diff_id)],
            [lambda: self._made_from(keys.CLAIMED, diff_id)],
            claims=claims,
        )[0]

    def record(self, fact: Association) -> None:
        """By diff ID first: a fact that is found by digest can then be found the other way, too."""
        if self._policy.readonly:
            return
        data = fact.encode()
        for key in keys_of(fact):
            write_whole(self._create(key), data)

    def forget(self, fact: Association) -> None:
        for key in keys_of(fact):
            self._backend.delete(key)

    def scan(self) -> Iterator[Association]:
        for state in (keys.COMPUTED, keys.CLAIMED):
            yield from self._facts(f"{keys.ASSOCIATIONS}{state}/by-digest/", computed=state == keys.COMPUTED)

    def pairs(self, *, computed: bool) -> Iterator[tuple[Digest, DiffID, float]]:
        """As `FactStore.pairs`, out of the listing alone: no fact is read."""
        state = keys.COMPUTED if computed else keys.CLAIMED
        for entry in self._backend.scan(f"{keys.ASSOCIATIONS}{state}/by-diffid/"):
            if (names := keys.fact_names(entry.key)) and names[1]:
                yield names[0], names[1], entry.modified

    def recorded(self) -> Iterator[tuple[Digest, DiffID | None]]:
        # By digest is what is written last: where that is there, both halves of the fact are.
        for state in (keys.COMPUTED, keys.CLAIMED):
            for entry in self._backend.scan(f"{keys.ASSOCIATIONS}{state}/by-digest/"):
                if names := keys.fact_names(entry.key):
                    yield names

    def get(self, digest: Digest, diff_id: DiffID, *, computed: bool) -> Association | None:
        state = keys.COMPUTED if computed else keys.CLAIMED
        return self._read(keys.by_diff_id(state, diff_id, digest), computed=computed)

    def close(self) -> None:
        """Let the threads end."""
        self._questions.close()
        self._reads.close()

    def _found(
        self, computed: list[Question], claimed: list[Question], *, claims: bool = False
    ) -> list[list[Association]]:
        """The answers to the questions for computed facts; where there are none, or if asked, claims too."""
        if self._remote:
            answers = self._questions(*computed, *claimed)
        else:
            answers = [ask() for ask in computed]
            if claims or not any(answers):
                answers += [ask() for ask in claimed]
        first, rest = answers[: len(computed)], answers[len(computed) :]
        if claims or not any(first):
            return [each + more for each, more in zip(first, rest, strict=True)]
        return first

    def _computed(self, digest: Digest) -> list[Association]:
        fact = self._read(keys.computed_by_digest(digest), computed=True)
        return [fact] if fact else []

    def _claims(self, digest: Digest) -> list[Association]:
        return self._some(keys.claims_of(digest), computed=False)

    def _made_from(self, state: str, diff_id: DiffID) -> list[Association]:
        return self._some(keys.digests_of(state, diff_id), computed=state == keys.COMPUTED)

    def _some(self, folder: str, *, computed: bool) -> list[Association]:
        """The facts about one name, read at once; of very many the first that the store lists.

        No layer has that many. Anybody who can write to the tier can write thousands, which must not
        cost time.
        """
        if self._small is not None:
            return list(self._facts(folder, computed=computed, most=FACTS_MAX))
        listed = [entry.key for entry in islice(self._backend.scan(folder), FACTS_MAX)]
        found = self._reads(*(partial(self._read, key, computed=computed) for key in listed))
        return [fact for fact in found if fact is not None]

    def _facts(self, folder: str, *, computed: bool, most: int | None = None) -> Iterator[Association]:
        if self._small is not None:
            for key, data in islice(self._small.read_small(folder), most):
                if fact := _decoded(key, data, computed=computed):
                    yield fact
        else:
            for entry in self._backend.scan(folder):
                if fact := self._read(entry.key, computed=computed):
                    yield fact

    def _read(self, key: str, *, computed: bool) -> Association | None:
        try:
            with self._backend.open(key) as reader:
                data = read_bounded(reader, SMALL_OBJECT, key)
        except (NotFoundError, FormatError):
            return None
        return _decoded(key, data, computed=computed)


def keys_of(fact: Association) -> tuple[str, str]:
    """The two objects that a fact is written as, in the order of writing."""
    if fact.computed:
        by_digest = keys.computed_by_digest(fact.digest)
        return keys.by_diff_id(keys.COMPUTED, fact.diff_id, fact.digest), by_digest
    by_digest = keys.claimed_by_digest(fact.digest, fact.diff_id)
    return keys.by_diff_id(keys.CLAIMED, fact.diff_id, fact.digest), by_digest


def _decoded(key: str, data: bytes, *, computed: bool) -> Association | None:
    """None for what is torn, and for what stands under a name not its own: it answers for another layer."""
    try:
        fact = Association.decode(data, computed=computed)
    except (FormatError, InvalidNameError):
        return None
    return fact if key in keys_of(fact) else None
