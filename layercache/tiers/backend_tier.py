"""A tier on a backend."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.backend.capabilities import (
    Expendable,
    LocalPath,
    Lockable,
    Movable,
    SmallObjects,
    Spooler,
    Touchable,
)
from layercache.errors import BackendError, FormatError, InvalidNameError, NotFoundError
from layercache.oci.descriptor import encode
from layercache.oci.digest import DiffID, Digest
from layercache.streams.readers import CHUNK, read_bounded
from layercache.tiers import image_refs, keys
from layercache.tiers.association import FACTS_MAX, Association
from layercache.tiers.concurrently import FanOut
from layercache.tiers.guard import guarded
from layercache.tiers.quota import Quota
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from layercache.backend import Backend, Entry, Reader, Sink
    from layercache.backend.capabilities import Lock, Spool
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Policy

    Question = Callable[[], list[Association]]


TOUCHED_FOR = 60.0
"""Seconds in which a blob's time is not refreshed again, however often it is used."""


class BackendTier(Tier):
    """A tier on any `Backend`: one object a blob, a fact, an image, under the names that `keys` makes.

    What can be asked of a remote one at once is asked at once.
    """

    def __init__(self, backend: Backend, policy: Policy) -> None:
        backend = guarded(backend)
        # Asked once: isinstance() of a protocol costs microseconds each time.
        self._spooler = backend if isinstance(backend, Spooler) else None
        self._expendable = backend if isinstance(backend, Expendable) else None
        super().__init__(backend.url, policy, remote=self._spooler is None)
        self._touchable = backend if isinstance(backend, Touchable) and not policy.readonly else None
        self.backend = backend
        self._small = backend if isinstance(backend, SmallObjects) else None
        self._lockable = backend if isinstance(backend, Lockable) else None
        self.room = Quota(backend, policy)
        self._together = FanOut()
        self._facts_at_once = (
            FanOut()
        )  # not the same: who waits in a pool's thread for its others may wait forever

    # Blobs

    def open_blob(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        reader = self.backend.open(keys.blob(name), start, end)
        modified = getattr(reader, "modified", None)
        # A time of the future counts as now, and is written down as that: else it would be new for years.
        if self._touchable and modified is not None and abs(time.time() - modified) > TOUCHED_FOR:
            with suppress(BackendError):  # another's file, say: it may be read all the same
                self._touchable.touch(keys.blob(name))
        return reader

    def stat_blob(self, name: Hash) -> Entry:
        return self.backend.stat(keys.blob(name))

    def blob_path(self, name: Hash) -> str | None:
        return self.backend.path(keys.blob(name)) if isinstance(self.backend, LocalPath) else None

    def lock(self, name: Hash, *, timeout: float) -> AbstractContextManager[Lock | None]:
        if self._lockable is None or self.policy.readonly:
            return nullcontext()
        return self._lockable.lock(f"layer-{name.algorithm}-{name.hex}", timeout=timeout, lasting=False)

    def spool(self) -> Spool | None:
        return self._spooler.spool() if self._spooler else None

    def fits(self, size: int) -> bool:
        return self.room.fits(size)

    def put_blob(self, name: Hash, data: bytes) -> None:
        if self.fits(len(data)) and not self.has_blob(name):
            with self.room.made(len(data)):
                _write(self.backend.create(keys.blob(name)), data)

    def publish_blob(self, name: Hash, spool: Spool, size: int) -> None:
        with self.room.made(size):
            spool.publish(keys.blob(name))

    def copy_blob(self, name: Hash, reader: Reader) -> None:
        buffer, size = memoryview(bytearray(CHUNK)), 0
        with self.backend.create(keys.blob(name)) as sink:
            while count := reader.readinto(buffer):
                sink.write(buffer[:count])
                size += count
            with self.room.made(size):
                sink.commit()

    def delete_blob(self, name: Hash) -> None:
        self.backend.delete(keys.blob(name))

    def put_aside(self, name: Hash) -> None:
        if isinstance(self.backend, Movable):
            with suppress(NotFoundError):
                self.backend.move(keys.blob(name), keys.quarantine(keys.blob(name)))
        else:
            self.delete_blob(name)

    def blobs(self) -> Iterator[tuple[Hash, Entry]]:
        for entry in self.backend.scan(keys.BLOBS):
            if (name := keys.blob_name(entry.key)) is not None:
                yield name, entry

    # Associations

    def facts_about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        digest, diff_id = Digest(name), DiffID(name)
        as_digest, as_diff_id = self._found(
            [lambda: self._computed(digest), lambda: self._made_from(keys.COMPUTED, diff_id)],
            [lambda: self._claims(digest), lambda: self._made_from(keys.CLAIMED, diff_id)],
            claims=not self.policy.trusted,
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
        """As `Tier.record`. By diff ID first: who finds the fact by digest shall find the other way too."""
        if self.policy.readonly:
            return
        data = fact.encode()
        create = self._expendable.create_expendable if self._expendable else self.backend.create
        for key in keys_of(fact):
            _write(create(key), data)

    def forget(self, fact: Association) -> None:
        for key in keys_of(fact):
            self.backend.delete(key)

    def associations(self) -> Iterator[Association]:
        for state in (keys.COMPUTED, keys.CLAIMED):
            yield from self._facts(f"{keys.ASSOCIATIONS}{state}/by-digest/", computed=state == keys.COMPUTED)

    def pairs(self, *, computed: bool) -> Iterator[tuple[Digest, DiffID, float]]:
        """As `Tier.pairs`, out of the listing alone: no fact is read."""
        state = keys.COMPUTED if computed else keys.CLAIMED
        for entry in self.backend.scan(f"{keys.ASSOCIATIONS}{state}/by-diffid/"):
            if (names := keys.fact_names(entry.key)) and names[1]:
                yield names[0], names[1], entry.modified

    def recorded(self) -> Iterator[tuple[Digest, DiffID | None]]:
        # By digest is what is written last: where that is there, both halves of the fact are.
        for state in (keys.COMPUTED, keys.CLAIMED):
            for entry in self.backend.scan(f"{keys.ASSOCIATIONS}{state}/by-digest/"):
                if names := keys.fact_names(entry.key):
                    yield names

    def fact(self, digest: Digest, diff_id: DiffID, *, computed: bool) -> Association | None:
        state = keys.COMPUTED if computed else keys.CLAIMED
        return self._read(keys.by_diff_id(state, diff_id, digest), computed=computed)

    def _found(
        self, computed: list[Question], claimed: list[Question], *, claims: bool = False
    ) -> list[list[Association]]:
        """The answers to the questions for computed facts; where there are none, or if asked, claims too."""
        if self.remote:
            answers = self._together(*computed, *claimed)
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

        No layer has that many. Whoever can write to the tier can write thousands, which are not to be waited
        for.
        """
        if self._small is not None:
            return list(self._facts(folder, computed=computed, most=FACTS_MAX))
        listed = [entry.key for entry in islice(self.backend.scan(folder), FACTS_MAX)]
        found = self._facts_at_once(*(partial(self._read, key, computed=computed) for key in listed))
        return [fact for fact in found if fact is not None]

    def _facts(self, folder: str, *, computed: bool, most: int | None = None) -> Iterator[Association]:
        if self._small is not None:
            for key, data in islice(self._small.read_small(folder), most):
                if fact := _decoded(key, data, computed=computed):
                    yield fact
        else:
            for entry in self.backend.scan(folder):
                if fact := self._read(entry.key, computed=computed):
                    yield fact

    def _read(self, key: str, *, computed: bool) -> Association | None:
        try:
            with self.backend.open(key) as reader:
                data = read_bounded(reader, SMALL_OBJECT, key)
        except (NotFoundError, FormatError):
            return None
        return _decoded(key, data, computed=computed)

    # Images

    def tag_image(self, key: str, descriptor: Descriptor) -> None:
        _write(self.backend.create(key), encode(descriptor))

    def image(self, key: str) -> Descriptor:
        return image_refs.image(self.backend, key)

    def image_time(self, key: str) -> float:
        return self.backend.stat(key).modified

    def images(self) -> Iterator[tuple[str, Descriptor]]:
        return image_refs.images(self.backend)

    def forget_image(self, key: str) -> None:
        self.backend.delete(key)

    def close(self) -> None:
        self._together.close()
        self._facts_at_once.close()
        self.backend.close()


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


def _write(sink: Sink, data: bytes) -> None:
    with sink:
        sink.write(data)
        sink.commit()
