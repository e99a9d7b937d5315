"""What registries answer in their own ways: absence, HEAD, null; read as it is meant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from registry.asking import Waits, repository_of, source_of
from servers.images import noise
from servers.lying import (
    LyingRegistry,
    changed,
    error_body,
    redirect,
    status,
)

import layercache
from layercache.errors import FormatError, NotFoundError, SourceError
from layercache.oci.descriptor import (
    OCI_INDEX,
    OCI_MANIFEST,
    ImageConfig,
    Index,
    Manifest,
    decode,
    media_type_of,
)
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Sample

BLOB = noise(70_000)

ABSENT = {
    "docker-registry": error_body("MANIFEST_UNKNOWN", "manifest unknown"),
    "Harbor": error_body("NOT_FOUND", "artifact app:2 not found"),
    "Quay": b'{"errors":[{"code":"MANIFEST_UNKNOWN","detail":{},"message":"manifest unknown"}]}',
    "ECR": error_body("NAME_UNKNOWN", "The repository with name 'app' does not exist"),
    "Artifactory": b'{"errors":[{"status":404,"message":"Unable to find resource"}]}',
    "Nexus": b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown","detail":null}]}',
    "a number as the code": b'{"errors":[{"code":404,"message":null}]}',
    "no words at all": b'{"errors":[{"code":null}]}',
    "an unknown code": error_body("UNSUPPORTED", ""),
}

STRANGE = {
    "nothing": b"",
    "a page": b"<html><h1>404 Not Found</h1></html>",
    "Go's router": b"404 page not found\n",
    "a list": b"[]",
    "null": b"null",
    "no errors": b'{"errors": null}',
    "errors that are empty": b'{"errors": []}',
    "errors that are text": b'{"errors": "not found"}',
    "errors that are texts": b'{"errors": ["not found"]}',
    "another API's": b'{"message": "404 Project Not Found"}',
    "no UTF-8": b'{"errors":[{"code":"\xff"}]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", ABSENT.values(), ids=ABSENT)
def test_a_404_with_any_error_body_of_a_registry_is_absence(
    body: bytes, lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    blob = lying.add_blob(BLOB)
    lying.add_image("1", sample.image)
    lying.on("GET /v2/app", *[status(404, body)] * 6)
    lying.on("HEAD", *[status(404)] * 6)
    source, repository = source_of(lying, waits), repository_of(lying, waits)
    asking: list[Callable[[], object]] = [
        source.root,
        lambda: source.document(sample.image.descriptor),
        lambda: source.open_blob(blob),
        lambda: repository.open_blob(blob.digest),
        lambda: repository.manifest("1"),
    ]
    for ask in asking:
        with pytest.raises(NotFoundError):
            ask()
    assert not repository.has_blob(blob.digest)
    assert not waits


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
def test_a_404_that_no_registry_wrote_is_a_failure_and_not_an_absence(
    body: bytes, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[status(404, body)] * 9)
    source, repository = source_of(lying, waits), repository_of(lying, waits)
    asking: list[Callable[[], object]] = [
        lambda: source.open_blob(blob),
        lambda: repository.has_blob(blob.digest),
    ]
    for ask in asking:
        with pytest.raises(SourceError, match="not as a registry does") as caught:
            ask()
        assert not isinstance(caught.value, NotFoundError)


def test_the_registry_that_was_redirected_to_may_answer_that_it_is_not_there(
    lying: LyingRegistry, waits: Waits
) -> None:
    with LyingRegistry() as other:
        lying.on("/v2/app", *[redirect(f"http://{other.host}/v2/app/manifests/1")] * 2)
        with pytest.raises(NotFoundError, match="redirected to another server"):
            source_of(lying, waits).root()


def test_a_repository_that_cannot_be_written_to_is_not_an_absence(lying: LyingRegistry, waits: Waits) -> None:
    lying.on("POST", status(404, error_body("NOT_FOUND", "project team not found")))
    with pytest.raises(SourceError, match="project team not found") as caught:
        repository_of(lying, waits).push(lying.add_blob(b"x").digest, BytesReader(b"x"))
    assert not isinstance(caught.value, NotFoundError)


@pytest.mark.parametrize(
    ("version", "kind", "asked"),
    [
        ("registry/2.0", "application/json; charset=utf-8", ["HEAD"]),
        ("registry/2.0", "text/html", ["HEAD", "GET"]),
        ("", "application/json", ["HEAD", "GET"]),
    ],
)
def test_a_404_to_a_head_is_an_absence_where_its_headers_are_a_registrys(
    version: str, kind: str, asked: list[str], lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("HEAD", status(404, Docker_Distribution_Api_Version=version, Content_Type=kind))
    assert repository_of(lying, waits).has_blob(blob.digest) == (asked != ["HEAD"])
    assert [request.method for request in lying.asked("/blobs/")] == asked


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 406, 412, 500, 501, 503])
def test_a_head_that_is_refused_is_followed_by_one_get(
    code: int, lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    lying.on("HEAD", *[status(code)] * 9)
    source = source_of(lying, waits)
    assert source.root() == sample.image.descriptor
    assert source.document(sample.image.descriptor) == sample.image.manifest
    assert len(lying.asked("GET /v2/app/manifests")) == 1
    blob = lying.add_blob(BLOB)
    repository = repository_of(lying, waits)
    assert repository.has_blob(blob.digest)
    assert repository.blob_size(blob.digest) == len(BLOB)
    assert not waits


def test_the_reason_is_in_the_body_of_get(lying: LyingRegistry, waits: Waits) -> None:
    why = error_body("DENIED", "current image with 5 vulnerabilities cannot be pulled")
    for code in (403, 412):
        lying.on("/manifests/", *[status(code, why)] * 2)
        with pytest.raises(SourceError, match="5 vulnerabilities"):
            source_of(lying, waits).root()


@pytest.mark.parametrize(
    "hints",
    [
        {"Docker_Content_Digest": ""},
        {"Docker_Content_Digest": "odd"},
        {"Content_Type": ""},
        {"Content_Length": "0"},
        {"Content_Encoding": "gzip"},
    ],
)
def test_what_head_leaves_out_or_gets_wrong_is_found_by_get(
    hints: dict[str, str], lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    lying.on("HEAD", changed(**hints))
    assert source_of(lying, waits).root() == sample.image.descriptor


@pytest.mark.parametrize("length", ["1", "7", "99999", "1048576"])
def test_a_document_is_not_judged_by_the_length_that_head_states(
    length: str, lying: LyingRegistry, waits: Waits, sample: Sample
) -> None:
    lying.add_image("1", sample.image)
    lying.on("HEAD", *[changed(Content_Length=length)] * 2)
    source = source_of(lying, waits)
    assert source.document(source.root()) == sample.image.manifest


@pytest.mark.parametrize("length", ["", "0"])
def test_a_size_that_head_does_not_state_is_had_by_get(
    length: str, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("HEAD", changed(Content_Length=length))
    assert repository_of(lying, waits).blob_size(blob.digest) == len(BLOB)


# Null


def test_null_stands_for_what_is_absent_in_every_document(sample: Sample) -> None:
    fields = json.loads(sample.image.manifest)
    fields |= {
        "annotations": None,
        "subject": None,
        "artifactType": None,
        "schemaVersion": None,
        "layers": None,
    }
    fields["config"] |= {"annotations": {"a": None}, "platform": None, "mediaType": None, "urls": None}
    manifest = decode(json.dumps(fields).encode(), Manifest, "it")
    assert (manifest.layers, manifest.annotations, manifest.artifact_type) == ([], None, "")
    assert manifest.config.annotations == {}
    index = decode(b'{"manifests": null, "annotations": null, "mediaType": null}', Index, "it")
    assert index.manifests == []
    entry = json.dumps({**fields["config"], "platform": {"os": "linux", "variant": None, "os.version": None}})
    platform = decode(b'{"manifests": [%s]}' % entry.encode(), Index, "it").manifests[0].platform
    assert platform is not None
    assert (platform.os, platform.variant) == ("linux", "")
    for text in (
        '{"history": null, "rootfs": null, "os": null}',
        '{"rootfs": {"type": null, "diff_ids": null}}',
    ):
        assert decode(text.encode(), ImageConfig, "it").diff_ids == []


def test_null_in_the_place_of_what_is_needed_is_an_error(sample: Sample) -> None:
    fields = json.loads(sample.image.manifest)
    for wrong in ({"config": None}, {"config": {**fields["config"], "digest": None}}, {"layers": [None]}):
        with pytest.raises(FormatError, match="not a valid manifest"):
            decode(json.dumps({**fields, **wrong}).encode(), Manifest, "it")


def test_an_image_with_null_everywhere_is_pulled(
    lying: LyingRegistry, sample: Sample, tmp_path: Path
) -> None:
    fields = json.loads(sample.image.manifest)
    nulls = dict.fromkeys(("annotations", "manifests", "subject", "mediaType", "artifactType"))
    fields["layers"] = [{**each, "annotations": None, "urls": None} for each in fields["layers"]]
    lying.add_image("1", sample.image)
    lying.add_manifest("1", OCI_MANIFEST, json.dumps({**fields, **nulls}).encode())
    with layercache.open(tmp_path) as cache:
        image = cache.image(f"{lying.host}/app:1")
        assert [layer.digest for layer in image.layers] == [made.digest for made in sample.image.layers]


@pytest.mark.parametrize("body", [b'{"name": "app", "tags": null}', b'{"name": null}', b"null"])
def test_a_list_of_tags_may_be_null(body: bytes, lying: LyingRegistry, waits: Waits) -> None:
    lying.on("/tags/list", status(200, body))
    assert list(repository_of(lying, waits).tags()) == []


def test_a_null_list_of_manifests_makes_no_manifest_an_index(sample: Sample) -> None:
    index, manifest = {"manifests": None}, {**json.loads(sample.image.manifest), "manifests": None}
    del manifest["mediaType"]
    assert media_type_of(json.dumps(index).encode(), "", "it") == OCI_INDEX
    assert media_type_of(json.dumps(manifest).encode(), "", "it") == OCI_MANIFEST
