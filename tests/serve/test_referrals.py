"""A blob is served only through a repository that has it, which is learned again whenever it is forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer
from servers.lying import error_body, status
from servers.received import receive

from layercache.oci.descriptor import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

if TYPE_CHECKING:
    from servers.asking import Serve
    from servers.images import Image
    from servers.lying import LyingRegistry

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def secret(lying: LyingRegistry) -> Image:
    """An image that the repository ``secret`` has, and no other."""
    image = make_image([make_layer({"secret": b"of somebody"})])
    for digest, blob in image.blobs.items():
        assert lying.add_blob(blob).digest == digest
    lying.add_manifest("one", OCI_MANIFEST, image.manifest)
    return image


def absent(lying: LyingRegistry, path: str) -> None:
    """The registry does not have what is asked for with such a path."""
    lying.on(path, *[status(404, error_body("UNKNOWN", "not here"), Content_Type="application/json")] * 30)


def entry(data: bytes, media_type: str, digest: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def test_an_index_that_lists_what_its_repository_does_not_have_gives_nothing_out(
    serve: Serve, lying: LyingRegistry, secret: Image
) -> None:
    mirror = serve()
    listed = entry(secret.manifest, OCI_MANIFEST, secret.descriptor.digest)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]}
    lying.add_manifest("two", OCI_INDEX, json.dumps(index).encode())
    names = [secret.descriptor.digest, *secret.blobs, secret.layers[0].diff_id]
    for kind, name in (("manifests", "one"), *(("blobs", each) for each in names)):
        assert receive(mirror, f"/v2/secret/{kind}/{name}").status == 200
    assert receive(mirror, "/v2/evil/manifests/two").status == 200
    absent(lying, "/v2/evil/")
    for service in (mirror, serve()):
        for kind, name in (("manifests", names[0]), *(("blobs", each) for each in names)):
            assert receive(service, f"/v2/evil/{kind}/{name}").status == 404


def test_a_manifest_gives_no_foreign_layer_out(serve: Serve, lying: LyingRegistry, secret: Image) -> None:
    mirror, layer = serve(), secret.layers[0]
    config = lying.add_blob(json.dumps({"rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}}).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config.digest,
            "size": config.size,
        },
        "layers": [entry(layer.blob, FOREIGN, layer.descriptor.digest)],
    }
    lying.add_manifest("two", DOCKER_MANIFEST, json.dumps(manifest).encode())
    for path in ("secret/manifests/one", f"secret/blobs/{layer.descriptor.digest}", "evil/manifests/two"):
        assert receive(mirror, f"/v2/{path}").status == 200
    assert receive(mirror, f"/v2/evil/blobs/{config.digest}").status == 200
    absent(lying, "/v2/evil/blobs/")
    for name in (layer.descriptor.digest, layer.diff_id):
        assert receive(mirror, f"/v2/evil/blobs/{name}").status == 404


def test_a_config_that_claims_somebody_elses_tar_gives_nothing_out(
    serve: Serve, lying: LyingRegistry, secret: Image
) -> None:
    mirror, claimed = serve(), secret.layers[0].diff_id
    own = make_layer({"own": b"of the liar"})
    lie = make_image([own], config={"rootfs": {"type": "layers", "diff_ids": [claimed]}})
    for blob in lie.blobs.values():
        lying.add_blob(blob)
    lying.add_manifest("two", OCI_MANIFEST, lie.manifest)
    assert receive(mirror, "/v2/secret/manifests/one").status == 200
    assert receive(mirror, f"/v2/secret/blobs/{claimed}").body == secret.layers[0].tar
    assert receive(mirror, "/v2/evil/manifests/two").status == 200
    absent(lying, f"/v2/evil/blobs/{claimed}")
    found = receive(mirror, f"/v2/evil/blobs/{claimed}")
    assert found.status == 404
    assert secret.layers[0].tar not in found.body


def test_after_a_restart_blobs_and_tars_are_served_without_a_question(
    serve: Serve, lying: LyingRegistry, secret: Image
) -> None:
    paths = [f"/v2/secret/blobs/{each}" for each in (*secret.blobs, secret.layers[0].diff_id)]
    first = serve()
    for path in ("/v2/secret/manifests/one", *paths):
        assert receive(first, path).status == 200
    before = len(lying.requests)
    restarted = serve()
    for path in paths:
        assert receive(restarted, path).status == 200
    assert len(lying.requests) == before


def test_what_is_known_to_be_absent_is_asked_for_once_in_a_while(
    serve: Serve, lying: LyingRegistry, secret: Image
) -> None:
    mirror, path = serve(), f"/v2/other/blobs/{secret.layers[0].descriptor.digest}"
    absent(lying, "/v2/other/")
    assert receive(mirror, path).status == 404
    before = len(lying.requests)
    for _ in range(10):
        assert receive(mirror, path).status == 404
    assert len(lying.requests) == before


def test_an_upstream_that_does_not_answer_makes_nothing_absent(
    serve: Serve, lying: LyingRegistry, secret: Image
) -> None:
    lying.on("/v2/other/", *[status(500)] * 9)
    found = receive(serve(), f"/v2/other/blobs/{secret.layers[0].descriptor.digest}")
    assert found.status in (502, 503)
