"""What goes when something is deleted, and what another repository may have without sending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servers.asking import ask

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from servers.images import Sample
    from servers.pushing import Pusher, Start

DATA = b"a blob that two repositories have"
DIGEST = Digest.of(DATA)


def test_a_deleted_manifest_takes_all_of_its_tags_along_and_no_other(pusher: Pusher, sample: Sample) -> None:
    image, other = sample.image, sample.index.images[0]
    for tag in ("1", "2"):
        pusher.image(image, tag)
    pusher.image(other, "3")
    pusher.image(image, "1", "team/other")
    assert pusher.get(f"manifests/{image.descriptor.digest}", "DELETE").status == 202
    assert pusher.get("tags/list").json["tags"] == ["3"]
    assert pusher.get(f"manifests/{image.descriptor.digest}").status == 404
    assert pusher.get("manifests/1", repository="team/other").body == image.manifest


def test_a_deleted_tag_leaves_its_manifest(pusher: Pusher, sample: Sample) -> None:
    pusher.image(sample.image, "1")
    assert pusher.get("manifests/1", "DELETE").status == 202
    assert pusher.get("manifests/1").status == 404
    assert pusher.get(f"manifests/{sample.image.descriptor.digest}").body == sample.image.manifest


def test_a_blob_that_a_manifest_refers_to_is_not_deleted(pusher: Pusher, sample: Sample) -> None:
    pusher.image(sample.image, "1")
    digest = sample.image.layers[0].digest
    refused = pusher.get(f"blobs/{digest}", "DELETE")
    assert (refused.status, refused.code) == (405, "DENIED")
    assert pusher.get(f"blobs/{digest}").status == 200


def test_a_blob_that_another_repository_has_goes_from_one_of_them(pusher: Pusher) -> None:
    pusher.blob(DATA, "team/one")
    pusher.blob(DATA, "team/two")
    assert pusher.get(f"blobs/{DIGEST}", "DELETE", "team/three").status == 404
    assert pusher.get(f"blobs/{DIGEST}", "DELETE", "team/one").status == 202
    assert pusher.get(f"blobs/{DIGEST}", repository="team/one").status == 404
    assert pusher.get(f"blobs/{DIGEST}", repository="team/two").body == DATA
    assert pusher.get(f"blobs/{DIGEST}", "DELETE", "team/two").status == 202
    assert DIGEST not in pusher.service.cache


def test_what_was_deleted_is_gone_for_other_workers_too(start: Start, sample: Sample) -> None:
    first, second = start(), start()
    first.image(sample.image, "1")
    digest = sample.image.descriptor.digest
    assert second.get("manifests/1").status == second.get(f"blobs/{sample.image.config_digest}").status == 200
    assert first.get(f"manifests/{digest}", "DELETE").status == 202
    assert second.get("manifests/1").status == second.get(f"manifests/{digest}").status == 404
    assert second.get("tags/list").json["tags"] == []


def test_a_blob_is_mounted_from_a_repository_that_has_it(pusher: Pusher) -> None:
    pusher.blob(DATA, "team/one")
    where = {"mount": DIGEST, "from": "team/one"}
    answered = pusher.get("blobs/uploads/", "POST", "team/two", **where)
    assert answered.status == 201
    assert answered.headers["docker-content-digest"] == DIGEST
    assert ask(pusher.service, answered.headers["location"]).body == DATA


def test_a_blob_is_mounted_from_an_image(pusher: Pusher, sample: Sample) -> None:
    pusher.image(sample.image, "1", "team/one")
    where = {"mount": sample.image.layers[0].digest, "from": "team/one"}
    assert pusher.get("blobs/uploads/", "POST", "team/two", **where).status == 201


def test_a_blob_that_is_not_there_has_to_be_uploaded(pusher: Pusher) -> None:
    pusher.blob(DATA, "team/one")
    for source in ("team/three", "", "..", "team/one/../one", "Team/One"):
        where = {"mount": DIGEST, "from": source}
        answered = pusher.get("blobs/uploads/", "POST", "team/two", **where)
        assert answered.status == 202
        assert pusher.finish(answered.headers["location"], DIGEST, DATA).status == 201
        assert pusher.get(f"blobs/{DIGEST}", "DELETE", "team/two").status == 202
    bad = pusher.get("blobs/uploads/", "POST", "team/two", **{"mount": "sha256:bad", "from": "team/one"})
    assert (bad.status, bad.code) == (400, "DIGEST_INVALID")
