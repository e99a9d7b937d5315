"""Verifies a tier: hashes every blob again, checks facts and images, and quarantines what is wrong."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from threading import Event
from typing import TYPE_CHECKING, Literal, TypeVar

from layercache.errors import BackendError, FormatError, NotFoundError
from layercache.resolver.derived import STORED_MAX
from layercache.streams.hashing import chunks, hash_chunks
from layercache.streams.readers import check_whole, read_bounded
from layercache.tiers import keys
from layercache.upkeep.quarantine import Problem, put_aside
from layercache.upkeep.sample import Sample
from layercache.upkeep.verify_facts import wrong_facts
from layercache.upkeep.verify_images import why_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from layercache.backend import Entry
    from layercache.oci.digest import Hash
    from layercache.tiers.backend.tier import BackendTier

Kind = Literal["blob", "record", "index", "image"]
Problems = dict[str, Problem]
"""Key to what is wrong with the object."""

T = TypeVar("T")
R = TypeVar("R")

PENDING_PER_THREAD = 4
"""Objects submitted for each thread before the oldest result is taken: bounds memory."""


@dataclass(frozen=True, slots=True)
class Checked:
    """An object that was checked; ``size`` in bytes.

    ``problem``: what is wrong with it; empty if it is right. ``quarantined``: it was moved to the quarantine.
    ``unreadable``: the store failed, or returned only a part, so it is not known whether the object is right.
    ``missing``: what the image ``key`` needs is not there; ``problem`` says what.
    """

    tier: str
    kind: Kind
    key: str
    size: int
    problem: str = ""
    quarantined: bool = False
    unreadable: bool = False
    missing: bool = False


def verify(
    tier: BackendTier,
    *,
    sample: Sample | None = None,
    deep: bool = False,
    jobs: int | None = None,
    only: Iterable[Hash] | None = None,
) -> Iterator[Checked]:
    """Check every blob, fact, index and image of a tier, in this order; yield each once it is checked.

    Blobs are hashed, ``jobs`` at a time (by default as many as there are cores). Facts must be complete, be
    under their own names, and not contradict each other or the blobs that are here; ``deep`` inflates each
    blob of which something was computed. Indexes must be whole. Images must lead to documents that can be
    read. What is wrong is moved to the quarantine, where the tier may be written to. ``sample`` picks blobs
    and facts at random. ``only``: check these blobs, as far as they are there, and nothing else. In memory
    are some objects for each thread, however many there are. Raises `BackendError` where the store cannot
    list.
    """
    sample = sample or Sample()
    scan, stop = tier.backend.scan, Event()
    threads = jobs or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
    blobs = (entry for _, entry in tier.blobs.scan()) if only is None else _entries(tier, only)
    stages: list[tuple[Kind, Iterable[Entry], Callable[[Entry], Problems]]] = [
        ("blob", sample.of(blobs), partial(_wrong_blob, tier, stop))
    ]
    if only is None:
        stages += [
            ("record", sample.of(scan(keys.RECORDS)), partial(_wrong_facts, tier, deep)),
            ("index", sample.of(_indexes(tier)), partial(_wrong_index, tier)),
            ("image", scan(keys.IMAGES), partial(_wrong_image, tier)),
        ]
    try:
        for kind, entries, look in stages:
            check = partial(_check, tier, kind, look)
            for several in _in_order(pool, check, entries, threads * PENDING_PER_THREAD):
                yield from several
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _entries(tier: BackendTier, names: Iterable[Hash]) -> Iterator[Entry]:
    for name in names:
        with suppress(NotFoundError):
            yield tier.blobs.stat(name)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    running: deque[Future[R]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _check(tier: BackendTier, kind: Kind, look: Callable[[Entry], Problems], entry: Entry) -> list[Checked]:
    """The object itself, and others that it shows to be wrong. Nothing for one that was deleted since."""
    try:
        problems = look(entry)
    except NotFoundError:
        return []
    except BackendError as error:
        return [Checked(tier.name, kind, entry.key, entry.size, error.message, unreadable=True)]
    found = [] if entry.key in problems else [Checked(tier.name, kind, entry.key, entry.size)]
    for key, problem in problems.items():
        moved, note = False, ""
        try:
            moved = put_aside(tier, key, problem.facts)
        except NotFoundError:
            continue  # moved already: different threads check the two records of one fact
        except BackendError as error:
            note = f"; not quarantined: {error.message}"
        found.append(Checked(tier.name, kind, key, entry.size, problem.text + note, quarantined=moved))
    return found


def _wrong_blob(tier: BackendTier, stop: Event, entry: Entry) -> Problems:
    name = keys.blob_name(entry.key)
    assert name is not None, "only blobs are listed"
    with tier.backend.open(entry.key) as reader:
        pieces = takewhile(lambda _: not stop.is_set(), chunks(reader))
        found, size = hash_chunks(pieces, name.algorithm)
    if not stop.is_set():
        check_whole(reader.size, size)
    if stop.is_set() or found == name:
        return {}
    return {entry.key: Problem(f"holds {size} bytes that hash to {found}")}


def _wrong_facts(tier: BackendTier, deep: bool, entry: Entry) -> Problems:
    return wrong_facts(tier, entry.key, deep=deep)


def _indexes(tier: BackendTier) -> Iterator[Entry]:
    from layercache.files.stored import KINDS

    return (entry for kind, _, entry in tier.derived.scan() if kind in KINDS)


def _wrong_index(tier: BackendTier, entry: Entry) -> Problems:
    from layercache.files import stored

    found = keys.derived_name(entry.key)
    assert found is not None, "only indexes are listed"
    try:
        with tier.backend.open(entry.key) as reader:
            stored.check(*found, read_bounded(reader, STORED_MAX, entry.key))
    except FormatError as error:
        return {entry.key: Problem(error.message)}
    return {}


def _wrong_image(tier: BackendTier, entry: Entry) -> Problems:
    problem = why_wrong(tier, entry.key)
    return {entry.key: Problem(problem)} if problem else {}
