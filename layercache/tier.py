"""A tier: blobs, associations and images on one backend."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache import keys
from layercache.association import Association
from layercache.backend import Backend, BackendURL, Expendable, Spooler, open_backend
from layercache.descriptor import Descriptor, decode, encode
from layercache.digest import DiffID, Digest
from layercache.errors import BackendError, FormatError, InvalidNameError, NotFoundError
from layercache.policy import take_policy
from layercache.streams import CHUNK
from layercache.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Entry, Reader, Sink, Spool
    from layercache.digest import Hash
    from layercache.policy import Policy

    Question = Callable[[], list[Association]]


class Tier:
    """Typed operations on one backend. Every method may raise `BackendError`.

    ``remote``: its bytes travel; a form that can be made nearby is not brought from there, and what can be
    asked at once is asked at once. ``failure``: why it is left alone just now, ``write_failure``: why nothing
    is written there (see `ForgivenTier`).
    """

    failure: BackendError | None = None
    write_failure: BackendError | None = None

    def __init__(self, backend: Backend, policy: Policy) -> None:
        self.backend = backend
        self.policy = policy
        self.name = backend.url
        # Asked once: isinstance() of a protocol costs microseconds each time.
        self._spooler = backend if isinstance(backend, Spooler) else None
        self._expendable = backend if isinstance(backend, Expendable) else None
        self.remote = self._spooler is None
        self._together = Together()

    def pass_over(self, error: BackendError, *, writing: bool = False) -> NotFoundError:  # noqa: ARG002
        """What to make of a failure where other tiers could serve: here it is raised."""
        raise error

    # Blobs

    def open_blob(self, name: Hash, start: int = 0) -> Reader:
        """A blob's bytes from an offset on. Raises `NotFoundError`."""
        return self.backend.open(keys.blob(name), start)

    def stat_blob(self, name: Hash) -> Entry:
        """Raises `NotFoundError`."""
        return self.backend.stat(keys.blob(name))

    def has_blob(self, name: Hash) -> bool:
        try:
            self.stat_blob(name)
        except NotFoundError:
            return False
        return True

    def spool(self) -> Spool | None:
        """A place of the backend's own for bytes on their way into it; None where it has none."""
        return self._spooler.spool() if self._spooler else None

    def put_blob(self, name: Hash, data: bytes) -> None:
        """Keep a small blob that was verified: a manifest, a config."""
        if not self.has_blob(name):
            _write(self.backend.create(keys.blob(name)), data)

    def copy_blob(self, name: Hash, reader: Reader) -> None:
        """Keep a blob whose bytes were verified by whoever kept them nearby."""
        buffer = memoryview(bytearray(CHUNK))
        with self.backend.create(keys.blob(name)) as sink:
            while count := reader.readinto(buffer):
                sink.write(buffer[:count])
            sink.commit()

    def delete_blob(self, name: Hash) -> None:
        self.backend.delete(keys.blob(name))

    def blobs(self) -> Iterator[tuple[Hash, Entry]]:
        """Every blob, in any order."""
        for entry in self.backend.scan(keys.BLOBS):
            if (name := keys.blob_name(entry.key)) is not None:
                yield name, entry

    # Associations

    def facts_about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        """What is known of a name as a digest, and as a diff ID; claims only if nothing is computed."""
        digest, diff_id = Digest(name), DiffID(name)
        as_digest, as_diff_id = self._found(
            [lambda: self._computed(digest), lambda: self._made_from(keys.COMPUTED, diff_id)],
            [lambda: self._claims(digest), lambda: self._made_from(keys.CLAIMED, diff_id)],
        )
        return as_digest, as_diff_id

    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        """What is known of a blob's tar: the one computed fact; where there is none, or if asked, claims."""
        return self._found([lambda: self._computed(digest)], [lambda: self._claims(digest)], claims=claims)[0]

    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        """The blobs that inflate to a tar: computed; where there are none, or if asked, claimed."""
        return self._found(
            [lambda: self._made_from(keys.COMPUTED, diff_id)],
            [lambda: self._made_from(keys.CLAIMED, diff_id)],
            claims=claims,
        )[0]

    def record(self, fact: Association) -> None:
        """Write a fact down under both names. It is never changed, so what is there stays."""
        if self.policy.readonly:
            return
        data = fact.encode()
        create = self._expendable.create_expendable if self._expendable else self.backend.create
        for key in _keys_of(fact):
            _write(create(key), data)

    def forget(self, fact: Association) -> None:
        """Remove a fact; no error if it is not there."""
        for key in _keys_of(fact):
            self.backend.delete(key)

    def associations(self) -> Iterator[Association]:
        """Every fact, computed and claimed, in any order."""
        for state in (keys.COMPUTED, keys.CLAIMED):
            yield from self._facts(f"{keys.ASSOCIATIONS}{state}/by-digest/", computed=state == keys.COMPUTED)

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
        return list(self._facts(keys.claims_of(digest), computed=False))

    def _made_from(self, state: str, diff_id: DiffID) -> list[Association]:
        return list(self._facts(keys.digests_of(state, diff_id), computed=state == keys.COMPUTED))

    def _facts(self, folder: str, *, computed: bool) -> Iterator[Association]:
        for entry in self.backend.scan(folder):
            if fact := self._read(entry.key, computed=computed):
                yield fact

    def _read(self, key: str, *, computed: bool) -> Association | None:
        try:
            with self.backend.open(key) as reader:
                fact = Association.decode(reader.read(), computed=computed)
        except (NotFoundError, FormatError, InvalidNameError):
            return None
        # A fact under a name that is not its own would answer for another layer.
        return fact if key in _keys_of(fact) else None

    # Images

    def tag_image(self, key: str, descriptor: Descriptor) -> None:
        """Keep what a reference names."""
        _write(self.backend.create(key), encode(descriptor))

    def image(self, key: str) -> Descriptor:
        """What a reference named when it was last pulled. Raises `NotFoundError`."""
        with self.backend.open(key) as reader:
            data = reader.read()
        try:
            return decode(data, Descriptor, f"{self.name}: {key}")
        except FormatError as error:
            raise NotFoundError(str(error)) from error

    def images(self) -> Iterator[tuple[str, Descriptor]]:
        """Every image's key and descriptor."""
        for entry in self.backend.scan(keys.IMAGES):
            with suppress(NotFoundError):
                yield entry.key, self.image(entry.key)

    def forget_image(self, key: str) -> None:
        self.backend.delete(key)

    def close(self) -> None:
        self._together.close()
        self.backend.close()


def open_tier(url: str, *, nearest: bool) -> Tier:
    """The tier that a URL names: the backend's options, and those of `take_policy`. Raises `ConfigError`."""
    policy, rest = take_policy(BackendURL.parse(url), nearest=nearest)
    return Tier(open_backend(rest), policy)


def _keys_of(fact: Association) -> tuple[str, str]:
    """By diff ID first: a look-up by digest that finds the fact shall find the other direction too."""
    if fact.computed:
        by_digest = keys.computed_by_digest(fact.digest)
        return keys.by_diff_id(keys.COMPUTED, fact.diff_id, fact.digest), by_digest
    by_digest = keys.claimed_by_digest(fact.digest, fact.diff_id)
    return keys.by_diff_id(keys.CLAIMED, fact.diff_id, fact.digest), by_digest


def _write(sink: Sink, data: bytes) -> None:
    with sink:
        sink.write(data)
        sink.commit()
