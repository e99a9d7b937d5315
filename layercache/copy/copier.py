"""The whole copy: blobs with their facts, then the remaining facts, then indexes, then images."""

from __future__ import annotations

from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from layercache.copy.blob_copier import BlobCopier, SourceFailedError, StoppedError, source_errors
from layercache.copy.index_copier import IndexCopier
from layercache.copy.name_sets import SourceRoles, TargetContents, raw
from layercache.copy.report import Copied
from layercache.copy.selection import image_blobs, image_entries
from layercache.errors import ConfigError, DigestMismatchError, IntegrityError, NotALayerError, NotFoundError
from layercache.events import Event, Observers
from layercache.images.tags import doubtful
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.oci.forms import COMPRESSED
from layercache.resolver.identity import contradiction
from layercache.resolver.inside import is_inside
from layercache.tiers import keys
from layercache.tiers.tag_origin import COPIED_FROM, as_claimed, imported_from, marked
from layercache.transfer.cancellation import current
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Entry
    from layercache.copy.selection import Selection
    from layercache.errors import LayercacheError
    from layercache.oci.forms import Form
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier

    Job = Callable[[], None]

PENDING_PER_THREAD = 4
"""Entries queued for each thread: bounds memory, however many entries there are."""

STOP_SECONDS = 3.0
"""Seconds to wait for threads to clean up unfinished blobs when the copy is aborted."""


class Copy:
    """Copies what ``selection`` names from one tier to another.

    A computed fact of an untrusted source becomes a claim in the target, unless the blob is inflated while it
    is copied: that both forms have the right hashes does not prove that one inflates to the other.

    Entries of the source that are wrong or cannot be read are skipped and reported. If the target fails, the
    copy ends, since every other entry would fail too. ``observers`` get the same events as a cache's.
    """

    def __init__(
        self,
        source: Tier,
        target: Tier,
        selection: Selection,
        *,
        jobs: int = 8,
        dry_run: bool = False,
        observers: Observers | None = None,
    ) -> None:
        if source.name == target.name:
            raise ConfigError(f"{source.name} is to be copied into itself", hint="name two caches")
        if target.policy.readonly:
            raise ConfigError(f"{target.name} is read-only", hint="name a cache that can be written to")
        self.report = Copied()
        self._source = source
        self._target = target
        self._selection = selection
        self._jobs = jobs
        self._dry_run = dry_run
        self._observers = observers or Observers()
        self._copier = BlobCopier(source, target, self._observers.emit)
        self._indexes = IndexCopier(source, target)
        self._chosen: set[bytes] = set()

    def run(self) -> Copied:
        """Copy everything that is missing. Call it once.

        Raises `NotFoundError` if the source does not have a selected image, `BackendError` if the target or
        the whole source fails.
        """
        if (cancellation := current()) is not None:
            cancellation.at_cancel(self._copier.stop)
        if self._selection.images:
            # A reference that is mistyped is reported before anything is copied.
            for _ in image_entries(self._source, self._selection):
                pass
        self._contents = TargetContents(self._target)
        self._roles = SourceRoles(self._source)
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="copy")
        pending: set[Future[None]] = set()
        try:
            for jobs in (self._blob_jobs(), self._fact_jobs(), self._index_jobs(), self._image_jobs()):
                for job in jobs:
                    pending.add(pool.submit(job))
                    if len(pending) >= self._jobs * PENDING_PER_THREAD:
                        pending = _finished(pending, FIRST_COMPLETED)
                pending = _finished(pending, ALL_COMPLETED)
        except BaseException:
            self._copier.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            wait(pending, timeout=STOP_SECONDS)
            raise
        pool.shutdown()
        return self.report

    # Blobs

    def _blob_jobs(self) -> Iterator[Job]:
        keep = self._target.policy.keep
        for name, entry in self._blobs():
            taken = self._selection.takes(name, self._roles, keep)
            missing = taken and not self._contents.has(name, entry.size)
            inside = self._roles.inside(name)
            if missing or (inside and self._makes(inside[0]) and not self._contents.has(inside[0])):
                yield partial(self._attempt, name, partial(self._bring, name, entry.size, missing))
            elif taken:
                self.report.add(present=1)

    def _blobs(self) -> Iterator[tuple[Hash, Entry]]:
        blobs = self._blobs_of_images() if self._selection.images else self._source.blobs.scan()
        return (each for each in blobs if each[1].modified >= self._selection.since)

    def _blobs_of_images(self) -> Iterator[tuple[Hash, Entry]]:
        for key, _ in image_entries(self._source, self._selection):
            needed: list[Hash] = []
            self._attempt(keys.image_name(key), partial(self._look_up, key, needed))
            for name in needed:
                if raw(name) not in self._chosen:
                    self._chosen.add(raw(name))
                    yield from self._forms_of(name)

    def _look_up(self, key: str, needed: list[Hash]) -> None:
        try:
            needed += [name for name, _ in self._references(key)]
        except NotFoundError:
            self.report.add(missing=1)

    def _forms_of(self, name: Hash) -> Iterator[tuple[Hash, Entry]]:
        """The blob, its tar, and, if it is a plain tar that the source has only inside other blobs, those."""
        there = 0
        inside = self._roles.inside(name)
        names: list[Hash] = [name, *([inside[0]] if inside else [])]
        if self._roles.is_plain(name) and not self._source.blobs.has(name):
            names += [fact.digest for fact in self._source.facts.made_from(DiffID(name), claims=True)]
        for each in dict.fromkeys(names):
            with suppress(NotFoundError):
                yield each, self._source.blobs.stat(each)
                there += 1
        self.report.add(missing=not there)

    def _bring(self, name: Hash, size: int, missing: bool) -> None:
        """Copy one blob, inflate it if the target wants its tar, and record the fact about both."""
        inside = self._roles.inside(name)
        if missing:
            self._copy(name, size, self._roles.form(name))
        if inside is None:
            return
        diff_id, computed = inside
        with source_errors():
            fact = self._source.facts.get(Digest(name), diff_id, computed=computed)
        if fact is None:
            return
        if self._makes(diff_id) and not self._contents.has(diff_id):
            fact = self._make(fact)
        self._record(fact)

    def _makes(self, diff_id: DiffID) -> bool:
        """Whether the target wants this tar: a plain layer as it is, unless the target recompresses."""
        keep, plain = self._target.policy.keep, self._roles.is_plain(diff_id)
        as_it_is = plain and self._target.policy.recompress is None and self._selection.keeps_compressed(keep)
        return as_it_is or self._selection.makes_tars(keep)

    def _copy(self, name: Hash, size: int, form: Form) -> None:
        compression = self._target.policy.recompress
        if compression is not None and self._roles.is_plain(name):
            if is_inside(self._target, name, size, ()):
                self.report.add(present=1)
                return
            if not self._dry_run and (fact := self._copier.recompress(name, compression)) is not None:
                self._contents.add_blob(fact.digest, fact.size)
                self._record(fact, computed_here=True)
                self.report.add(copied=1, copied_bytes=fact.size)
                return
        if not self._dry_run:
            size = self._copier.copy(name, form)
            self._contents.add_blob(name, size)
        self.report.add(copied=1, copied_bytes=size)

    def _make(self, fact: Association) -> Association:
        """Inflate a tar that the source does not have. The fact is then computed by this process."""
        with source_errors():
            if self._source.blobs.has(fact.diff_id):
                return fact  # it is copied as it is
        if self._dry_run:
            self.report.add(made=1, made_bytes=fact.uncompressed_size or 0)
            return fact
        near = (
            self._target if self._target.policy.trusted and self._contents.has(fact.digest) else self._source
        )
        try:
            made = self._copier.make_tar(fact, near=near)
        except NotALayerError:
            return fact
        if made.diff_id != fact.diff_id:
            self._target.facts.refute(fact)
            self._record(made, computed_here=True)
            raise contradiction(made.digest, made.diff_id, fact.diff_id)
        self._contents.add_blob(made.diff_id, made.uncompressed_size or 0)
        self.report.add(made=1, made_bytes=made.uncompressed_size or 0)
        self._record(made, computed_here=True)
        return made

    # Facts

    def _fact_jobs(self) -> Iterator[Job]:
        for fact, written in self._source.facts.written():
            wanted = (
                raw(fact.digest) in self._chosen
                if self._selection.images
                else written >= self._selection.since
            )
            if wanted:
                yield partial(self._attempt, fact.digest, partial(self._record, fact))

    def _record(self, fact: Association, *, computed_here: bool = False) -> None:
        computed = computed_here or (fact.computed and self._source.policy.trusted)
        if self._contents.knows(fact.digest, fact.diff_id, computed=computed):
            return
        fact = replace(fact, computed=computed)
        if not self._dry_run:
            self._target.facts.record(fact)
        self._contents.add_fact(fact)
        self.report.add(records=1)

    # Indexes

    def _index_jobs(self) -> Iterator[Job]:
        for name, copy in self._indexes.missing(self._wants_index):
            yield partial(self._attempt, name, partial(self._bring_index, copy))

    def _wants_index(self, name: Hash, entry: Entry) -> bool:
        """Of a blob that the target has, or, in a dry run, would have."""
        if not self._dry_run and not self._contents.has(name):
            return False
        if self._selection.images:
            return raw(name) in self._chosen
        return entry.modified >= self._selection.since

    def _bring_index(self, copy: Job) -> None:
        if not self._dry_run:
            copy()
        self.report.add(indexes=1)

    # Images

    def _image_jobs(self) -> Iterator[Job]:
        for key, modified in image_entries(self._source, self._selection):
            yield partial(self._attempt, keys.image_name(key), partial(self._bring_image, key, modified))

    def _bring_image(self, key: str, modified: float) -> None:
        """Copy a reference, after its documents, unless the target's is newer.

        A tag of an untrusted source never replaces one of the target, and is marked with its origin. One that
        was imported from a layout or an archive replaces only another such tag.
        """
        named = self._source.images.get(key)
        if keys.digest_in(key) not in ("", named.digest):
            raise DigestMismatchError(f"the source says that it is {named.digest}")
        if not self._source.policy.trusted:
            named = as_claimed(named)
        if who := doubtful(self._source, key, named):
            named = marked(named, COPIED_FROM, who)
        with suppress(NotFoundError):
            there = self._target.images.get(key)
            if there.digest == named.digest:
                return
            unsure = bool(who) or (bool(imported_from(named)) and not imported_from(there))
            if unsure or self._is_newer(key, modified):
                self.report.add(tags_kept=unsure)
                return
        for name, is_document in self._references(key):
            if is_document and not self._contents.has(name):
                self._copy(name, 0, COMPRESSED)
        if not self._dry_run:
            self._target.images.tag(key, named)
        self.report.add(images=1)

    def _is_newer(self, key: str, modified: float) -> bool:
        """Whether the target's reference is newer. It is not where times are unknown."""
        return self._target.images.time(key) >= modified > 0

    def _references(self, key: str) -> list[tuple[Digest, bool]]:
        with source_errors():
            return image_blobs(self._source, self._source.images.get(key))

    def _attempt(self, name: str, job: Job) -> None:
        """Run a job. Failures of the source are reported, and the copy goes on."""
        error: LayercacheError
        try:
            job()
        except (StoppedError, NotFoundError):
            return  # stopped; or evicted since the listing
        except IntegrityError as wrong:
            error = wrong
        except SourceFailedError as failed:
            error = failed.cause
        else:
            return
        if isinstance(name, Hash):
            form = self._roles.form(name)
            self._observers.emit(Event("failed", name, form, self._source.name, note=error.message))
        self.report.fail(name, error)


def _finished(pending: set[Future[None]], when: str) -> set[Future[None]]:
    """Wait for one or all; return those that still run. Raises what one of them raised."""
    done, left = wait(pending, return_when=when)
    for future in done:
        future.result()
    return left
