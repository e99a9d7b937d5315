"""What is asked of a far tier: no more requests and round trips than stated, and no listing."""

from __future__ import annotations

import io
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from benchmarks.far_requests import Content, operations
from benchmarks.request_table import note
from servers.counting import Cost, CountingProxy, Exchange
from servers.google_proxy import GoogleProxy
from servers.images import make_layer, noise
from servers.registry import Registry

import layercache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.far_requests import Operation
    from servers.fake_gcs import FakeGCS

pytestmark = pytest.mark.slow

LATENCY = 0.2
LAYERS = 4
"""Of the image that is pulled."""

TRIES = 3
"""On a busy machine two requests that are sent at once may come more than the latency apart."""

Far = tuple[str, CountingProxy, Content]


@pytest.fixture(
    scope="module", params=["s3", "gs", pytest.param("gs by gcsfs", marks=pytest.mark.slow), "oci"]
)
def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """The URL of a far tier behind a proxy, the proxy, and what the tier has."""
    folder = tmp_path_factory.mktemp("far")
    with ExitStack() as stack:
        if request.param == "s3":
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, "any")
            patch.delenv("AWS_PROFILE", raising=False)
            endpoint: str = request.getfixturevalue("seaweedfs_endpoint")
            bucket: str = request.getfixturevalue("seaweedfs_bucket_name")
            url = f"s3://{bucket}/{folder.name}?region=us-east-1&endpoint_url=http://{{}}"
        elif request.param.startswith("gs"):
            server: FakeGCS = request.getfixturevalue("fake_gcs")
            endpoint, engine = server.url, "obstore" if request.param == "gs" else "fsspec"
            url = f"gs://{server.bucket()}/far?token=anon&engine={engine}&endpoint_url=http://{{}}"
        else:
            endpoint, url = stack.enter_context(Registry(folder / "registry")).host, "oci://{}/team/cache"
        kind = GoogleProxy if url.startswith("gs:") else CountingProxy
        proxy = stack.enter_context(kind(int(endpoint.rpartition(":")[2]), 0.0))
        address = url.format(f"127.0.0.1:{proxy.port}")
        content = Content.fill(url.format(endpoint.rpartition("//")[2]), folder, LAYERS)
        yield address, proxy, content
        if url.startswith("gs:"):  # obstore uses the XML API, whose paths begin with the bucket
            by_obstore = any(asked.startswith("GET /bucket") for asked in proxy.requests)
            assert by_obstore == (request.param == "gs")


@pytest.mark.parametrize("operation", operations(LAYERS), ids=lambda operation: operation.name)
def test_an_operation_asks_a_far_tier_no_more_than_its_budget(
    far: Far, operation: Operation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url, proxy, content = far
    proxy.set_latency(LATENCY if operation.budget.trips else 0.0)
    tried = []
    for _ in range(TRIES):
        cost = operation.cost(url, proxy, tmp_path_factory.mktemp("machine"), content)
        assert cost.listings == []
        assert len(cost.requests) <= operation.budget.requests_at(url), cost.requests
        if operation.budget.is_kept(url, cost):
            return
        tried.append((cost.round_trips, cost.requests))
    pytest.fail(f"round trips, requests: {tried}")


def test_what_is_over_its_budget_is_marked_in_the_table() -> None:
    operation = next(each for each in operations(LAYERS) if each.name == "a miss")
    listing = Exchange("GET /bucket?list-type=2&prefix=blobs", 1.0)
    kept = Cost(0.05, asked=[Exchange("GET /bucket/a", 0.0), Exchange("HEAD /bucket/b", 0.01)])
    assert note(operation, "s3://bucket", kept).startswith(
        "2 requests (at most 2); 0 listings; 1 round trip (at most 1); $0.80 a million; before: 5 requests"
    )
    for cost in (
        Cost(0.05, asked=[*kept.asked, Exchange("GET /bucket/c", 0.02)]),
        Cost(0.05, asked=[kept.asked[0], Exchange("GET /bucket/c", 0.06)]),
        Cost(0.05, asked=[listing]),
    ):
        assert note(operation, "s3://bucket", cost).endswith("MORE THAN ITS BUDGET")
    assert (listing.price, kept.asked[1].price, Exchange("PUT /bucket/a", 0.0).price) == (5.0, 0.4, 5.0)


def test_nothing_that_is_read_written_or_explained_lists(
    far: Far, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url, proxy, content = far
    proxy.set_latency(0.0)
    plain = make_layer({"plain": noise(3000, 77)}, "none")
    big, small = content.big, content.small
    with proxy.counted() as cost:
        for _ in range(2):  # on two machines
            with layercache.open([str(tmp_path_factory.mktemp("near")), url], offline=True) as cache:
                cache.put(io.BytesIO(plain.blob))  # which a bucket keeps as zstd
                cache.flush()
                cache.delete(plain.digest)
                for stream, right in (
                    (cache.get(plain.digest).uncompressed(), plain.tar),
                    (cache.layer(small.digest).uncompressed(), small.tar),
                    (cache.layer(big.digest).compressed(1000, 2000), big.blob[1000:2000]),
                    (cache.get(big.diff_id).uncompressed(5000, 6000), big.tar[5000:6000]),
                ):
                    with stream:
                        assert stream.read() == right
                cache.get(small.diff_id).fill("both")
                assert cache.explain(small.diff_id).layers
                assert cache.explain(content.image).layers
                for layer in cache.image(content.image).layers[:2]:
                    layer.fill("both")
                    layer.doubt("compressed")
        assert cost.requests
    assert cost.listings == []
