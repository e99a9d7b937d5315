"""Requests, round trips and prices of what is asked of a far tier, behind a proxy that adds latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from benchmarks.bench import QUICK, Bench, Row
from benchmarks.far_requests import Content, operations
from benchmarks.images import missing
from servers.counting import GET_PRICE, PUT_PRICE, CountingProxy
from servers.google_proxy import GoogleProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.far_requests import Operation
    from servers.counting import Cost

LATENCY = 0.05
LAYERS = 30
"""Of the image that is pulled."""

RUNS = 3
"""Of each operation at most: what is asked for is the same each time."""


class Before(NamedTuple):
    """What an operation took when each fact was an object of its own, at S3."""

    requests: int
    listings: int
    trips: float | None

    @property
    def price(self) -> float:
        return (self.requests - self.listings) * GET_PRICE + self.listings * PUT_PRICE


BEFORE = {
    "get(digest).compressed()": Before(7, 3, 4.9),
    "get(diff ID).uncompressed(), from its gzip": Before(8, 3, 6.0),
    "layer(digest, diff_id=…).uncompressed()": Before(3, 1, 2.6),
    "a miss": Before(5, 3, 2.4),
}
"""Measured at commit 16bd5fb, where it was measured."""


def requests(bench: Bench) -> Iterator[Row]:
    """What look-ups, fills and pulls ask of a bucket and of a registry, beside their budgets."""
    for name, store in bench.stores.items():
        case = f"requests: {name}, {LATENCY * 1e3:.0f} ms a response"
        if lacking := store.absent():
            yield Row(case, "ours", note=f"{', '.join(lacking)}: not installed here")
            continue
        kind = GoogleProxy if name == "gcs" else CountingProxy
        with kind(urlsplit(store.endpoint).port or 0, 0.0) as proxy:
            yield from _measured(bench, case, store.url("requests", proxy.url), proxy)
    case = f"requests: registry, {LATENCY * 1e3:.0f} ms a response"
    if lacking := missing("docker-registry"):
        yield Row(case, "ours", note=f"{', '.join(lacking)}: not installed here")
        return
    with CountingProxy(int(bench.images.registry.host.rpartition(":")[2]), 0.0) as proxy:
        yield from _measured(bench, case, f"oci://127.0.0.1:{proxy.port}/bench/requests", proxy)


def _measured(bench: Bench, case: str, far: str, proxy: CountingProxy) -> Iterator[Row]:
    (folder := bench.scratch / case.partition(",")[0].replace(": ", "-")).mkdir()
    content = Content.fill(far, folder, LAYERS)
    proxy.set_latency(LATENCY)
    runs = 1 if bench.sizes is QUICK else min(RUNS, bench.runs)
    for operation in operations(LAYERS):
        row, worst = Row(case, operation.name), None
        for _ in range(runs):
            cost = operation.cost(far, proxy, folder, content)
            row.seconds.append(cost.seconds)
            worst = max(worst or cost, cost, key=lambda each: (len(each.requests), each.round_trips))
        assert worst is not None, "each operation is run"
        row.note = note(operation, far, worst)
        yield row


def note(operation: Operation, far: str, cost: Cost) -> str:
    """What the table says of an operation at a tier with this URL, beside its time."""
    most, trips = operation.budget.requests_at(far), operation.budget.trips
    parts = [f"{_count(len(cost.requests), 'request')} (at most {most})"]
    parts.append(_count(len(cost.listings), "listing"))
    if trips is not None:
        parts.append(f"{_count(cost.round_trips, 'round trip')} (at most {trips})")
    if not far.startswith("oci://"):
        parts.append(f"${cost.price:.2f} a million")
    if (before := BEFORE.get(operation.name)) and far.startswith("s3://"):
        waited = "" if before.trips is None else f", {before.trips} round trips"
        listed = f"{before.requests} requests, {before.listings} listings"
        parts.append(f"before: {listed}{waited}, ${before.price:.2f}")
    if not operation.budget.is_kept(far, cost):
        parts.append("MORE THAN ITS BUDGET")
    return "; ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
