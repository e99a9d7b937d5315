"""Manifests are pushed, and what they refer to has to be there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.stores import assert_sound
from servers.asking import ask
from servers.images import make_image, sample_layers

import layercache
from layercache.images.hosted import HOSTED
from layercache.oci.descriptor import (
    DOCKER_MANIFEST,
    DOCUMENT_MAX,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
)
from layercache.oci.digest import Digest
from layercache.tiers import keys

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Sample
    from servers.pushing import Pusher, Start

EMPTY = "application/vnd.oci.empty.v1+json"


def artefact(pusher: Pusher, repository: str = "team/app", **fields: Any) -> bytes:
    """A manifest of an artefact, the blob of which is pushed."""
    config = pusher.blob(b"{}", repository)
    entry = {"mediaType": EMPTY, "digest": config, "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": [entry], **fields}
    return json.dumps(document).encode()


def test_an_image_that_was_pushed_is_pulled_by_tag_and_by_digest(pusher: Pusher, sample: Sample) -> None:
    image = sample.image
    pusher.image(image, "1")
    for name in ("1", image.descriptor.digest):
        found = pusher.get(f"manifests/{name}")
        assert (found.status, found.body) == (200, image.manifest)
        assert found.headers["content-type"] == image.media_type
        assert found.headers["content-length"] == str(len(image.manifest))
        assert found.headers["docker-content-digest"] == image.descriptor.digest
        same = pusher.get(f"manifests/{name}", "HEAD")
        assert (same.status, same.headers) == (200, found.headers)
    for digest, blob in image.blobs.items():
        assert pusher.get(f"blobs/{digest}").body == blob


def test_an_index_is_pushed_after_its_images(pusher: Pusher, sample: Sample) -> None:
    pusher.image(sample.index, "all")
    assert pusher.get("manifests/all").body == sample.index.manifest
    for digest, (_, data) in sample.index.documents.items():
        assert pusher.get(f"manifests/{digest}").body == data


def test_what_was_pushed_is_an_image_of_the_cache_like_any_other(
    pusher: Pusher, sample: Sample, tmp_path: Path
) -> None:
    image = sample.image
    pusher.image(image, "1")
    with layercache.open(f"file://{tmp_path}/cache", offline=True) as cache:
        found = cache.image("localhost/team/app:1", platform="linux/amd64")
        assert found.digest == image.descriptor.digest
        for layer, made in zip(found.layers, image.layers, strict=True):
            with layer.uncompressed() as tar, cache.get(made.diff_id).compressed() as blob:
                assert (tar.read(), blob.read()) == (made.tar, made.blob)
        cache.export("localhost/team/app:1", f"oci:{tmp_path}/layout:1", platform="all")
        assert "1" in cache.tags("localhost/team/app")


def test_a_layer_that_was_pushed_is_served_by_its_diff_id(pusher: Pusher, sample: Sample) -> None:
    pusher.image(sample.image, "1")
    layer = sample.image.layers[0]
    found = pusher.get(f"blobs/{layer.diff_id}")
    assert (found.status, found.body) == (200, layer.tar)
    assert pusher.get(f"blobs/{layer.diff_id}", repository="team/other").status == 404


def test_a_client_that_pushes_is_not_told_that_a_tar_is_there_whose_blob_is(
    start: Start, sample: Sample
) -> None:
    pusher, reader = start(), start(writable=False)
    pusher.image(sample.image, "1")
    layer = sample.image.layers[0]
    assert pusher.get(f"blobs/{layer.diff_id}", "HEAD").status == 404
    assert reader.get(f"blobs/{layer.diff_id}", "HEAD").headers["content-length"] == str(len(layer.tar))
    entry = {"mediaType": OCI_LAYER, "digest": layer.diff_id, "size": len(layer.tar)}
    answered = pusher.manifest(artefact(pusher, layers=[entry]), "2")
    assert answered.code == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize("part", ["config", "layer"])
def test_a_manifest_is_refused_while_the_repository_lacks_what_it_refers_to(
    pusher: Pusher, sample: Sample, part: str
) -> None:
    image = sample.image
    lacking = image.config_digest if part == "config" else image.layers[1].digest
    for digest, blob in image.blobs.items():
        pusher.blob(blob, "team/app" if digest != lacking else "team/other")
    answered = pusher.manifest(image.manifest, "1")
    assert (answered.status, answered.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert answered.json["errors"][0]["detail"] == [{"digest": lacking}]
    assert pusher.get("manifests/1").status == 404
    pusher.blob(image.blobs[lacking])
    assert pusher.manifest(image.manifest, "1").status == 201


def test_an_index_is_refused_while_an_image_of_it_is_missing(pusher: Pusher, sample: Sample) -> None:
    first, second = sample.index.images[:2]
    pusher.image(first, first.descriptor.digest)
    pusher.image(second, second.descriptor.digest, "team/other")
    answered = pusher.manifest(sample.index.manifest, "all", OCI_INDEX)
    assert (answered.status, answered.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert answered.json["errors"][0]["detail"] == [{"digest": second.descriptor.digest}]


def test_a_layer_that_no_registry_serves_need_not_be_there(pusher: Pusher) -> None:
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": Digest.of(b"elsewhere"),
        "size": 123456,
        "urls": ["https://store.example.com/layer"],
    }
    image = make_image(sample_layers()[:1])
    document = json.loads(image.manifest)
    document["layers"].append(foreign)
    for blob in image.blobs.values():
        pusher.blob(blob)
    assert pusher.manifest(json.dumps(document).encode(), "1").status == 201


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"config": None}, OCI_MANIFEST),
        ({"manifests": []}, OCI_MANIFEST),
        ({"layers": "none"}, OCI_MANIFEST),
        ({}, OCI_INDEX),
        ({"mediaType": "application/json"}, "application/json"),
        ({"mediaType": "", "schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+json"),
        ({"subject": {"digest": "sha256:bad"}}, OCI_MANIFEST),
    ],
)
def test_a_document_that_is_no_manifest_is_refused(pusher: Pusher, change: dict[str, Any], kind: str) -> None:
    document = json.loads(artefact(pusher)) | change
    answered = pusher.manifest(json.dumps(document).encode(), "1", kind)
    assert (answered.status, answered.code) == (400, "MANIFEST_INVALID")
    assert pusher.get("manifests/1").status == 404


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff" * 10, b"[" * 100_000])
def test_bytes_that_are_no_json_object_are_refused(pusher: Pusher, data: bytes) -> None:
    assert pusher.manifest(data, "1").code == "MANIFEST_INVALID"


def test_a_manifest_states_the_sizes_of_its_blobs(pusher: Pusher) -> None:
    document = json.loads(artefact(pusher))
    document["layers"][0]["size"] = 3
    answered = pusher.manifest(json.dumps(document).encode(), "1")
    assert (answered.status, answered.code) == (400, "MANIFEST_INVALID")


def test_a_manifest_has_the_digest_by_which_it_is_pushed(pusher: Pusher) -> None:
    data = artefact(pusher)
    for digest in (Digest.of(data + b" "), "sha256:baddigeststring", "sha512:00"):
        answered = pusher.manifest(data, digest)
        assert (answered.status, answered.code) == (400, "DIGEST_INVALID")
        assert pusher.get(f"manifests/{digest}").status in (400, 404)
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(data, algorithm)
        answered = pusher.manifest(data, digest)
        assert (answered.status, answered.headers["docker-content-digest"]) == (201, digest)
        assert pusher.get(f"manifests/{digest}").body == data


def test_a_manifest_may_have_four_mebibytes_and_no_more(pusher: Pusher) -> None:
    data = artefact(pusher)
    spaces = DOCUMENT_MAX - len(data)
    answered = pusher.manifest(data + b" " * (spaces + 1), "1")
    assert (answered.status, answered.code) == (413, "MANIFEST_INVALID")
    assert pusher.manifest(data + b" " * spaces, "1").status == 201


def test_a_manifest_gets_the_tags_of_the_query(pusher: Pusher) -> None:
    data = artefact(pusher)
    answered = pusher.manifest(data, f"{Digest.of(data)}?tag=1.2.3&tag=1.2&tag=latest")
    assert answered.status == 201
    assert answered.headers["oci-tag"] == "1.2.3, 1.2, latest"
    assert pusher.get("tags/list").json["tags"] == ["1.2", "1.2.3", "latest"]
    many = "&".join(f"tag={number}" for number in range(101))
    assert pusher.manifest(data, f"{Digest.of(data)}?{many}").status == 414


def test_a_tag_moves_and_the_manifest_that_had_it_stays(pusher: Pusher) -> None:
    old, new = artefact(pusher), artefact(pusher, annotations={"a": "b"})
    for data in (old, new, old, new):
        assert pusher.manifest(data, "1").status == 201
        assert pusher.get("manifests/1").body == data
    assert pusher.get(f"manifests/{Digest.of(old)}").body == old


def test_a_docker_image_is_pushed_too(pusher: Pusher) -> None:
    image = make_image(sample_layers(docker=True), docker=True)
    pusher.image(image, "1")
    assert pusher.get("manifests/1").headers["content-type"] == DOCKER_MANIFEST


def test_a_build_cache_as_buildkit_exports_it_is_pushed(pusher: Pusher) -> None:
    """An index whose entries are blobs."""
    layer, config = pusher.blob(b"a layer"), pusher.blob(b'{"layers":[]}')
    entries = [
        {"mediaType": OCI_LAYER_GZIP, "digest": layer, "size": 7},
        {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": config, "size": 13},
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    assert pusher.manifest(json.dumps(document).encode(), "cache", OCI_INDEX).status == 201
    assert pusher.get(f"blobs/{config}").status == 200
    entries[0]["digest"] = Digest.of(b"not there")
    answered = pusher.manifest(json.dumps(document).encode(), "cache", OCI_INDEX)
    assert answered.code == "MANIFEST_BLOB_UNKNOWN"


def test_what_one_worker_took_another_serves(start: Start, sample: Sample) -> None:
    first, second = start(), start()
    assert second.get("manifests/1").status == 404
    first.image(sample.image, "1")
    assert second.get("manifests/1").body == sample.image.manifest
    assert second.get("tags/list").json["tags"] == ["1"]


def test_a_client_that_has_the_manifest_is_not_sent_it_again(pusher: Pusher) -> None:
    data = artefact(pusher)
    pusher.manifest(data, "1")
    etag = pusher.get("manifests/1").headers["etag"]
    for sent, status in ((etag, 304), (f'"x", W/{etag}', 304), ("*", 304), ('"x"', 200)):
        found = ask(pusher.service, "/v2/team/app/manifests/1", headers={"if-none-match": sent})
        assert found.status == status


def test_a_push_is_in_every_tier_before_it_is_answered_and_the_far_one_decides(
    start: Start, tmp_path: Path, sample: Sample
) -> None:
    far = f"file://{tmp_path}/far"
    first = start(f"file://{tmp_path}/one", far)
    second = start(f"file://{tmp_path}/two", far)
    first.image(sample.image, "1")
    with layercache.open(far, offline=True) as cache:
        assert cache.manifest("localhost/team/app:1")[1] == sample.image.manifest
        assert all(digest in cache for digest in sample.image.blobs)
    assert second.get("manifests/1").body == sample.image.manifest
    other = artefact(second)
    assert second.manifest(other, "1").status == 201
    assert first.get("manifests/1").body == other
    assert second.get("manifests/1", "DELETE").status == 202
    assert first.get("manifests/1").status == 404


def test_a_cache_to_which_was_pushed_is_sound(pusher: Pusher, sample: Sample) -> None:
    pusher.image(sample.index, "all")
    pusher.begin()
    (tier,) = pusher.service.cache.tiers
    assert_sound(tier)


def test_the_command_line_lists_a_pushed_image_by_its_tags(
    pusher: Pusher, sample: Sample, cli: Caller
) -> None:
    pusher.image(sample.image, "1")
    pusher.image(sample.image, "2")
    printed = cli("images").stdout
    assert [line.split()[-1] for line in printed.splitlines()] == [
        "localhost/team/app:1",
        "localhost/team/app:2",
    ]
    assert pusher.get("manifests/1", "DELETE").status == pusher.get("manifests/2", "DELETE").status == 202
    printed = cli("images").stdout
    assert printed.split()[-1] == f"localhost/team/app@{sample.image.descriptor.digest}"


def test_the_catalog_lists_hosted_repositories_by_the_names_that_clients_use(
    pusher: Pusher, sample: Sample
) -> None:
    pusher.image(sample.image, "1")
    pusher.image(sample.image, "1", "other")
    assert ask(pusher.service, "/v2/_catalog").json == {"repositories": ["other", "team/app"]}


def test_a_record_that_somebody_else_has_written_is_not_served_as_what_a_browser_would_run(
    pusher: Pusher, sample: Sample
) -> None:
    pusher.image(sample.image, "1")
    image = Descriptor(media_type="text/html", digest=sample.image.descriptor.digest, size=1)
    pusher.service.cache.registry_images().hosted().put(
        [keys.image_tag(HOSTED, "team/app", "1")], image, sample.image.manifest
    )
    found = pusher.get("manifests/1")
    assert (found.status, found.headers["content-type"]) == (502, "application/json")
