"""A layer's tar by its diff ID, which no other registry has."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise
from servers.received import open_service, receive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Layer
    from servers.lying import LyingRegistry

    from layercache.serve.service import Service

LAYERS = [
    make_layer({kind: noise(200_000, seed)}, kind) for seed, kind in enumerate(("gzip", "zstd", "none"))
]
IMAGE = make_image(LAYERS)
LAYER = LAYERS[0]
PATH = f"/v2/app/blobs/{LAYER.diff_id}"


@pytest.fixture(params=["both", "compressed"])
def service(lying: LyingRegistry, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A mirror with an empty cache, which knows the image's manifest; its tier keeps tars, or does not."""
    lying.add_image("1", IMAGE)
    url = f"file://{tmp_path}/cache?keep={request.param}"
    with closing(open_service(url, upstream=lying.host)) as running:
        receive(running, "/v2/app/manifests/1")
        yield running


def keeps_tars(service: Service) -> bool:
    return service.cache.tiers[0].policy.keep == "both"


@pytest.mark.parametrize("layer", LAYERS, ids=["gzip", "zstd", "none"])
def test_a_diff_id_names_the_tar(service: Service, lying: LyingRegistry, layer: Layer) -> None:
    path = f"/v2/app/blobs/{layer.diff_id}"
    head = receive(service, path, method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(layer.tar)))
    first, second = receive(service, path), receive(service, path)
    for found in (first, second):
        assert (found.status, found.body) == (200, layer.tar)
        assert found.headers["docker-content-digest"] == layer.diff_id
        assert found.headers["content-length"] == str(len(layer.tar))
    if keeps_tars(service) or layer.blob == layer.tar:
        assert second.kind == "FileAnswer"
    fetched = lying.asked(f"GET /v2/app/blobs/{layer.digest}")
    assert len(fetched) == 1


def test_parts_of_a_tar_are_sent(service: Service) -> None:
    size = len(LAYER.tar)
    for wanted, part in (("bytes=512-1023", LAYER.tar[512:1024]), ("bytes=-100", LAYER.tar[-100:])):
        found = receive(service, PATH, {"range": wanted})
        assert (found.status, found.body) == (206, part)
    several = receive(service, PATH, {"range": "bytes=0-9,1000-1009"})
    assert several.status == 206
    assert LAYER.tar[1000:1010] in several.body
    assert receive(service, PATH, {"range": f"bytes={size}-"}).status == 416
    assert receive(service, PATH, {"if-none-match": f'"{LAYER.diff_id}"'}).status == 304


def test_many_clients_cost_one_inflation(service: Service, lying: LyingRegistry) -> None:
    with ThreadPoolExecutor(8) as clients:
        found = list(clients.map(lambda _: receive(service, PATH), range(8)))
    assert all(each.body == LAYER.tar for each in found)
    assert len(lying.asked(f"GET /v2/app/blobs/{LAYER.digest}")) == 1
    if keeps_tars(service):
        assert service.cache.counters.inflated == 1


def test_a_config_that_claims_a_cached_tar_does_not_get_it(service: Service, lying: LyingRegistry) -> None:
    """Else whoever can push to some upstream could read any layer here whose diff ID is known."""
    assert receive(service, PATH).status == 200
    own = make_layer({"theirs": noise(1000, 99)})
    liar = make_image([replace(own, tar=LAYER.tar)])
    lying.add_image("2", liar)
    assert receive(service, "/v2/evil/manifests/2").status == 200
    assert receive(service, f"/v2/evil/blobs/{liar.config_digest}").status == 200
    for method in ("HEAD", "GET"):
        found = receive(service, f"/v2/evil/blobs/{LAYER.diff_id}", method=method)
        assert (found.status, json.loads(found.body)["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
    assert receive(service, f"/v2/evil/blobs/{own.digest}").body == own.blob
    assert receive(service, PATH).body == LAYER.tar


def test_a_blob_that_is_not_a_layer_has_no_tar(service: Service, lying: LyingRegistry) -> None:
    odd = replace(LAYER, blob=b"no tar at all, and no gzip", tar=b"another tar")
    lying.add_image("2", make_image([odd]))
    receive(service, "/v2/odd/manifests/2")
    assert receive(service, f"/v2/odd/blobs/{odd.diff_id}").status == 404
    assert receive(service, f"/v2/odd/blobs/{odd.digest}").body == odd.blob
