"""Blobs that only a claim leads to: the tar inside is looked at before the last bytes are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from layercache.errors import FormatError, IntegrityError, LimitError
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.resolver.tier_writer import WrongEntryError
from layercache.streams import readers
from layercache.streams.readers import HashedReader, HeadReader, WrappingReader, sniff_layer
from layercache.transfer.follower import Follower, read_through

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.oci.digest import Digest, Hash
    from layercache.streams.inflate import InflatedReader

_T = TypeVar("_T")


class ConfirmedReader(HashedReader):
    """A compressed blob whose last bytes are held back until the tar inside was found right.

    ``tar`` inflates the same blob, out of ``source`` where this reader is the only one who drives it, and
    raises where it is another tar than was asked for. It keeps up with what is read here. ``judge`` is called
    with the blob's hash and size when the tar has ended. Closing closes both.
    """

    def __init__(
        self,
        blob: Reader,
        tar: Reader,
        judge: Callable[[Hash, int], None],
        *,
        digest: Digest,
        source: Reader | None,
    ) -> None:
        super().__init__(blob, self._confirm, algorithm=digest.algorithm, size=blob.size)
        self._tar = tar
        self._judge = judge
        self._source = source if isinstance(source, Follower) else None

    def _hashed(self) -> bytes:
        chunk = super()._hashed()
        while self._source is not None and not self._ended and self._source.tell() < self._seen:
            if not self._tar.read(readers.CHUNK):
                break
        return chunk

    def _confirm(self, found: Hash, seen: int) -> None:
        read_through(self._tar)
        self._judge(found, seen)

    def close(self) -> None:
        super().close()
        self._tar.close()


class RefutingReader(WrappingReader):
    """A tar that is made of a ``blob`` on a claim's word. That none can be made refutes the claim.

    ``only_tars``: so does what begins as no tar does, since who asks for a gzip by its digest must not get
    another blob that has this one inside. ``refute`` is called with the error once the blob was found to be
    what its name says.
    """

    def __init__(
        self,
        tar: InflatedReader,
        blob: Reader,
        refute: Callable[[IntegrityError], object],
        *,
        only_tars: bool,
    ) -> None:
        super().__init__(tar, tar.size)
        self._tar = tar
        self._blob = blob
        self._refute = refute
        self._unseen = only_tars

    @property
    def seconds(self) -> float:
        """As `InflatedReader.seconds`."""
        return self._tar.seconds

    def read(self, size: int = -1, /) -> bytes:
        try:
            if self._unseen:
                self._look()
            return self._raw.read(size)
        except (FormatError, LimitError) as error:
            read_through(self._blob)
            self._refute(error)
            raise

    def _look(self) -> None:
        self._raw = head = HeadReader(self._raw)
        self._unseen = False
        if sniff_layer(head.head) != NO_COMPRESSION:
            raise FormatError("what is inside is not a tar")


class ClaimedReader(WrappingReader):
    """A form that a claim leads to. Where that is refuted before a byte was given, the next way is taken.

    ``again`` opens it, and raises what it is given where there is none. What a claim has led to for so long
    that bytes were given ends in the error.
    """

    may_find_wrong_entry: ClassVar[bool] = True
    """See `layercache.resolver.healing`."""

    def __init__(self, first: Reader, again: Callable[[IntegrityError], Reader]) -> None:
        super().__init__(first, first.size)
        self._again = again
        self._begun = False

    def read(self, size: int = -1, /) -> bytes:
        return self._tried(lambda raw: raw.read(size))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._tried(lambda raw: raw.readinto(buffer))

    def run(self) -> None:
        """See it to its end, whatever claims are refuted on the way: nobody is given what is read."""
        self._tried(read_through)

    def _tried(self, read: Callable[[Reader], _T]) -> _T:
        while True:
            try:
                got = read(self._raw)
            except WrongEntryError:
                raise
            except IntegrityError as error:
                if self._begun:
                    raise
                self._raw.close()
                self._raw = self._again(error)
                self.size = self._raw.size
            else:
                self._begun = True
                return got
