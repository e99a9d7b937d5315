"""Tags, referrers and the catalogue through the mirror."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from servers.asking import ask
from servers.lying import status

from layercache.oci.descriptor import OCI_INDEX
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from servers.asking import Serve
    from servers.images import Sample
    from servers.lying import Fault, LyingRegistry

TAGS = "/v2/app/tags/list"
ALWAYS = 20
SIGNATURE, SBOM = "application/vnd.test.signature", "application/vnd.test.sbom"
SUBJECT = Digest.of(b"subject")
REFERRERS = f"/v2/app/referrers/{SUBJECT}"


def says(document: object, **headers: str) -> Fault:
    return status(200, json.dumps(document).encode(), **headers)


def refers(kind: str) -> dict[str, Any]:
    """An entry of a list of referrers."""
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest.of(kind.encode())}
    return {**entry, "size": 7, "artifactType": kind, "annotations": {"of": kind}, "more": [1]}


def index(*entries: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}


# Tags


def test_tags_are_the_upstreams_sorted_and_asked_for_once(serve: Serve, lying: LyingRegistry) -> None:
    lying.on(TAGS, says({"tags": ["b", "a", "B", "not a tag"]}, Link=f'<{TAGS}?n=1000&last=b>; rel="next"'))
    lying.on(TAGS, says({"tags": ["c"]}))
    mirror = serve()
    for provenance in ("miss", "hit"):
        answer = ask(mirror, TAGS)
        assert answer.json == {"name": "app", "tags": ["B", "a", "b", "c"]}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-layercache"] == provenance
    assert len(lying.asked("/tags/")) == 2


def test_tags_come_page_by_page(serve: Serve, lying: LyingRegistry) -> None:
    lying.on(TAGS, says({"tags": ["a", "b", "c"]}))
    mirror = serve()
    first = ask(mirror, TAGS, n="2", ns=lying.host)
    assert first.json["tags"] == ["a", "b"]
    ns = lying.host.replace(":", "%3A")
    assert first.headers["link"] == f'<{TAGS}?n=2&ns={ns}&last=b>; rel="next"'
    second = ask(mirror, TAGS, n="2", last="b")
    assert (second.json["tags"], "link" in second.headers) == (["c"], False)
    assert ask(mirror, TAGS, last="bb").json["tags"] == ["c"]
    assert ask(mirror, TAGS, n="9").json["tags"] == ["a", "b", "c"]
    nothing = ask(mirror, TAGS, n="0")
    assert (nothing.json["tags"], "link" in nothing.headers) == ([], False)


@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "٣", "9" * 99])
def test_a_page_size_that_is_no_number_is_refused(serve: Serve, lying: LyingRegistry, n: str) -> None:
    lying.on(TAGS, says({"tags": ["a"]}))
    answer = ask(serve(), TAGS, n=n)
    assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


def test_a_repository_without_tags_is_unknown_and_not_asked_for_again(
    serve: Serve, lying: LyingRegistry
) -> None:
    mirror = serve()
    for _ in range(2):
        answer = ask(mirror, TAGS)
        assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    assert len(lying.asked("/tags/")) == 1


def test_tags_that_were_listed_or_pulled_are_served_while_the_upstream_fails(
    serve: Serve, lying: LyingRegistry
) -> None:
    lying.on(TAGS, says({"tags": ["a"]}))
    mirror = serve(tag_age=0)
    ask(mirror, TAGS)
    ask(mirror, "/v2/app/manifests/1")
    lying.on(TAGS, *[status(503)] * ALWAYS)
    listed, pulled = ask(mirror, TAGS), ask(serve(), TAGS)
    assert (listed.json["tags"], listed.headers["x-layercache"]) == (["a"], "stale")
    assert (pulled.json["tags"], pulled.headers["x-layercache"]) == (["1"], "stale")
    assert ask(serve(), "/v2/other/tags/list").status == 404


# Referrers


def test_referrers_are_the_upstreams_byte_by_byte_fields(serve: Serve, lying: LyingRegistry) -> None:
    entries = [refers(SIGNATURE), refers(SBOM)]
    lying.on(REFERRERS, says(index(entries[0], {"digest": "none"}), Link=f'<{REFERRERS}?p=2>; rel="next"'))
    lying.on(REFERRERS, says(index(entries[1])))
    mirror = serve()
    for _ in range(2):
        answer = ask(mirror, REFERRERS)
        assert answer.headers["content-type"] == OCI_INDEX
        assert answer.json == index(*entries)
        assert "oci-filters-applied" not in answer.headers
    assert len(lying.asked("/referrers/")) == 2


def test_referrers_are_filtered_by_type(serve: Serve, lying: LyingRegistry) -> None:
    lying.on(REFERRERS, says(index(refers(SIGNATURE), refers(SBOM))))
    mirror = serve()
    answer = ask(mirror, REFERRERS, artifactType=SBOM)
    assert answer.json["manifests"] == [refers(SBOM)]
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert ask(mirror, REFERRERS, artifactType="application/other").json["manifests"] == []


@pytest.mark.parametrize("refused", [status(404), status(404, b"<html>"), status(405)])
def test_an_upstream_without_referrers_is_asked_for_the_tag_that_lists_them(
    serve: Serve, lying: LyingRegistry, refused: Fault
) -> None:
    lying.on("/referrers/", *[refused] * ALWAYS)
    lying.add_manifest(f"sha256-{SUBJECT.hex}", OCI_INDEX, json.dumps(index(refers(SBOM))).encode())
    mirror = serve()
    assert ask(mirror, REFERRERS).json == index(refers(SBOM))
    nobody = ask(mirror, f"/v2/app/referrers/{Digest.of(b'nobody')}")
    assert (nobody.status, nobody.json) == (200, index())


def test_referrers_of_a_tag_are_refused(serve: Serve) -> None:
    answer = ask(serve(), "/v2/app/referrers/1")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_referrers_that_were_pulled_are_served_while_the_upstream_fails(
    serve: Serve, lying: LyingRegistry, sample: Sample
) -> None:
    subject = sample.image.descriptor
    config = {"mediaType": SBOM, "digest": Digest.of(b"{}"), "size": 2}
    of = {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size}
    document = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": subject.media_type,
            "config": config,
            "layers": [],
            "subject": of,
            "annotations": {"made": "today"},
        }
    ).encode()
    added = lying.add_manifest("sbom", subject.media_type, document)
    ask(serve(), f"/v2/app/manifests/{added.digest}")
    ask(serve(), "/v2/app/manifests/1")
    lying.on("/referrers/", *[status(503)] * ALWAYS)
    answer = ask(serve(), f"/v2/app/referrers/{subject.digest}")
    assert answer.headers["x-layercache"] == "stale"
    assert answer.json["manifests"] == [
        {
            "mediaType": subject.media_type,
            "digest": added.digest,
            "size": len(document),
            "artifactType": SBOM,
            "annotations": {"made": "today"},
        }
    ]


def test_a_list_of_referrers_that_is_none_is_not_served(serve: Serve, lying: LyingRegistry) -> None:
    lying.on(REFERRERS, *[status(200, b"<html>")] * ALWAYS)
    answer = ask(serve(), REFERRERS)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")


# The catalogue


def test_the_catalogue_lists_what_is_cached_page_by_page(serve: Serve, lying: LyingRegistry) -> None:
    mirror = serve()
    ask(mirror, "/v2/b/c/manifests/1")
    ask(mirror, "/v2/b/c/manifests/index")
    ask(mirror, "/v2/a/manifests/1")
    names = [f"{lying.host}/a", f"{lying.host}/b/c"]
    assert ask(mirror, "/v2/_catalog").json == {"repositories": names}
    first = ask(mirror, "/v2/_catalog", n="1")
    assert first.json["repositories"] == names[:1]
    assert first.headers["link"].startswith("</v2/_catalog?n=1&last=")
    assert ask(mirror, "/v2/_catalog", n="1", last=names[0]).json["repositories"] == names[1:]
    assert ask(mirror, f"/v2/{names[1]}/manifests/1").status == 200  # as it is listed, it can be pulled
