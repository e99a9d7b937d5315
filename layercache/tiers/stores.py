"""What a tier has: blobs, images, derived objects. Each method declares what stands in if the tier failed.

Facts, the fourth store, are in `layercache.tiers.facts`.

Every method may raise `BackendError`, and is thread-safe. None of them implies another: that there is a fact,
an image or a derived object says nothing about the blob.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError
from layercache.tiers.on_failure import or_answer, or_drop, or_not_found, or_raise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from contextlib import AbstractContextManager

    from layercache.backend import Entry, Reader
    from layercache.backend.capabilities import Counting, Lock, Spool
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Hash


class BlobStore(ABC):
    """Bytes under their own hash: either form of a layer, manifests, configs."""

    @or_not_found
    @abstractmethod
    def open(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        """Read bytes ``start`` to ``end`` of a blob, as `Backend.open`. This counts as a use of the blob.

        A range cannot be checked by the blob's hash: that is up to the caller.
        """

    @or_not_found
    def inspect(self, name: Hash) -> Reader:
        """Read a blob without counting it as a use, as maintenance does: listings, `copy`, index.json."""
        return self.open(name)

    @or_not_found
    @abstractmethod
    def stat(self, name: Hash) -> Entry:
        """A blob's size and time. Raises `NotFoundError`."""

    @or_not_found
    def size(self, name: Hash) -> int:
        """A blob's bytes, in one request. Raises `NotFoundError`."""
        return self.stat(name).size

    @or_answer(bool)
    def has(self, name: Hash) -> bool:
        try:
            self.stat(name)
        except NotFoundError:
            return False
        return True

    @or_raise
    def path(self, name: Hash) -> str | None:  # noqa: ARG002
        """Where the blob's file would be; None in a tier whose blobs are not files."""
        return None

    @or_answer(lambda: None)
    def signed_url(self, name: Hash, size: int, seconds: int) -> str | None:  # noqa: ARG002
        """Return a URL by which anybody can read the blob for that time, in a request to the store.

        None if no blob of this size is there, or the tier cannot sign URLs. This counts as a use of the blob.
        """
        return None

    @or_raise
    def lock(self, name: Hash, *, timeout: float) -> AbstractContextManager[Lock | None]:  # noqa: ARG002
        """As `Lockable.lock`, for what is done once about a layer; None where nobody can be kept out."""
        return nullcontext()

    @or_raise
    def spool(self) -> Spool | None:
        """A place for bytes on their way into the tier; None where it has none."""
        return None

    @or_raise
    def fits(self, size: int) -> bool:  # noqa: ARG002
        """Whether a blob of so many bytes may be kept at all: else it is bigger than the tier may get."""
        return True

    @or_raise
    def sparing(self, names: Collection[Hash]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do not evict these blobs inside the block, since they are being pulled."""
        return nullcontext()

    @or_drop
    @abstractmethod
    def put(self, name: Hash, data: bytes) -> None:
        """Keep a small blob that was verified, if it fits: a manifest, a config. No error if it is there."""

    @or_raise
    def create(self, name: Hash, reader: Reader, size: int) -> bool | None:  # noqa: ARG002
        """Keep a small blob unless it is there, without asking for it first; return whether it was missing.

        None if this tier has to ask, or the blob is not small: then nothing was read. The reader is as that
        of `copy`.
        """
        return None

    @or_raise
    def publish(self, name: Hash, spool: Spool, size: int) -> None:
        """Keep a blob whose ``size`` verified bytes are in this tier's own spool."""
        raise BackendError(f"{name} cannot be published: this tier has no spool ({spool!r}, {size} bytes)")

    @or_raise
    @abstractmethod
    def copy(
        self,
        name: Hash,
        reader: Reader,
        *,
        again: Callable[[], Reader] | None = None,
        follow: Callable[[Counting], object] = lambda _: None,
    ) -> None:
        """Keep a blob. The reader verifies its bytes, and fails before the end of wrong ones.

        ``again`` opens another such reader; without it, a store that loses bytes during the upload fails.
        ``follow`` is called once with what knows how far it is, if anything does.
        """

    @or_drop
    @abstractmethod
    def delete(self, name: Hash) -> None:
        """Remove a blob and what was derived from it; no error if it is not there."""

    @or_drop
    def put_aside(self, name: Hash) -> None:
        """Put a wrong blob out of the way: into the quarantine if that only moves it, else remove it."""
        self.delete(name)

    @or_raise
    @abstractmethod
    def scan(self) -> Iterator[tuple[Hash, Entry]]:
        """Every blob, lazily, in any order."""


class ImageStore(ABC):
    """What references name. A key is one of `keys.image_tag` or `keys.image_digest`."""

    @or_not_found
    @abstractmethod
    def get(self, key: str) -> Descriptor:
        """What a reference named when it was last pulled. Raises `NotFoundError`."""

    @or_not_found
    def time(self, key: str) -> float:  # noqa: ARG002
        """When a reference was last found to name what it names (seconds since the epoch); 0: not stated.

        Raises `NotFoundError`.
        """
        return 0.0

    @or_not_found
    def dated(self, key: str) -> tuple[Descriptor, float]:
        """Both of these: what a reference named, and when that was found. Raises `NotFoundError`."""
        return self.get(key), self.time(key)

    @or_answer(bool)
    def names(self, key: str, descriptor: Descriptor) -> bool:
        """Whether a reference names just this."""
        try:
            return self.get(key) == descriptor
        except NotFoundError:
            return False

    @or_drop
    @abstractmethod
    def tag(self, key: str, descriptor: Descriptor) -> None:
        """Keep what a reference names."""

    @or_drop
    def tag_once(self, key: str, descriptor: Descriptor, *, refresh: bool = False) -> None:  # noqa: ARG002
        """As `tag`, where many machines are about to write the same: what is there already is not written.

        ``refresh``: it is written again if its time is not of the last minute.
        """
        self.tag(key, descriptor)

    @or_drop
    @abstractmethod
    def forget(self, key: str) -> None:
        """Remove what a reference names; no error if it is not there."""

    @or_raise
    @abstractmethod
    def scan(self) -> Iterator[tuple[str, Descriptor]]:
        """Every image's key and descriptor, lazily, in any order."""

    @or_raise
    def listed(self, within: str) -> Iterator[str]:
        """The keys that begin so, lazily, in any order. What they name is not read where that saves requests.

        ``within`` ends in "/".
        """
        yield from (key for key, _ in self.scan() if key.startswith(within))


class DerivedStore:
    """Objects that were computed from a blob, and can be computed again: an index of its files, seek points.

    Named by the blob and a ``kind`` ("tar-index-1": see `keys.derived`), a format's name and version. They
    count towards the tier's limits, and go when their blob goes. Nothing verifies their bytes: a format needs
    a checksum. This class itself is the store of a tier that keeps none.
    """

    @or_not_found
    def open(self, kind: str, name: Hash, start: int = 0, end: int | None = None) -> Reader:  # noqa: ARG002
        """Read bytes ``start`` to ``end`` of a derived object, as `Backend.open`."""
        raise NotFoundError(f"no {kind} of {name} is kept here")

    @or_drop
    def put(self, kind: str, name: Hash, chunks: Iterable[bytes]) -> None:
        """Keep an object in place of the one before. Nothing is kept where the tier is read-only, has no
        room for it, or keeps no derived objects.
        """

    @or_drop
    def delete(self, name: Hash) -> None:
        """Remove all that was derived from a blob; no error if there is nothing."""

    @or_raise
    def scan(self) -> Iterator[tuple[str, Hash, Entry]]:
        """Every derived object: kind, name of the blob, size and time; lazily, in any order."""
        yield from ()
