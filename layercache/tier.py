"""A tier: blobs, associations and images on one backend."""

from __future__ import annotations

import os
import tempfile
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend import Entry, Reader, Sink, Spool
    from layercache.digest import Hash
    from layercache.policy import Policy


class Tier:
    """Typed operations on one backend. Every method may raise `BackendError`."""

    def __init__(self, backend: Backend, policy: Policy) -> None:
        self.backend = backend
        self.policy = policy
        self.name = backend.url
        # Asked once: isinstance() of a protocol costs microseconds each time.
        self._spooler = backend if isinstance(backend, Spooler) else None
        self._expendable = backend if isinstance(backend, Expendable) else None

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

    def spool(self) -> Spool:
        """A place for bytes on their way into this tier: its own, else a temporary file."""
        return self._spooler.spool() if self._spooler else TemporarySpool(self.backend)

    def put_blob(self, name: Hash, data: bytes) -> None:
        """Keep a small blob that was verified: a manifest, a config."""
        if not self.has_blob(name):
            _write(self.backend.create(keys.blob(name)), data)

    def copy_blob(self, name: Hash, spool: Spool) -> None:
        """Keep a blob whose verified bytes stand in a spool of another tier."""
        _copy(spool, self.backend, keys.blob(name))

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
        own = self._read(keys.computed_by_digest(digest), computed=True)
        as_digest = [own] if own else []
        as_diff_id = list(self._facts(keys.digests_of(keys.COMPUTED, diff_id), computed=True))
        if not as_digest and not as_diff_id:
            as_digest += self._facts(keys.claims_of(digest), computed=False)
            as_diff_id += self._facts(keys.digests_of(keys.CLAIMED, diff_id), computed=False)
        return as_digest, as_diff_id

    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        """What is known of a blob's tar: the one computed fact; where there is none, or if asked, claims."""
        computed = self._read(keys.computed_by_digest(digest), computed=True)
        found = [computed] if computed else []
        if claims or not found:
            found += self._facts(keys.claims_of(digest), computed=False)
        return found

    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        """The blobs that inflate to a tar: computed; where there are none, or if asked, claimed."""
        found = list(self._facts(keys.digests_of(keys.COMPUTED, diff_id), computed=True))
        if claims or not found:
            found += self._facts(keys.digests_of(keys.CLAIMED, diff_id), computed=False)
        return found

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
        self.backend.close()


class TemporarySpool:
    """A spool for a backend that has none: an unnamed temporary file, uploaded when it is published."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # close() closes it

    def write(self, data: ReadableBuffer, /) -> None:
        view = memoryview(data).cast("B")
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise BackendError(
                f"writing a temporary file in {tempfile.gettempdir()}: {error.strerror}",
                hint="make room there, or name another folder with TMPDIR",
            ) from error

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        return os.preadv(self._file.fileno(), [buffer], offset)

    def publish(self, key: str) -> None:
        _copy(self, self._backend, key)

    def close(self) -> None:
        self._file.close()


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


def _copy(spool: Spool, backend: Backend, key: str) -> None:
    buffer = bytearray(CHUNK)
    offset = 0
    with backend.create(key) as sink:
        while count := spool.readinto_at(offset, buffer):
            sink.write(memoryview(buffer)[:count])
            offset += count
        sink.commit()
