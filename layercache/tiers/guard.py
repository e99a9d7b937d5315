"""The guard around a backend: what it gives keeps the promises of the interface, or is a `BackendError`.

Plug-ins, and the SDKs under them, raise what they like, end early, and give None. None of it may be taken for
absence, for wrong bytes, or for an error of the core.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

from layercache.backend import IN_THE_BOX, SMALL_OBJECT, Entry, Leftover, check_prefix, check_range, is_key
from layercache.backend.capabilities import (
    Conditional,
    CountedLeftovers,
    Diagnosable,
    Exclusive,
    Expendable,
    Finding,
    Leftovers,
    LocalPath,
    Lockable,
    Movable,
    SignedURL,
    SizedWrites,
    SmallObjects,
    Spliced,
    Spooler,
    Stamped,
    Touchable,
)
from layercache.backend.opening import package_of
from layercache.errors import BackendError, ConfigError, FormatError, NotFoundError
from layercache.tiers import keys
from layercache.tiers.blame import Blame
from layercache.tiers.guarded_streams import (
    GuardedLock,
    GuardedReader,
    GuardedSink,
    GuardedSpool,
    RewoundSink,
    SplicedSpool,
    StampedSpool,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Backend

_OURS = frozenset(
    # Google's backend has no class of its own.
    ["layercache_backends.objects", *(target.partition(":")[0] for target in IN_THE_BOX.values())]
)


class Guard:
    """A backend around another."""

    def __init__(self, backend: Backend) -> None:
        self._backend: Any = backend
        self.url = backend.url
        self._blame = Blame(self.url, backend)
        self._looks = package_of(backend) not in _OURS

    def __repr__(self) -> str:
        return f"Guard({self._backend!r})"

    def open(self, key: str, start: int = 0, end: int | None = None) -> GuardedReader:
        check_range(start, end)
        doing = f"reading {key}"
        with self._blame.doing(doing, NotFoundError):
            raw = self._backend.open(key, start, end)
        try:
            return GuardedReader(raw, self._blame, doing, None if end is None else end - start)
        except BaseException:
            with self._blame.ignoring():
                raw.close()
            raise

    def create(self, key: str) -> GuardedSink:
        with self._blame.doing(f"writing {key}"):
            return GuardedSink(self._backend.create(key), self._blame, key, self._look)

    def stat(self, key: str) -> Entry:
        doing = f"looking at {key}"
        with self._blame.doing(doing, NotFoundError):
            entry = self._backend.stat(key)
        self._check_entry(doing, entry)
        if entry.key != key:
            raise self._blame.broken(doing, f"gave an entry of {entry.key!r}")
        return cast("Entry", entry)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`. What is not a key, another tool's object say, is skipped."""
        check_prefix(prefix)
        return self._scan(prefix)

    def delete(self, key: str) -> None:
        with self._blame.doing(f"deleting {key}"):
            self._backend.delete(key)

    def close(self) -> None:
        with self._blame.doing("closing it"):
            self._backend.close()

    def _scan(self, prefix: str) -> Iterator[Entry]:
        doing = f"listing {prefix or 'everything'}"
        for entry in self._each(doing, partial(self._backend.scan, prefix)):
            self._check_entry(doing, entry)
            if self._is_listed(doing, entry.key, prefix):
                yield entry

    def _each(self, doing: str, begin: Callable[[], Any]) -> Iterator[Any]:
        """What an iterator of the backend gives; what its consumer raises is not the backend's."""
        end = object()
        with self._blame.doing(doing):
            items = iter(begin())
        while True:
            with self._blame.doing(doing):
                item = next(items, end)
            if item is end:
                return
            yield item

    def _is_listed(self, doing: str, key: object, prefix: str) -> bool:
        if not isinstance(key, str) or not key.startswith(prefix):
            raise self._blame.broken(doing, f"gave {key!r}, which is not below {prefix!r}")
        return is_key(key)

    def _check_entry(self, doing: str, entry: Any) -> None:
        match entry:
            case Entry(size=int() as size, modified=int() | float() as modified):
                sound = size >= 0 and math.isfinite(modified)
            case _:
                sound = False
        if not sound:
            raise self._blame.broken(doing, f"gave {entry!r}; wanted an Entry with size and time")

    def _look(self, key: str, size: int) -> None:
        """Raise `BackendError` unless a blob is there as it was written: one request, of plug-ins alone.

        Facts and images are not looked at: a lost one is learned again, and they would cost as much again.
        """
        if not self._looks or not key.startswith(keys.BLOBS):
            return
        try:
            found = self.stat(key).size
        except NotFoundError as error:
            raise self._blame.broken(f"writing {key}", "commit published nothing") from error
        if found != size:
            with suppress(BackendError, ConfigError):
                self.delete(key)
            raise self._blame.broken(f"writing {key}", f"commit published {found} of {size} bytes")


class _Spools(Guard):
    def spool(self) -> GuardedSpool:
        with self._blame.doing("writing a temporary file"):
            spool = self._backend.spool()
            kind = GuardedSpool
            if isinstance(spool, Stamped):
                kind = SplicedSpool if isinstance(spool, Spliced) else StampedSpool
            return kind(spool, self._blame, self._look)


class _KnowsSizes(Guard):
    def create_sized(self, key: str, size: int) -> RewoundSink:
        with self._blame.doing(f"writing {key}"):
            return RewoundSink(self._backend.create_sized(key, size), self._blame, key, self._look)


class _Expends(Guard):
    def create_expendable(self, key: str) -> GuardedSink:
        with self._blame.doing(f"writing {key}"):
            return GuardedSink(self._backend.create_expendable(key), self._blame, key, self._look)


class _ReadsSmall(Guard):
    def read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        check_prefix(prefix)
        return self._read_small(prefix)

    def _read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        doing = f"reading all of {prefix or 'it'}"
        for item in self._each(doing, partial(self._backend.read_small, prefix)):
            match item:
                case (key, bytes() as data):
                    if self._is_listed(doing, key, prefix):
                        yield key, data
                case _:
                    raise self._blame.broken(doing, f"gave {type(item).__name__}; wanted key and bytes")


class _HasPaths(Guard):
    def path(self, key: str) -> str:
        doing = f"finding the file of {key}"
        with self._blame.doing(doing):
            path = self._backend.path(key)
        if not isinstance(path, str):
            raise self._blame.broken(doing, f"gave {path!r} as its path")
        return path


class _Moves(Guard):
    def move(self, key: str, to: str) -> None:
        with self._blame.doing(f"moving {key} to {to}", NotFoundError):
            self._backend.move(key, to)


class _Touches(Guard):
    def touch(self, key: str) -> None:
        with self._blame.doing(f"refreshing the time of {key}"):
            self._backend.touch(key)


class _Locks(Guard):
    @contextmanager
    def lock(
        self, name: str, *, timeout: float | None = None, lasting: bool = True
    ) -> Iterator[GuardedLock | None]:
        doing = f"locking {name}"
        with self._blame.doing(doing):
            held = self._backend.lock(name, timeout=timeout, lasting=lasting)
            lock = held.__enter__()
        try:
            yield None if lock is None else GuardedLock(lock, self._blame, doing)
        except BaseException as error:  # the block's, which no failure to let go of the lock may hide
            with self._blame.ignoring():
                held.__exit__(type(error), error, error.__traceback__)
            raise
        with self._blame.doing(doing):
            held.__exit__(None, None, None)


class _CreatesNew(Guard):
    def create_new(self, key: str, data: bytes) -> bool:
        with self._blame.doing(f"writing {key}"):
            created = bool(self._backend.create_new(key, data))
        if created:
            self._look(key, len(data))
        return created


class _Conditions(Guard):
    def honours_conditions(self) -> bool:
        with self._blame.doing("trying conditional writes"):
            return bool(self._backend.honours_conditions())

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        doing = f"reading {key}"
        with self._blame.doing(doing, NotFoundError, FormatError):
            found = self._backend.read_versioned(key)
        match found:
            case (bytes() as data, str() as version) if len(data) <= SMALL_OBJECT:
                return data, version
        raise self._blame.broken(doing, "gave no small object and its version")

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        with self._blame.doing(f"writing {key}"):
            return bool(self._backend.write_if(key, data, version))


class _SignsURLs(Guard):
    def signed_url(self, key: str, seconds: int) -> str | None:
        doing = f"signing a URL of {key}"
        with self._blame.doing(doing):
            url = self._backend.signed_url(key, seconds)
        if url is not None and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
            raise self._blame.broken(doing, "gave no URL")
        return url


class _Clears(Guard):
    def remove_leftovers(self, older_than: float) -> int:
        with self._blame.doing("removing leftovers"):
            return int(self._backend.remove_leftovers(older_than))


class _CountsLeftovers(Guard):
    def leftovers(self) -> Iterator[Leftover]:
        doing = "listing leftovers"
        for leftover in self._each(doing, self._backend.leftovers):
            match leftover:
                case Leftover(began=int() | float(), size=int() | None):
                    yield leftover
                case _:
                    raise self._blame.broken(doing, f"gave {leftover!r}; wanted a Leftover")


class _Diagnoses(Guard):
    def diagnose(self) -> Iterator[Finding]:
        for finding in self._each("examining it", self._backend.diagnose):
            match finding:
                case Finding(str(), str(), "ok" | "warning" | "failed", str()):
                    yield finding
                case _:
                    raise self._blame.broken("examining it", f"gave {finding!r}; wanted a Finding")


_PARTS: dict[type, type[Guard]] = {
    Spooler: _Spools,
    SizedWrites: _KnowsSizes,
    Expendable: _Expends,
    SmallObjects: _ReadsSmall,
    LocalPath: _HasPaths,
    Movable: _Moves,
    Touchable: _Touches,
    Lockable: _Locks,
    Exclusive: _CreatesNew,
    Conditional: _Conditions,
    SignedURL: _SignsURLs,
    Leftovers: _Clears,
    CountedLeftovers: _CountsLeftovers,
    Diagnosable: _Diagnoses,
}
"""Each capability, and the part of a guard that has it."""


@cache
def _kind(parts: tuple[type[Guard], ...]) -> type[Guard]:
    """A guard with these parts and no others: the core asks with `isinstance` what a backend can do."""
    return cast("type[Guard]", type("Guard", parts or (Guard,), {}))


def with_guard(backend: Backend) -> Backend:
    """The backend with a guard around it, which has those of its capabilities that the backend has."""
    if isinstance(backend, Guard):
        return backend
    return _kind(tuple(part for protocol, part in _PARTS.items() if isinstance(backend, protocol)))(backend)
