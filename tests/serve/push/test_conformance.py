"""The cases of the distribution-spec's conformance suite: pull, push, content discovery and management.

Each kind of content goes the suite's way: it is pushed, listed, asked for by HEAD and by GET, found by its
subject, and deleted. The blob uploads of the suite are in `test_uploads`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from servers.images import compressed, tar_of

from layercache.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.pushing import Pusher

EMPTY = "application/vnd.oci.empty.v1+json"
SBOM = "application/vnd.example.sbom"
SIGNATURE = "application/vnd.example.signature"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


@dataclass
class Content:
    """What one case of the suite pushes. Manifests are in the order in which they are pushed."""

    algorithm: str = "sha256"
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    referrers: dict[Digest, list[dict[str, Any]]] = field(default_factory=dict)

    def entry(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        digest = Digest.of(data, self.algorithm)
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data), **more}

    def image(self, *, layers: int = 2, gzipped: bool = True, tag: str = "", **fields: Any) -> dict[str, Any]:
        """An image with layers of random files; ``fields`` are more of its manifest's."""
        tars = [tar_of({"file": os.urandom(100)}) for _ in range(layers)]
        diff_ids = [Digest.of(tar) for tar in tars]
        config = json.dumps(
            {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        )
        entries = [
            self.entry(compressed(tar, "gzip"), OCI_LAYER_GZIP) if gzipped else self.entry(tar, OCI_LAYER)
            for tar in tars
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.entry(config.encode(), OCI_CONFIG),
            "layers": entries,
            **fields,
        }
        return self.manifest(document, tag)

    def artefact(
        self, kind: str, data: bytes = b"an artefact", tag: str = "", **fields: Any
    ) -> dict[str, Any]:
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": self.entry(b"{}", EMPTY),
            "layers": [self.entry(data, EMPTY if data == b"{}" else kind)],
            **fields,
        }
        return self.manifest(document, tag)

    def index(self, *children: dict[str, Any], tag: str = "", **fields: Any) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children), **fields}
        return self.manifest(document, tag)

    def manifest(self, document: dict[str, Any], tag: str = "") -> dict[str, Any]:
        data = json.dumps(document).encode()
        kind, digest = document["mediaType"], Digest.of(data, self.algorithm)
        self.manifests[digest] = (kind, data)
        if tag:
            self.tags[tag] = digest
        descriptor = {"mediaType": kind, "digest": digest, "size": len(data)}
        if subject := document.get("subject"):
            artefact = document.get("artifactType") or document.get("config", {}).get("mediaType")
            found = descriptor | ({"artifactType": artefact} if artefact else {})
            if document.get("annotations"):
                found["annotations"] = document["annotations"]
            self.referrers.setdefault(subject["digest"], []).append(found)
        return descriptor


def an_image(content: Content) -> None:
    content.image(tag="image")


def an_uncompressed_image(content: Content) -> None:
    content.image(tag="image-uncompressed", gzipped=False)


def a_large_manifest(content: Content) -> None:
    content.image(
        tag="large", annotations={f"large-annotation-{number}": "A" * 10_000 for number in range(390)}
    )


def an_index(content: Content) -> None:
    content.index(content.image(), content.image(), tag="index")


def an_index_of_indexes(content: Content) -> None:
    content.index(content.index(content.image()), content.index(content.image()), tag="index-of-index")


def an_empty_index(content: Content) -> None:
    content.index(tag="index")


def an_artefact(content: Content) -> None:
    content.artefact(SBOM, tag="artifact")


def an_index_of_artefacts(content: Content) -> None:
    content.index(
        content.artefact(SBOM), content.artefact(SBOM, b"2"), tag="artifact-index", artifactType=SBOM
    )


def an_artefact_without_layers(content: Content) -> None:
    content.artefact(SBOM, b"{}", tag="artifact-without-layers")


def artefacts_with_a_subject(content: Content) -> None:
    subject = content.image(tag="image")
    content.image(subject=subject)
    content.artefact(SBOM, tag="one", subject=subject, annotations={"org.example": "hello"})
    content.artefact(SIGNATURE, tag="two", subject=subject, annotations={"org.example": "hello", "a": "b"})


def an_index_with_a_subject(content: Content) -> None:
    subject = content.index(content.image(), tag="index")
    content.index(
        content.artefact(SBOM), tag="about", artifactType=SBOM, subject=subject, annotations={"a": "b"}
    )
    content.index(tag="typeless", subject=subject)


def a_subject_that_is_missing(content: Content) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": Digest.of(b"missing content"), "size": 123}
    content.artefact(SBOM, tag="tagged-artifact", subject=subject)


def descriptors_with_their_data(content: Content) -> None:
    entry = content.entry(b"{}", EMPTY) | {"data": "e30="}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": [entry]}
    content.manifest(document | {"artifactType": SBOM}, "data-field")


def layers_that_are_elsewhere(content: Content) -> None:
    elsewhere = {
        "mediaType": FOREIGN,
        "digest": Digest.of(os.urandom(20)),
        "size": 123_456,
        "urls": ["https://store.example.com/blobs/1"],
    }
    content.image(tag="non-distributable")
    (kind, data) = content.manifests.pop(content.tags["non-distributable"])
    document = json.loads(data)
    document["layers"].insert(0, elsewhere)
    content.manifest(document, "non-distributable")
    assert kind == OCI_MANIFEST


def fields_that_nobody_knows(content: Content) -> None:
    more: dict[str, Any] = {"org.example": {"x": [1, None]}}
    content.index(content.image(**more), tag="custom", **more)


def no_layers(content: Content) -> None:
    content.image(tag="no-layers", layers=0)


def another_algorithm(content: Content) -> None:
    content.algorithm = "sha512"
    content.index(content.image())


CASES = [
    an_image,
    an_uncompressed_image,
    a_large_manifest,
    an_index,
    an_index_of_indexes,
    an_empty_index,
    an_artefact,
    an_index_of_artefacts,
    an_artefact_without_layers,
    artefacts_with_a_subject,
    an_index_with_a_subject,
    a_subject_that_is_missing,
    descriptors_with_their_data,
    layers_that_are_elsewhere,
    fields_that_nobody_knows,
    no_layers,
    another_algorithm,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_content_is_pushed_listed_pulled_found_and_deleted(
    pusher: Pusher, case: Callable[[Content], None]
) -> None:
    content = Content()
    case(content)
    push(pusher, content)
    discover(pusher, content)
    pull(pusher, content)
    delete(pusher, content)


def push(pusher: Pusher, content: Content) -> None:
    for data in content.blobs.values():
        pusher.blob(data, algorithm=content.algorithm)
    names = [(digest, digest) for digest in content.manifests] + list(content.tags.items())
    for name, digest in names:
        kind, data = content.manifests[digest]
        answered = pusher.manifest(data, name, kind)
        assert answered.status == 201
        assert answered.headers["docker-content-digest"] == digest
        assert answered.headers.get("oci-subject") == json.loads(data).get("subject", {}).get("digest")
        location = answered.headers["location"].removeprefix("/v2/team/app/")
        assert pusher.get(location).body == data


def discover(pusher: Pusher, content: Content) -> None:
    tags = sorted(content.tags)
    assert pusher.get("tags/list").json == {"name": "team/app", "tags": tags}
    if tags:
        assert pusher.get("tags/list", last=tags[0]).json["tags"] == tags[1:]
    for subject, expected in content.referrers.items():
        found = pusher.get(f"referrers/{subject}")
        assert (found.status, found.headers["content-type"]) == (200, OCI_INDEX)
        assert found.json["schemaVersion"] == 2
        assert by_digest(found.json["manifests"]) == by_digest(expected)
        for kind in {each["artifactType"] for each in expected if "artifactType" in each}:
            found = pusher.get(f"referrers/{subject}", artifactType=kind)
            assert found.headers["oci-filters-applied"] == "artifactType"
            wanted = [each for each in expected if each.get("artifactType") == kind]
            assert by_digest(found.json["manifests"]) == by_digest(wanted)


def by_digest(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda each: each["digest"])


def pull(pusher: Pusher, content: Content) -> None:
    for name, digest in [*content.tags.items(), *((each, each) for each in content.manifests)]:
        kind, data = content.manifests[digest]
        found, head = pusher.get(f"manifests/{name}"), pusher.get(f"manifests/{name}", "HEAD")
        assert (found.status, head.status, found.body) == (200, 200, data)
        for answered in (found, head):
            assert answered.headers["content-type"] == kind
            assert answered.headers["content-length"] == str(len(data))
            assert answered.headers["docker-content-digest"] == digest
    for digest, data in content.blobs.items():
        found = pusher.get(f"blobs/{digest}")
        assert (found.status, found.body) == (200, data)


def delete(pusher: Pusher, content: Content) -> None:
    for name in [*content.tags, *reversed(content.manifests)]:
        assert pusher.get(f"manifests/{name}", "DELETE").status == 202
        assert pusher.get(f"manifests/{name}", "HEAD").status == 404
        assert pusher.get(f"manifests/{name}", "DELETE").status == 404
    assert pusher.get("tags/list").json["tags"] == []
    for subject in content.referrers:
        assert pusher.get(f"referrers/{subject}").json["manifests"] == []
    for digest in content.blobs:
        assert pusher.get(f"blobs/{digest}", "DELETE").status == 202
        assert pusher.get(f"blobs/{digest}", "HEAD").status == 404
        assert digest not in pusher.service.cache


def test_a_repository_to_which_nothing_was_pushed_is_empty(pusher: Pusher) -> None:
    assert pusher.get("tags/list").json == {"name": "team/app", "tags": []}
    found = pusher.get(f"referrers/{Digest.of(b'x')}")
    assert (found.status, found.json["manifests"]) == (200, [])
    for path in ("manifests/missing", f"manifests/{Digest.of(b'x')}"):
        assert pusher.get(path).code == "MANIFEST_UNKNOWN"
    assert pusher.get(f"blobs/{Digest.of(b'x')}").code == "BLOB_UNKNOWN"


def test_a_missing_blob_is_reported_so_that_a_client_need_not_ask_again(pusher: Pusher) -> None:
    """layercache itself asks by GET after the 404 of something that may be no registry."""
    missing = pusher.get(f"blobs/{Digest.of(b'x')}", "HEAD")
    assert missing.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("path", ["referrers/sha256:bad", "referrers/latest", "blobs/sha256:bad"])
def test_what_should_be_a_digest_and_is_none_is_a_bad_request(pusher: Pusher, path: str) -> None:
    assert pusher.get(path).status == 400


def test_tags_are_listed_in_pages(pusher: Pusher) -> None:
    content = Content()
    for tag in ("b", "A", "c", "a", "1.0"):
        content.artefact(SBOM, tag.encode(), tag=tag)
    push(pusher, content)
    pages, path = [], "tags/list?n=2"
    while path:
        found = pusher.get(path)
        pages.append(found.json["tags"])
        link = found.headers.get("link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link.partition(">")[0].removeprefix("</v2/team/app/")
    assert pages == [["1.0", "A"], ["a", "b"], ["c"]]
    none = pusher.get("tags/list", n="0")
    assert (none.json["tags"], "link" in none.headers) == ([], False)
    assert len(pusher.get("tags/list", n="999999999").json["tags"]) == 5
    for wrong in ("-1", "x", "", "9" * 30):
        assert pusher.get("tags/list", n=wrong).status == 400
