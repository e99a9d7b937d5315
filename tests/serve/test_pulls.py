"""An image is pulled through the mirror."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servers.images import Sample
    from servers.mirror import Mirror
    from servers.registry import Registry


def test_manifest_and_blobs_are_those_of_the_upstream_and_are_fetched_once(
    mirror: Mirror, upstream: Registry, sample: Sample
) -> None:
    for _ in range(2):
        response = mirror.get("/v2/team/app/manifests/1")
        assert response.status == 200
        assert response.body == sample.image.manifest
        assert response.headers["content-type"] == sample.image.media_type
        assert response.headers["docker-content-digest"] == sample.image.descriptor.digest
        for digest, blob in sample.image.blobs.items():
            response = mirror.get(f"/v2/team/app/blobs/{digest}")
            assert (response.status, response.body) == (200, blob)
    assert all(upstream.fetches(digest) == 1 for digest in sample.image.blobs)


def test_a_path_without_a_route_is_an_error_of_the_distribution_spec(mirror: Mirror) -> None:
    response = mirror.get("/v2/../etc/passwd")
    assert response.status == 404
    assert json.loads(response.body)["errors"][0]["code"] == "NOT_FOUND"
