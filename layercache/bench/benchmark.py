"""Measures a cache against its plain store: the same bytes, alternating, in one run.

Everything is written under unique names, and is removed at the end.
"""

from __future__ import annotations

import io
import os
import shutil
import statistics
import tarfile
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Self

from layercache.backend import BackendURL, open_backend
from layercache.backend.capabilities import LocalPath
from layercache.cache import Cache
from layercache.errors import BackendError, ConfigError
from layercache.streams.readers import CHUNK
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import take_policy
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from layercache.backend import Backend, Entry, Reader, Sink
    from layercache.oci.digest import Hash

    Readable = Reader | BinaryIO
    Steps = list[tuple[str, Callable[[], object]]]

SMALL_LAYER = 50 << 10
"""Bytes of a small layer: half of the layers of common images are smaller."""


class Measurement(Value, frozen=True):
    """One measurement in ``unit``: medians through the cache and of the plain store.

    ``file``: of a plain file in the same folder, never synced, if the store is local. ``ratio``: cache to
    plain store; above 1 the cache is faster.
    """

    name: str
    unit: str
    ours: float
    plain: float
    file: float | None
    ratio: float


class Benchmark:
    """``size``: bytes of the big layer; ``count``: how many small ones; ``runs``: medians are taken of these.

    A context manager: leaving it removes everything that was written. The layer is a tar of bytes that do not
    compress, the same in each run and on each machine. Raises `ConfigError`, `BackendError`.
    """

    def __init__(self, url: str, *, size: int, count: int, runs: int) -> None:
        self._size, self._count, self._runs = size, count, runs
        policy, rest = take_policy(BackendURL.parse(url), nearest=True)
        if policy.readonly:
            raise ConfigError(f"{rest.place} is read-only", hint="name a cache that can be written to")
        tier = BackendTier(_own_place(rest, f"layercache-bench-{os.urandom(6).hex()}"), policy)
        self._backend = tier.backend
        self._cache = Cache([tier], offline=True)
        self._root = (
            os.path.dirname(self._backend.path("x")) if isinstance(self._backend, LocalPath) else None
        )
        self.name = self._backend.url
        self._timed: dict[str, list[float]] = {}

    def run(self, progress: Callable[[int], object] = lambda _: None) -> tuple[Measurement, ...]:
        """Measure everything ``runs`` times; ``progress`` gets the number of finished runs."""
        self._put([_tar(SMALL_LAYER, "warm up: imports and connections are not measured")])
        if self._root:
            os.makedirs(self._root, exist_ok=True)
        for number in range(self._runs):
            self._big(number)
            self._small(number)
            progress(number + 1)
        return self._rows()

    def close(self) -> None:
        """Remove what was written."""
        with suppress(BackendError):
            for entry in list(self._backend.scan()):
                self._backend.delete(entry.key)
        self._cache.close(flush=False)
        if self._root:
            shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _big(self, number: int) -> None:
        data = _tar(self._size, f"big {number}")
        key, file = f"plain/big-{number}", os.path.join(self._root or "", f"copy-{number}")
        names: list[Hash] = []
        up: Steps = [
            ("up plain", lambda: self._write(key, data)),
            ("up", lambda: names.extend(self._put([data]))),
        ]
        if self._root:
            up.append(("up file", lambda: _write_file(file, data)))
        self._in_turn(up, number)
        down: Steps = [
            ("first byte plain", lambda: self._first(self._backend.open(key))),
            ("first byte", lambda: self._first(self._cache.get(names[0]).compressed())),
            ("down plain", lambda: _drain(self._backend.open(key))),
            ("down", lambda: _drain(self._cache.get(names[0]).compressed())),
        ]
        if self._root:
            down.append(("down file", lambda: _drain(open(file, "rb", buffering=0))))  # noqa: SIM115  # it closes
        self._in_turn(down, number)

    def _small(self, number: int) -> None:
        keyed = {
            f"plain/{number}-{each}": _tar(SMALL_LAYER, f"{number} {each}") for each in range(self._count)
        }
        names: list[Hash] = []
        up: Steps = [
            ("small up plain", lambda: _each(keyed, lambda key: self._write(key, keyed[key]))),
            ("small up", lambda: names.extend(self._put(keyed.values()))),
        ]
        self._in_turn(up, number)
        down: Steps = [
            ("small down plain", lambda: _each(keyed, lambda key: _drain(self._backend.open(key)))),
            ("small down", lambda: _each(names, lambda name: _drain(self._cache.get(name).compressed()))),
            ("look plain", lambda: _each(keyed, self._backend.stat)),
            ("look", lambda: _each(names, self._cache.get)),
        ]
        self._in_turn(down, number)

    def _rows(self) -> tuple[Measurement, ...]:
        return (
            self._rate("big layer up", "up", self._size / 1e6, "MB/s"),
            self._rate("big layer down", "down", self._size / 1e6, "MB/s"),
            self._wait("first byte", "first byte", 1),
            self._rate("small layers up", "small up", self._count, "1/s"),
            self._rate("small layers down", "small down", self._count, "1/s"),
            self._wait("look-up", "look", self._count),
        )

    def _rate(self, title: str, name: str, amount: float, unit: str) -> Measurement:
        ours, plain = amount / self._median(name), amount / self._median(f"{name} plain")
        file = amount / self._median(f"{name} file") if f"{name} file" in self._timed else None
        return Measurement(title, unit, ours, plain, file, ours / plain)

    def _wait(self, title: str, name: str, parts: int) -> Measurement:
        ours, plain = (1000 * self._median(each) / parts for each in (name, f"{name} plain"))
        return Measurement(title, "ms", ours, plain, None, plain / ours)

    def _median(self, name: str) -> float:
        return statistics.median(self._timed[name])

    def _in_turn(self, steps: Steps, number: int) -> None:
        """Run each step once, in reverse order in every other run, so that each gets the warm store."""
        for name, step in steps if number % 2 else reversed(steps):
            begun = time.perf_counter()
            step()
            self._timed.setdefault(name, []).append(max(time.perf_counter() - begun, 1e-9))

    def _put(self, many: Iterable[bytes]) -> list[Hash]:
        digests = [self._cache.put(io.BytesIO(data), any_data=True).digest for data in many]
        self._cache.flush()
        return [digest for digest in digests if digest]

    def _write(self, key: str, data: bytes) -> None:
        view = memoryview(data)
        with self._backend.create(key) as sink:
            for start in range(0, len(view), CHUNK):
                sink.write(view[start : start + CHUNK])
            sink.commit()

    def _first(self, reader: Readable) -> None:
        with reader:
            reader.read(1)


def _each(items: Iterable[str], do: Callable[[str], object]) -> None:
    for item in items:
        do(item)


def _drain(reader: Readable) -> None:
    with reader:
        while reader.read(CHUNK):
            pass


def _write_file(path: str, data: bytes) -> None:
    view = memoryview(data)
    with open(path, "wb", buffering=0) as file:
        file.writelines(view[start : start + CHUNK] for start in range(0, len(view), CHUNK))


def _tar(size: int, seed: str) -> bytes:
    """A tar of one file of ``size`` incompressible bytes; the same seed gives the same tar."""
    info = tarfile.TarInfo("data")
    info.size = size
    rest = -size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE
    return info.tobuf() + Random(seed).randbytes(size) + bytes(rest)  # noqa: S311  # no secret


def _own_place(url: BackendURL, name: str) -> Backend:
    """An empty store: a new folder or memory, elsewhere a name prefix in the URL's store."""
    if url.scheme == "memory":
        return open_backend(replace(url, netloc=name))
    backend = open_backend(url)
    if not isinstance(backend, LocalPath):
        return _Below(backend, f"{name}/")
    backend.close()
    return open_backend(replace(url, path=f"{url.path.rstrip('/')}/{name}"))


class _Below:
    """The part of a backend whose names begin with a prefix. It adds no cost to any call."""

    def __init__(self, backend: Backend, prefix: str) -> None:
        self.url = backend.url
        self._backend = backend
        self._prefix = prefix

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        return self._backend.open(self._prefix + key, start, end)

    def create(self, key: str) -> Sink:
        return self._backend.create(self._prefix + key)

    def stat(self, key: str) -> Entry:
        return self._named(self._backend.stat(self._prefix + key))

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        return map(self._named, self._backend.scan(self._prefix + prefix))

    def delete(self, key: str) -> None:
        self._backend.delete(self._prefix + key)

    def close(self) -> None:
        self._backend.close()

    def _named(self, entry: Entry) -> Entry:
        return replace(entry, key=entry.key.removeprefix(self._prefix))
