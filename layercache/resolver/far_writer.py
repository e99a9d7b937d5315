"""What is written to a far tier in the background: blobs out of the nearest tier, and small objects."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, DigestMismatchError, NotFoundError
from layercache.events import Event
from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.upload_queue import Upload
from layercache.streams.readers import WrappingReader
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.resolver.delivery import Deliveries
    from layercache.resolver.upload_queue import UploadQueue
    from layercache.tiers.tier import Tier


def _nothing() -> None:
    pass


class FarWriter:
    """Adds uploads to a queue. Thread-safe: it holds nothing that changes.

    ``report`` is called with a tier and the event of what was stored there.
    """

    def __init__(
        self,
        queue: UploadQueue,
        nearest: Tier,
        report: Callable[[Tier, Event], object],
        deliveries: Deliveries,
    ) -> None:
        self._queue = queue
        self._nearest = nearest
        self._report = report
        self._deliveries = deliveries

    def soon(
        self,
        tier: Tier,
        key: str,
        work: Callable[[], object],
        about: Hash,
        *,
        size: int = 0,
        sent: Callable[[], object] = _nothing,
    ) -> None:
        """Write a small object of ``size`` bytes, and call ``sent`` unless the tier has failed."""
        upload = Upload(tier.name, key, size)

        def send() -> None:
            work()
            if tier.write_failure is None:  # else it was dropped
                upload.sent = size
                sent()

        self._queue.add(send, about=about, upload=upload)

    def upload(
        self,
        tier: Tier,
        near: Tier,
        stored: Event,
        layer: Digest | None,
        *,
        recompressed: bool = False,
        sent: Callable[[], object] = _nothing,
    ) -> None:
        """Copy a blob out of a near tier unless it is there already, and call ``sent`` once it is.

        ``stored`` is the event to emit, ``recompressed`` as in `Deliveries.send`. All that concerns ``layer``
        is sent in order.
        """
        name = stored.name
        assert name is not None, "a blob has a name"
        # Open from now on: who evicts it nearby takes its name away, not its bytes.
        reader = near.blobs.open(name)
        upload = Upload(tier.name, keys.blob(name), stored.size)
        deliver = self._deliveries.deliver

        def send() -> None:
            with reader:
                try:
                    if tier.write_failure is not None:
                        return
                    ending = _EndingReader(reader, upload)
                    again = partial(_ending, near, name, upload)
                    done = deliver(
                        tier, stored, ending, near, again, recompressed=recompressed, follow=upload.follow
                    )
                    if done is not None:
                        upload.size = upload.sent = done.size
                        self._report(tier, done)
                except (DigestMismatchError, NotFoundError):
                    pass  # it was reported: an entry that was corrupted nearby is not uploaded
                except BackendError as error:
                    if not upload.given_up:
                        tier.mark_failed(error, writing=True)
                    return
                sent()

        self._queue.add(send, about=layer or name, drop=reader.close, upload=upload)

    def resume(self, tier: Tier, key: str, sent: Callable[[], object]) -> None:
        """Send an object that the nearest tier has. If it has no such object any more, ``sent`` is called."""
        try:
            if (name := keys.blob_name(key)) is not None:
                self._resume_blob(tier, name, sent)
            elif (digest := keys.record_name(key)) is not None:
                self._resume_facts(tier, key, Digest(digest), sent)
            elif (index := keys.derived_name(key)) is not None:
                self._resume_derived(tier, key, *index, sent)
            else:
                image, modified = self._nearest.images.get(key), self._nearest.images.time(key)
                from layercache.tiers.tag_origin import send_tag

                work = partial(send_tag, tier, key, image, modified)
                self.soon(tier, key, work, image.digest, sent=sent)
        except NotFoundError:
            sent()

    def _resume_blob(self, tier: Tier, name: Hash, sent: Callable[[], object]) -> None:
        near = self._nearest
        form: Form = UNCOMPRESSED if near.facts.made_from(DiffID(name), claims=True) else COMPRESSED
        stored = Event("stored", name, form, tier.name, size=near.blobs.stat(name).size)
        plain = any(fact.diff_id == name for fact in near.facts.inflates_to(Digest(name)))
        recompressed = plain and tier.policy.recompress is not None
        self.upload(tier, near, stored, None, recompressed=recompressed, sent=sent)

    def _resume_facts(self, tier: Tier, key: str, digest: Digest, sent: Callable[[], object]) -> None:
        facts = self._nearest.facts.inflates_to(digest, claims=True)

        def record() -> None:
            for fact in facts:
                tier.facts.record(fact)

        self.soon(tier, key, record, digest, sent=sent)

    def _resume_derived(
        self, tier: Tier, key: str, kind: str, name: Hash, sent: Callable[[], object]
    ) -> None:
        with self._nearest.derived.open(kind, name) as reader:
            data = reader.read()
        self.soon(tier, key, partial(tier.derived.put, kind, name, [data]), name, size=len(data), sent=sent)


def _ending(near: Tier, name: Hash, upload: Upload) -> Reader:
    return _EndingReader(near.blobs.open(name), upload)


class _EndingReader(WrappingReader):
    """A blob that is being uploaded: it fails once the upload is given up."""

    def __init__(self, raw: Reader, upload: Upload) -> None:
        super().__init__(raw, raw.size)
        self._upload = upload

    def read(self, size: int = -1, /) -> bytes:
        if self._upload.given_up:
            raise BackendError("the upload was given up")
        return self._raw.read(size)
