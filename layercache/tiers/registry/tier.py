"""A registry as a tier: ``oci://registry/repository``, shared with whoever may read there.

Blobs are blobs. What a cache on disk writes as facts and images, a registry keeps as small artefacts under
tags: one a name (`NameRecord`), one an image. The manifests of images are kept as manifests
too, as soon as all that they name is there, so that other tools pull them by digest.
"""

from __future__ import annotations

import io
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import Entry, check_range
from layercache.errors import BackendError, DigestMismatchError, FormatError, NotFoundError, SourceError
from layercache.oci.digest import Digest, Hash
from layercache.oci.image_tree import children_first, walk
from layercache.registry.encoding import TooBigError
from layercache.registry.repository import Repository
from layercache.registry.retry import TransientError
from layercache.streams.readers import WrappingReader, read_bounded
from layercache.tiers import keys
from layercache.tiers.registry.record import (
    NameRecord,
    image_record,
    image_tag_of,
    is_image_tag,
    manifest_tag_of,
    read_image,
)
from layercache.tiers.registry.records import RECORD_MAX, Records
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import DiffID
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.registry.upload import Bytes
    from layercache.tiers.association import Association
    from layercache.tiers.policy import Policy

_T = TypeVar("_T")

SCHEME = "oci"


@dataclass(frozen=True, slots=True)
class _Opened:
    client: RegistryClient
    repository: Repository
    records: Records


class RegistryTier(Tier):
    """A tier in one repository of a registry. The repository should be the cache's alone.

    ``client`` is called when the registry is first asked. Listings cost a request for each name, in no
    order. A blob's time is when it came, as the record of its name tells; using it does not refresh it.
    """

    def __init__(self, reference: Reference, policy: Policy, client: Callable[[], RegistryClient]) -> None:
        super().__init__(f"{SCHEME}://{reference.name}", policy, remote=True)
        self._reference = reference
        self._new_client = client
        self._opened: _Opened | None = None
        self._opening = threading.Lock()
        self._sibling = ""

    # Blobs

    def open_blob(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        check_range(start, end)
        with _as_backend(self.name):
            return _BlobReader(self.repository.open_blob(name, start, end), self.name)

    def stat_blob(self, name: Hash) -> Entry:
        with _as_backend(self.name):
            size = self.repository.blob_size(name)
            return Entry(keys.blob(name), size, self.records.read(name).published)

    def has_blob(self, name: Hash) -> bool:
        with _as_backend(self.name):
            return self.repository.has_blob(name)

    def put_blob(self, name: Hash, data: bytes) -> None:
        if not self.has_blob(name):
            self._push(name, io.BytesIO(data))

    def copy_blob(self, name: Hash, reader: Reader) -> None:
        """As `Tier.copy_blob`. The registry hashes it too. What breaks off leaves nothing that has a name."""
        self._push(name, reader)

    def delete_blob(self, name: Hash) -> None:
        with _as_backend(self.name):
            self.repository.delete_manifest(name)
            self.repository.delete_blob(name)
            self.records.change(name, lambda record: replace(record, size=None, published=0.0))

    def blobs(self) -> Iterator[tuple[Hash, Entry]]:
        for record in self._all_names():
            if record.size is not None:
                yield record.name, Entry(keys.blob(record.name), record.size, record.published)

    # Associations

    def facts_about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        with _as_backend(self.name):
            facts = self.records.read(name).facts
        wanted = _chosen(facts, claims=not self.policy.trusted)
        return [each for each in wanted if each.digest == name], [
            each for each in wanted if each.diff_id == name
        ]

    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        with _as_backend(self.name):
            return _chosen(
                [each for each in self.records.read(digest).facts if each.digest == digest], claims=claims
            )

    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        with _as_backend(self.name):
            return _chosen(
                [each for each in self.records.read(diff_id).facts if each.diff_id == diff_id], claims=claims
            )

    def record(self, fact: Association) -> None:
        """As `Tier.record`. By diff ID first: who finds the fact by digest shall find the other way too."""
        if not self.policy.readonly:
            with _as_backend(self.name):
                for name in _names_of(fact):
                    self.records.change(name, lambda record: record.with_fact(fact))

    def forget(self, fact: Association) -> None:
        with _as_backend(self.name):
            for name in _names_of(fact):
                self.records.change(name, lambda record: record.without_fact(fact))

    def associations(self) -> Iterator[Association]:
        for record in self._all_names():
            yield from (fact for fact in record.facts if fact.digest == record.name)

    # Images

    def tag_image(self, key: str, descriptor: Descriptor) -> None:
        if key.startswith(f"{keys.IMAGES}{self._reference.registry}/"):
            self._sibling = keys.image_repository(key)
        with _as_backend(self.name):
            self.records.put(image_tag_of(key), image_record(key, descriptor))
            self._keep_manifest(descriptor)

    def image(self, key: str) -> Descriptor:
        tag = image_tag_of(key)
        with _as_backend(self.name):
            try:
                data, _ = self.repository.manifest(tag, RECORD_MAX)
                found, descriptor = read_image(data)
            except (FormatError, TooBigError) as error:
                raise NotFoundError(f"{self.name}: {error.message}") from error
        if found != key:
            raise NotFoundError(f"{self.name}: {tag} is the record of another image")
        return descriptor

    def images(self) -> Iterator[tuple[str, Descriptor]]:
        listed = self.records.listed(is_image_tag)
        while (found := self._next(listed)) is not None:
            with suppress(FormatError):
                key, descriptor = read_image(found[1])
                if image_tag_of(key) == found[0]:
                    yield key, descriptor

    def forget_image(self, key: str) -> None:
        with _as_backend(self.name):
            self.records.delete(image_tag_of(key))

    def close(self) -> None:
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.records.close()
            opened.client.close()

    @property
    def client(self) -> RegistryClient:
        """How the registry is reached."""
        return self._open().client

    @property
    def repository(self) -> Repository:
        """The repository as it is: blobs by their hash, manifests, tags."""
        return self._open().repository

    @property
    def records(self) -> Records:
        """The artefacts in it."""
        return self._open().records

    def _open(self) -> _Opened:
        with self._opening:
            if self._opened is None:
                client, reference = self._new_client(), self._reference
                repository = Repository(client, reference.registry, reference.repository)
                self._opened = _Opened(client, repository, Records(repository))
            return self._opened

    def _all_names(self) -> Iterator[NameRecord]:
        names = self.records.all_names()
        while (record := self._next(names)) is not None:
            yield record

    def _next(self, items: Iterator[_T]) -> _T | None:
        with _as_backend(self.name):
            return next(items, None)

    def _push(self, name: Hash, reader: Bytes) -> None:
        with _as_backend(self.name):
            size = self.repository.push(name, reader, mount_from=self._sibling)
            if size is None:
                size = self.repository.blob_size(name)
            self.records.change(name, lambda record: replace(record, size=size, published=time.time()))

    # Manifests of images

    def _keep_manifest(self, descriptor: Descriptor) -> None:
        """Let other tools pull the image by its digest, if all of it is there.

        What a registry refuses to take as an image it still has as blobs, which is all that a cache needs.
        """

        def read(document: Descriptor) -> bytes:
            try:
                with self.repository.open_blob(document.digest) as reader:
                    return read_bounded(reader, self.policy.max_document_size, str(document.digest))
            except TransientError:
                raise
            except SourceError as error:
                raise NotFoundError(error.message) from error

        for node in children_first(walk(read, descriptor, failed=lambda _document, _error: None)):
            if node.parsed is None:
                continue
            try:
                # Each has a tag: what an index alone refers to, some garbage collections take.
                tag = manifest_tag_of(node.descriptor.digest)
                self.repository.put_manifest(tag, node.data, node.kind)
            except TransientError:
                raise
            except (NotFoundError, FormatError, SourceError):
                continue


class _BlobReader(WrappingReader):
    """A blob on its way from the registry. What breaks is the tier's failure."""

    def __init__(self, raw: Reader, where: str) -> None:
        super().__init__(raw, raw.size)
        self._where = where

    def read(self, size: int = -1, /) -> bytes:
        with _as_backend(self._where):
            try:
                return self._raw.read(size)
            except DigestMismatchError as error:  # another size than before
                raise SourceError(error.message) from error


@contextmanager
def _as_backend(where: str) -> Iterator[None]:
    """What the registry client fails with is, of a tier, a `BackendError`."""
    try:
        yield
    except SourceError as error:
        raise BackendError(f"{where}: {error.message}", looked_in=error.looked_in, hint=error.hint) from error


def _chosen(facts: Sequence[Association], *, claims: bool) -> list[Association]:
    computed = [fact for fact in facts if fact.computed]
    return computed if computed and not claims else computed + [fact for fact in facts if not fact.computed]


def _names_of(fact: Association) -> list[Hash]:
    return list(dict.fromkeys([Hash(fact.diff_id), Hash(fact.digest)]))
