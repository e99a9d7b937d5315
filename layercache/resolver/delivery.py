"""How a blob gets into a tier: as it is, or, if it is a plain tar and the tier wants that, recompressed."""

from __future__ import annotations

from contextlib import closing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, LimitError, NotFoundError
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.oci.forms import COMPRESSED, Form
from layercache.streams.readers import HeadReader, sniff, verified
from layercache.transfer.spool import TierSpool
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.backend.capabilities import Counting
    from layercache.errors import LayercacheError
    from layercache.events import Event
    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier


class Deliveries:
    """Writes blobs into tiers where they are missing. Thread-safe but for ``wrong``, a set of the caller's.

    ``wrong``: entries that are not what their names say. ``look_again`` hashes an entry, and returns an error
    where it is wrong. ``changed_meanwhile`` returns the error for an entry that another program changed.
    """

    def __init__(
        self,
        wrong: set[tuple[Tier, Hash]],
        look_again: Callable[[Tier, Hash, Form], LayercacheError | None],
        changed_meanwhile: Callable[[Tier, Hash, Form], LayercacheError],
    ) -> None:
        self._wrong = wrong
        self._look_again = look_again
        self._changed_meanwhile = changed_meanwhile

    def has(self, tier: Tier, name: Hash, form: Form, size: int, *, recompressed: bool = False) -> bool:
        """Whether a tier has the blob, or, if it may be ``recompressed``, another one with this tar inside.

        An entry of another size is none, nor is one that was found wrong.
        """
        if recompressed:
            from layercache.resolver.inside import is_inside

            if is_inside(tier, name, size, self._wrong):
                return True
        if (tier, name) in self._wrong:  # now there are right bytes for it
            self._wrong.discard((tier, name))
            if not tier.remote:  # a folder publishes nothing over what is there
                tier.blobs.delete(name)
            return False
        try:
            if tier.blobs.size(name) == size:
                return not tier.policy.trusted or self._look_again(tier, name, form) is None
        except NotFoundError:
            pass
        return False

    def deliver(
        self,
        tier: Tier,
        stored: Event,
        reader: Reader,
        near: Tier,
        again: Callable[[], Reader],
        *,
        recompressed: bool,
        follow: Callable[[Counting], object] = lambda _: None,
    ) -> Event | None:
        """As `send`, unless the tier has the blob: then None. Of a small one, the tier is not asked first."""
        name, form, size = stored.name, stored.form, stored.size
        assert name is not None, "what is stored has a name"
        created = None
        if not recompressed and (tier, name) not in self._wrong:
            with self._hashed(near, name, form):
                created = tier.blobs.create(name, verified(reader, name), size)
        if created:
            return stored
        if created is False and not tier.policy.trusted:
            return None
        if self.has(tier, name, form, size, recompressed=recompressed):
            return None
        with closing(again()) if created is False else nullcontext(reader) as whole:
            return self.send(tier, stored, whole, near, again, recompressed=recompressed, follow=follow)

    def send(
        self,
        tier: Tier,
        stored: Event,
        reader: Reader,
        near: Tier,
        again: Callable[[], Reader],
        *,
        recompressed: bool,
        follow: Callable[[Counting], object] = lambda _: None,
    ) -> Event:
        """Write the blob of a ``stored`` event into a tier; return the event of what was written.

        ``recompressed``: if it is a tar, in the compression of the tier's policy, made in a spool of the tier
        ``near``, which is where the bytes come from. Where that blob cannot be kept, the tar is, which is
        read once more: ``again`` opens it. ``again`` and ``follow`` are passed to `BlobStore.copy`, too.
        """
        copy = partial(self._copy, follow=follow)
        name = stored.name
        assert name is not None, "what is stored has a name"
        compression = tier.policy.recompress if recompressed else None
        head = HeadReader(reader) if compression else None
        if compression is None or head is None or sniff(head.head) != NO_COMPRESSION:
            copy(tier, name, stored.form, head or reader, near, again)
            return stored
        from layercache.resolver.compressing import recompress_into

        with closing(TierSpool(near)) as spool:
            fact = None
            try:
                fact = recompress_into(spool, head, name, compression)
            except LimitError:  # readers would take it for a decompression bomb
                pass
            except DigestMismatchError as error:
                raise self._changed_meanwhile(near, name, stored.form) from error
            if fact is None or not tier.blobs.fits(fact.size):
                with again() as tar:
                    copy(tier, name, stored.form, tar, near, again)
                return stored
            if not self.has(tier, fact.digest, COMPRESSED, fact.size):
                copy(tier, fact.digest, COMPRESSED, spool.reader(), near, spool.reader)
        tier.facts.record(fact)
        return replace(stored, name=fact.digest, size=fact.size)

    def _copy(
        self,
        tier: Tier,
        name: Hash,
        form: Form,
        reader: Reader,
        source: Tier,
        again: Callable[[], Reader],
        *,
        follow: Callable[[Counting], object],
    ) -> None:
        """Into a tier, hashed on the way: other programs can reach what is published."""

        def reopened() -> Reader:
            reader = again()
            return verified(reader, name, reader.size)

        with self._hashed(source, name, form):
            tier.blobs.copy(name, verified(reader, name, reader.size), again=reopened, follow=follow)

    @contextmanager
    def _hashed(self, source: Tier, name: Hash, form: Form) -> Iterator[None]:
        try:
            yield
        except DigestMismatchError as error:
            raise self._changed_meanwhile(source, name, form) from error
