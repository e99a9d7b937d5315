"""Answers ``/metrics`` with what all workers have counted, in the formats of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache._version import __version__
from layercache.serve.messages import Answer
from layercache.serve.tally import BOUNDS, Requests
from layercache.statistics.prometheus import families

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

    from layercache.serve.messages import Request
    from layercache.serve.tally import Counts, Tally

REQUEST = ("route", "method", "code", "cache")


class Metrics:
    """The metrics of the mirror. Thread-safe, as its tally is."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def answer(self, request: Request) -> Answer:
        """All metrics, in the format that the client prefers. May wait for a disk."""
        # Imported when they are asked for: that takes as long as the rest of a worker's start.
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry()
        registry.register(_Collector(self._tally.of_all_workers()))
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        body = encode(registry)
        return Answer(200, [("content-type", media_type), ("content-length", str(len(body)))], body)


class _Collector:
    """Hands counts to prometheus-client, by its protocol."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts = self._counts
        requests = CounterMetricFamily(
            "layercache_http_requests", "Requests that were answered.", labels=REQUEST
        )
        sent = CounterMetricFamily(
            "layercache_http_response_bytes", "Bytes of answers, as announced.", labels=REQUEST
        )
        for each in counts.requests:
            labels = (each.kind, each.method, str(each.status), each.cache)
            requests.add_metric(labels, each.count)
            sent.add_metric(labels, each.size)
        yield requests
        yield sent
        yield _latencies(counts.requests)
        yield GaugeMetricFamily(
            "layercache_http_requests_in_flight", "Requests that are being answered.", value=counts.in_flight
        )
        yield CounterMetricFamily(
            "layercache_access_log_lines_dropped",
            "Lines of the access log that its reader was too slow for.",
            value=counts.log_lines_dropped,
        )
        for family in families(counts.cache):
            counter = CounterMetricFamily(family.name, family.description, labels=family.labels)
            for values, value in family.samples:
                counter.add_metric(values, value)
            yield counter
        saved = CounterMetricFamily(
            "layercache_saved_seconds",
            "Processor time of inflating that was not needed.",
            labels=("kind", "place"),
        )
        for tier, seconds in counts.saved_seconds.items():
            saved.add_metric(("tier", tier), seconds)
        yield saved
        yield _build()


def _latencies(requests: list[Requests]) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    found: dict[tuple[str, str], Requests] = {}
    for each in requests:
        row = found.setdefault((each.kind, each.cache), Requests(each.kind, "", 0, each.cache))
        row.add(each)
    family = HistogramMetricFamily(
        "layercache_http_request_duration_seconds",
        "Time from a request to the beginning of its answer.",
        labels=("route", "cache"),
    )
    for labels, row in found.items():
        so_far, buckets = 0, []
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], row.buckets, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        family.add_metric(labels, buckets, sum_value=row.seconds)
    return family


def _build() -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily("layercache_build_info", "The version that runs.", labels=("version",))
    family.add_metric((__version__,), 1)
    return family
