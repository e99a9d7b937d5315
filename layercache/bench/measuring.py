"""What programs and the command call to measure a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.arguments import check_count
from layercache.bench.benchmark import Benchmark, Measurement
from layercache.config.opening import configured
from layercache.config.setting import ARGUMENT
from layercache.value import Value

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from layercache.config.opening import Configuration

LEAST, MOST = 100_000, 1 << 30
"""Bytes of the big layer: with fewer, the time of calls hides the speed of its bytes; more take memory."""


class Measured(Value, frozen=True):
    """What was measured of the tier at ``url``: ``runs`` with a layer of ``size`` bytes and
    ``count`` small ones.
    """

    url: str
    size: int
    count: int
    runs: int
    results: tuple[Measurement, ...]


def measure(
    url: str | os.PathLike[str] | None = None,
    *,
    size: int = 64_000_000,
    count: int = 100,
    runs: int = 5,
    config: str | os.PathLike[str] | Configuration | None = None,
    progress: Callable[[int], object] = lambda _runs: None,
) -> Measured:
    """Compare a cache with its plain store: the same bytes through both, in turns; medians are returned.

    ``url`` and ``config`` are as for `layercache.open`; of several tiers the nearest is measured. ``size``:
    bytes of a big layer, 100 kB to 1 GiB, which is held in memory; ``count``: small layers of 50 KiB.
    ``progress`` is called with the number of runs that are done. All is written below a unique name, and
    removed at the end. Raises `ConfigError`, `BackendError`, `ValueError`.
    """
    for name, number, least, most in (
        ("size", size, LEAST, MOST),
        ("count", count, 1, None),
        ("runs", runs, 1, None),
    ):
        check_count(name, number, least, most)
    configuration, chosen = configured(config, url)
    nearest = configuration.choose(chosen, ARGUMENT).tiers[0].value
    with Benchmark(nearest, size=size, count=count, runs=runs) as benchmark:
        return Measured(benchmark.name, size, count, runs, benchmark.run(progress))
